"""A query and a passage as they are read: escaped, the evidence marked, line breaks and writing direction kept."""

from __future__ import annotations

import streamlit as st

from app.components.text import escaped


def marked(text: str, evidence: tuple[int, int] | None) -> str:
    """The text as HTML with the evidence inside `<mark>`; offsets that do not lie in the text mark nothing."""
    if evidence is None:
        return escaped(text)
    start, end = evidence
    if not 0 <= start < end <= len(text):
        return escaped(text)
    return f"{escaped(text[:start])}<mark>{escaped(text[start:end])}</mark>{escaped(text[end:])}"


def passage_html(*, title: str, text: str, evidence: tuple[int, int] | None, card: str = "") -> str:
    """The passage as HTML; `card` names the review card it belongs to, which the key handler looks for."""
    heading = f'<h3 class="rl-passage-title" dir="auto">{escaped(title)}</h3>' if title.strip() else ""
    body = marked(text, evidence) if text.strip() else '<em class="rl-muted">This passage is empty.</em>'
    of_card = f' data-card="{escaped(card)}"' if card else ""
    return (
        f'<section class="rl-passage" aria-label="Passage"{of_card}>{heading}'
        f'<div class="rl-passage-text" dir="auto" tabindex="0">{body}</div></section>'
    )


def show_passage(*, title: str, text: str, evidence: tuple[int, int] | None, card: str = "") -> None:
    st.html(passage_html(title=title, text=text, evidence=evidence, card=card))


def show_query(query: str, definition: str | None) -> None:
    """The query large, and below it what counts as relevant for it."""
    below = (
        f'<p class="rl-definition" dir="auto"><span>Counts as relevant</span>{escaped(definition)}</p>'
        if definition and definition.strip()
        else ""
    )
    st.html(f'<div class="rl-query"><h2 dir="auto">{escaped(query)}</h2>{below}</div>')
