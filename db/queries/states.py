"""The current state of a pair, derived from what judges, policies and people appended about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import LabelSource, Outcome, ReviewAction
from db.models import PairState, Review, Suggestion
from db.queries.queue_places import close_entry, reopen
from db.queries.standing import (
    GRADING,
    accepted_source,
    get_standing_review,
    list_revoked_among,
    load_suggestions,
    locked_states,
    set_decision,
    standing_reviews,
)
from db.queries.suspending import suspend_replaced

__all__ = [
    "GRADING",
    "get_standing_review",
    "locked_states",
    "refresh_state",
    "refresh_states",
    "set_decision",
    "set_suggestions",
    "standing_reviews",
]

SOME = 500
"""Pairs that are held and brought up to date at once."""


def refresh_state(
    session: Session, *, pair_id: int, criterion: Criterion, now: datetime, held: PairState | None = None
) -> PairState:
    """Brings a pair's current state up to date: adjudicated before human before accepted.

    The suggestion and decision in the state are kept; callers that add newer ones set them first. `held`: the state,
    where this transaction got it from `locked_states`.
    """
    session.flush()
    state = held or locked_states(session, pair_ids=[pair_id], criterion=criterion, now=now)[pair_id]
    _curate(session, {pair_id: state}, criterion=criterion, now=now)
    return state


def refresh_states(session: Session, *, pair_ids: Collection[int], criterion: Criterion, now: datetime) -> None:
    """Brings many pairs up to date as `refresh_state` does, some hundred at a time."""
    session.flush()
    wanted = sorted(set(pair_ids))
    for start in range(0, len(wanted), SOME):
        some = wanted[start : start + SOME]
        states = locked_states(session, pair_ids=some, criterion=criterion, now=now)
        _curate(session, states, criterion=criterion, now=now)


def _curate(session: Session, states: Mapping[int, PairState], *, criterion: Criterion, now: datetime) -> None:
    said = _said(session, list(states), criterion=criterion)
    accepted = load_suggestions(
        session,
        [
            state.suggestion_id
            for pair_id, state in states.items()
            if not said[pair_id].grades and state.outcome is Outcome.ACCEPTED and state.suggestion_id is not None
        ],
    )
    for pair_id, state in states.items():
        review = said[pair_id].holding
        suggestion = None if state.suggestion_id is None else accepted.get(state.suggestion_id)
        state.review_id = None if review is None else review.id
        state.graders, state.disputed, state.flagged = (
            said[pair_id].graders,
            said[pair_id].disputed,
            said[pair_id].flagged,
        )
        state.curated_grade, state.curated_source = None, None
        if review is not None:
            adjudicated = review.action is ReviewAction.ADJUDICATE
            state.curated_grade = review.grade
            state.curated_source = LabelSource.ADJUDICATED if adjudicated else LabelSource.HUMAN
        elif suggestion is not None:
            state.curated_grade, state.curated_source = suggestion.grade, accepted_source(suggestion)
        state.updated_at = now
    session.flush()
    for pair_id, state in states.items():
        settled = state.flagged or state.curated_source is LabelSource.ADJUDICATED
        (close_entry if settled else reopen)(session, pair_id=pair_id, criterion=criterion)


@dataclass(slots=True)
class _Said:
    """What stands of what people said of one pair, oldest first."""

    grades: list[Review] = field(default_factory=list)
    flags: list[Review] = field(default_factory=list)

    @property
    def holding(self) -> Review | None:
        """The latest adjudication, else the latest grade."""
        adjudicated = [review for review in self.grades if review.action is ReviewAction.ADJUDICATE]
        chosen = adjudicated or self.grades
        return chosen[-1] if chosen else None

    @property
    def graders(self) -> int:
        return len({review.person_id for review in self.grades})

    @property
    def disputed(self) -> bool:
        """Whether the latest grades of two people differ and nobody adjudicated."""
        latest = {review.person_id: review.grade for review in self.grades}
        return len(set(latest.values())) > 1 and not self._adjudicated

    @property
    def flagged(self) -> bool:
        """Whether a flag stands that neither a later adjudication nor a later grade of who raised it settled."""
        return any(
            not any(
                later.id > flag.id and (later.action is ReviewAction.ADJUDICATE or later.person_id == flag.person_id)
                for later in self.grades
            )
            for flag in self.flags
        )

    @property
    def _adjudicated(self) -> bool:
        return any(review.action is ReviewAction.ADJUDICATE for review in self.grades)


def _said(session: Session, pair_ids: Sequence[int], *, criterion: Criterion) -> dict[int, _Said]:
    said = {pair_id: _Said() for pair_id in pair_ids}
    for review in session.scalars(_answers(criterion), {"pairs": pair_ids}):
        of_pair = said[review.pair_id]
        (of_pair.flags if review.action is ReviewAction.FLAG else of_pair.grades).append(review)
    return said


@cache
def _answers(criterion: Criterion) -> sa.Select[Review]:
    """What stands of grades and flags on the pairs :pairs, oldest first."""
    return (
        standing_reviews(criterion)
        .where(
            Review.pair_id.in_(sa.bindparam("pairs", expanding=True)),
            Review.action.in_((*GRADING, ReviewAction.FLAG)),
        )
        .order_by(Review.pair_id, Review.id)
    )


def set_suggestions(
    session: Session, suggestions: Sequence[Suggestion], *, criterion: Criterion, now: datetime
) -> None:
    """Makes new suggestions the current ones of their pairs; what was decided about older ones no longer holds.

    A certificate never carries over: one that accepted an older suggestion of these pairs is suspended. What a revoked
    judge proposed takes nobody's place.
    """
    revoked = list_revoked_among(session, {suggestion.judge_id for suggestion in suggestions})
    suggestions = [suggestion for suggestion in suggestions if suggestion.judge_id not in revoked]
    suspend_replaced(session, pair_ids=[s.pair_id for s in suggestions], criterion=criterion, now=now)
    states = locked_states(session, pair_ids=[s.pair_id for s in suggestions], criterion=criterion, now=now)
    for suggestion in suggestions:
        state = states[suggestion.pair_id]
        state.suggestion_id, state.decision_id, state.outcome = suggestion.id, None, None
        if state.curated_source in (LabelSource.ACCEPTED, LabelSource.SELF):
            state.curated_grade, state.curated_source = None, None
        state.updated_at = now
    session.flush()
