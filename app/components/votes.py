"""How an ensemble's members voted, and in plain words how far they agree."""

from __future__ import annotations

import math

import streamlit as st

from app.components.badges import confidence_text, grade_text
from app.components.table import table_html
from app.components.text import escaped
from app.services.views import ScaleView
from app.services.votes import VotesView


def show_votes(votes: VotesView, *, scale: ScaleView) -> None:
    """A table of the members with their grades, and under it what the two figures of disagreement mean."""
    st.html(_table(votes, scale))
    st.caption(agreement_text(votes, scale=scale))


def votes_html(votes: VotesView, *, scale: ScaleView) -> str:
    """The same as HTML, for the review card."""
    return f'{_table(votes, scale)}<p class="rl-muted">{escaped(agreement_text(votes, scale=scale))}</p>'


def _table(votes: VotesView, scale: ScaleView) -> str:
    return table_html(
        ["Member", "Prompt", "Grade", "Its own confidence"],
        [
            [
                member.judge,
                member.prompt_version[:8],
                "unreadable: no vote" if member.grade is None else grade_text(member.grade, scale),
                confidence_text(member.confidence, member.confidence_kind),
            ]
            for member in votes.members
        ],
        caption="How the members voted",
    )


def agreement_text(votes: VotesView, *, scale: ScaleView) -> str:
    """Both figures, each with what it says here and what its ends would be."""
    if votes.entropy is None or votes.first_second_distance is None:
        return "Fewer than two votes could be read, so there is no agreement to measure."
    even = math.log(scale.max_grade + 1)
    distance = votes.first_second_distance
    if math.isclose(distance, 1.0):
        spread, ahead = "all votes are alike", "no second grade has a vote"
    else:
        spread = "the votes are divided"
        tied = math.isclose(distance, 0.0, abs_tol=1e-9)
        ahead = "a tie" if tied else f"the commonest grade leads the second by {distance:.0%} of the votes"
    return (
        f"Entropy {votes.entropy:.2f}: {spread} (0 is all alike, {even:.2f} is spread evenly over all grades). "
        f"First–second distance {distance:.2f}: {ahead} (1 is all alike, 0 is a tie)."
    )
