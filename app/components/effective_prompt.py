"""What a judge was told before it proposed: fetched only when asked for, and shown as text that nothing can escape."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.problems import OURS, sentence
from app.components.text import escaped, literal
from app.services.views import PairView

_CHECKED = {
    True: "This is to the letter what was sent.",
    False: "This is not what was sent: a text has changed since.",
    None: "The suggestion names no reply, so this could not be checked against what was sent.",
}


def message_html(role: str, content: str) -> str:
    """One message as HTML: escaped, its line breaks kept."""
    return (
        f'<section class="rl-message" aria-label="{escaped(role)} message"><h4>{escaped(role)}</h4>'
        f'<pre dir="auto" tabindex="0">{escaped(content)}</pre></section>'
    )


def show_effective_prompt(pair: PairView) -> None:
    """A switch, and behind it every message that the judge of the current suggestion was sent."""
    if not st.toggle("Show what the judge was told", key=f"labels.prompt.{pair.pair_id}"):
        return
    from app.services.prompts import get_effective_prompt_of_pair

    try:
        found = get_effective_prompt_of_pair(state.get_workspace(), pair.pair_id, criterion=state.get_criterion())
    except OURS as exc:
        st.warning(sentence(exc))
        return
    if found.note:
        st.caption(literal(found.note))
    for number, step in enumerate(found.steps):
        with st.expander(literal(f"{step.name} ({step.prompt}, version {step.prompt_version})"), expanded=number == 0):
            st.caption(_CHECKED[step.verified])
            st.html("".join(message_html(message.role, message.content) for message in step.messages))
