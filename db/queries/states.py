"""The current state of a pair, derived from what judges, policies and people appended about it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import LabelSource, Outcome, ReviewAction
from db.models import Decision, PairState, Review, Suggestion

GRADING = (ReviewAction.GRADE, ReviewAction.ADJUDICATE)


def standing_reviews(criterion: Criterion) -> sa.Select[Review]:
    """Reviews that nobody took back, of one criterion."""
    undo = aliased(Review)
    return sa.select(Review).where(
        Review.criterion == criterion,
        Review.action != ReviewAction.UNDO,
        ~sa.exists().where(undo.undoes_id == Review.id),
    )


def get_standing_review(session: Session, *, pair_id: int, criterion: Criterion) -> Review | None:
    """The grade that holds for a pair: the latest adjudication, else the latest review; None when nobody graded it."""
    return session.scalar(
        standing_reviews(criterion)
        .where(Review.pair_id == pair_id, Review.action.in_(GRADING))
        .order_by((Review.action == ReviewAction.ADJUDICATE).desc(), Review.id.desc())
        .limit(1)
    )


def refresh_state(session: Session, *, pair_id: int, criterion: Criterion, now: datetime) -> PairState:
    """Brings a pair's current state up to date: adjudicated before human before accepted.

    The suggestion and decision in the state are kept; callers that add newer ones set them first.
    """
    state = session.get(PairState, (pair_id, criterion))
    if state is None:
        state = PairState(pair_id=pair_id, criterion=criterion, updated_at=now)
        session.add(state)
    review = get_standing_review(session, pair_id=pair_id, criterion=criterion)
    state.review_id = None if review is None else review.id
    state.curated_grade, state.curated_source = None, None
    if review is not None:
        adjudicated = review.action is ReviewAction.ADJUDICATE
        state.curated_grade = review.grade
        state.curated_source = LabelSource.ADJUDICATED if adjudicated else LabelSource.HUMAN
    elif state.outcome is Outcome.ACCEPTED and state.suggestion_id is not None:
        suggestion = session.get_one(Suggestion, state.suggestion_id)
        state.curated_grade, state.curated_source = suggestion.grade, LabelSource.ACCEPTED
    state.updated_at = now
    session.flush()
    return state


def set_suggestion(session: Session, suggestion: Suggestion, *, now: datetime) -> PairState:
    """Makes a new suggestion the current one of its pair; whatever was decided about an older one no longer holds."""
    state = session.get(PairState, (suggestion.pair_id, suggestion.criterion))
    if state is None:
        state = PairState(pair_id=suggestion.pair_id, criterion=suggestion.criterion, updated_at=now)
        session.add(state)
    state.suggestion_id, state.decision_id, state.outcome = suggestion.id, None, None
    if state.curated_source is LabelSource.ACCEPTED:
        state.curated_grade, state.curated_source = None, None
    state.updated_at = now
    return state


def set_decision(state: PairState, decision: Decision, suggestion: Suggestion, *, now: datetime) -> None:
    """Records the latest decision about a pair's current suggestion; a person's grade stays above it."""
    state.decision_id, state.outcome, state.updated_at = decision.id, decision.outcome, now
    if state.review_id is None:
        accepted = decision.outcome is Outcome.ACCEPTED
        state.curated_grade = suggestion.grade if accepted else None
        state.curated_source = LabelSource.ACCEPTED if accepted else None
