"""The current state of a pair, derived from what judges, policies and people appended about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import LabelSource, Outcome, ReviewAction
from db.models import PairState, Suggestion
from db.queries.standing import (
    GRADING,
    accepted_source,
    get_standing_review,
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
    "set_decision",
    "set_suggestions",
    "standing_reviews",
]


def refresh_state(session: Session, *, pair_id: int, criterion: Criterion, now: datetime) -> PairState:
    """Brings a pair's current state up to date: adjudicated before human before accepted.

    The suggestion and decision in the state are kept; callers that add newer ones set them first.
    """
    session.flush()
    state = locked_states(session, pair_ids=[pair_id], criterion=criterion, now=now)[pair_id]
    review = get_standing_review(session, pair_id=pair_id, criterion=criterion)
    state.review_id = None if review is None else review.id
    state.curated_grade, state.curated_source = None, None
    if review is not None:
        adjudicated = review.action is ReviewAction.ADJUDICATE
        state.curated_grade = review.grade
        state.curated_source = LabelSource.ADJUDICATED if adjudicated else LabelSource.HUMAN
    elif state.outcome is Outcome.ACCEPTED and state.suggestion_id is not None:
        suggestion = session.get_one(Suggestion, state.suggestion_id)
        source = accepted_source(suggestion)
        state.curated_grade, state.curated_source = suggestion.grade, source
    state.updated_at = now
    session.flush()
    return state


def set_suggestions(
    session: Session, suggestions: Sequence[Suggestion], *, criterion: Criterion, now: datetime
) -> None:
    """Makes new suggestions the current ones of their pairs; what was decided about older ones no longer holds.

    A certificate never carries over: one that accepted an older suggestion of these pairs is suspended.
    """
    suspend_replaced(session, pair_ids=[s.pair_id for s in suggestions], criterion=criterion, now=now)
    states = locked_states(session, pair_ids=[s.pair_id for s in suggestions], criterion=criterion, now=now)
    for suggestion in suggestions:
        state = states[suggestion.pair_id]
        state.suggestion_id, state.decision_id, state.outcome = suggestion.id, None, None
        if state.curated_source in (LabelSource.ACCEPTED, LabelSource.SELF):
            state.curated_grade, state.curated_source = None, None
        state.updated_at = now
    session.flush()
