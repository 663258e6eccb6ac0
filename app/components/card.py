"""The review card: query, definition, passage and what is known of the pair, in one piece that appears at once."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.badges import confidence_html, facts_html, grade_html, judge_text, system_text
from app.components.passage import passage_html, query_html
from app.components.text import escaped
from app.services.views import Card, ScaleView


def card_html(card: Card, *, scale: ScaleView, turn: int) -> str:
    """The card as HTML, with the id that a key press sends back and the turn that changes once one was dealt with."""
    pair = card.pair
    return (
        f"{query_html(pair.query, pair.definition)}"
        f'<div class="rl-card" data-card="{escaped(card.card)}" data-turn="{turn}">'
        f"{passage_html(title=pair.passage_title, text=pair.passage_text, evidence=pair.evidence)}"
        f"{facts_html(_facts(card, scale))}</div>"
    )


def show_card(card: Card, *, scale: ScaleView) -> None:
    st.html(card_html(card, scale=scale, turn=state.get_turn()))


def _facts(card: Card, scale: ScaleView) -> list[tuple[str, str]]:
    pair = card.pair
    facts: list[tuple[str, str]] = []
    if pair.concealed:
        facts.append(("Judged blind", "what was proposed is not shown, so that your grade is your own"))
    elif pair.status is None:
        facts.append(("Proposed grade", "none: no judge has seen this pair"))
    elif pair.status.value == "unreadable":
        facts.append(("Proposed grade", "none: the judge's reply could not be read"))
    else:
        facts.append(("Proposed grade", grade_html(pair.grade, scale)))
        facts.append(("Confidence", confidence_html(pair.confidence, pair.confidence_kind)))
        facts.append(("Reason", escaped(pair.reason) or "none given"))
    if pair.judge is not None:
        facts.append(("Judge", escaped(judge_text(pair.judge))))
    facts.append(("Why it is here", escaped(card.queue_reason or pair.why)))
    if pair.hits:
        facts.append(
            ("Found by", escaped(" · ".join(f"{system_text(hit.system)}, rank {hit.rank}" for hit in pair.hits)))
        )
    return facts
