"""A case on the Adjudicate screen: the pair, what was said of it without names, and what was hidden once it is decided.

Everything from data is escaped: a note or a name is as hostile as a passage.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.components.badges import confidence_html, facts_html, grade_html, judge_text
from app.components.passage import passage_html, query_html
from app.components.text import escaped
from app.services.adjudication_views import Case, Settled, Voice
from app.services.views import PairView, ScaleView

SHEET = Path(__file__).with_name("adjudication.css")
_ACTS = {"graded": "", "flagged": "raised a flag", "adjudicated": "decided it before"}


def case_html(case: Case, *, scale: ScaleView, turn: int) -> str:
    """The case as HTML, with the id that a key press sends back and the turn that changes once one was dealt with."""
    pair = case.pair
    own = f'<p class="rl-own">{escaped(case.own)}</p>' if case.own else ""
    return (
        f"{query_html(pair.query, pair.definition)}"
        f'<div class="rl-case" data-card="{escaped(case.card)}" data-turn="{turn}" data-phase="grade">'
        f"{passage_html(title=pair.passage_title, text=pair.passage_text, evidence=None)}"
        f'<aside aria-label="What was said">{own}<h3 class="rl-small-heading">{escaped(why(case))}</h3>'
        f"{voices_html(case.voices, scale=scale)}"
        '<p class="rl-muted">Names, and what a judge proposed, are shown once you decided.</p></aside></div>'
    )


def why(case: Case) -> str:
    """Why this pair is a case, in words."""
    if case.disputed and case.flagged:
        return "The graders differ, and it is flagged"
    return "The graders differ" if case.disputed else "Flagged"


def voices_html(voices: tuple[Voice, ...], *, scale: ScaleView) -> str:
    """What each person said, with the note; after the decision also how they came to it."""
    return f'<ul class="rl-voices">{"".join(_voice(voice, scale) for voice in voices)}</ul>'


def _voice(voice: Voice, scale: ScaleView) -> str:
    act = _ACTS[voice.act]
    grade = "" if voice.grade is None else grade_html(voice.grade, scale)
    how = f' <span class="rl-muted">{escaped(voice.how)}</span>' if voice.how and voice.act != "flagged" else ""
    note = f'<q dir="auto">{escaped(voice.note)}</q>' if voice.note.strip() else ""
    said = f' <span class="rl-muted">{act}</span>' if act else ""
    return f'<li><b dir="auto">{escaped(voice.who)}{said}</b>{grade}{how}{note}</li>'


def settled_html(settled: Settled, *, scale: ScaleView) -> str:
    """What the decision was, who had said what, and what had been proposed."""
    pair = settled.pair
    facts = [("Question", escaped(pair.query)), ("Passage", escaped(pair.passage_title or pair.passage_text[:80]))]
    if settled.grade is None:
        facts.append(("You", "settled the flag without a grade"))
    else:
        facts.append(("You decided", grade_html(settled.grade, scale)))
    if settled.note.strip():
        facts.append(("Your note", escaped(settled.note)))
    facts.append(("Proposed", _proposed(pair, sent_back=settled.grade is None, scale=scale)))
    return (
        f'<div class="rl-case"><div>{facts_html(facts)}</div>'
        f'<aside aria-label="Who said what">{voices_html(settled.voices, scale=scale)}</aside></div>'
    )


def _proposed(pair: PairView, *, sent_back: bool, scale: ScaleView) -> str:
    if sent_back:
        return "not shown: the pair may come to you for a grade of your own"
    if pair.concealed:
        return "not shown: people judge this pair blind"
    if pair.judge is None or pair.status is None:
        return "nothing: no judge has seen this pair"
    if pair.grade is None:
        return f"nothing that could be read, by {escaped(judge_text(pair.judge))}"
    sure = confidence_html(pair.confidence, pair.confidence_kind)
    reason = f"<br>{escaped(pair.reason)}" if pair.reason.strip() else ""
    return f"{grade_html(pair.grade, scale)} {sure}<br>{escaped(judge_text(pair.judge))}{reason}"


def use_sheet() -> None:
    """Put this screen's style into the page."""
    st.html(SHEET)
