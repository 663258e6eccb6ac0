"""The current state of a pair, derived from what judges, policies and people appended about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import LabelSource, Outcome, ReviewAction
from db.models import Decision, Pair, PairState, Review, Suggestion

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


def locked_states(
    session: Session, *, pair_ids: Collection[int], criterion: Criterion, now: datetime
) -> dict[int, PairState]:
    """The states of these pairs, made where missing, held until the transaction ends.

    Whoever changes a state reads it through here: a state computed from what was read before another transaction
    committed would put the older label in place of the newer one.
    """
    states: dict[int, PairState] = {}
    wanted = sorted(set(pair_ids))
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        # The pair's own row first, which is there before any state is; in id order, so that nobody waits in a circle.
        session.execute(sa.select(Pair.id).where(Pair.id.in_(some)).order_by(Pair.id).with_for_update(key_share=True))
        found = session.scalars(
            sa.select(PairState)
            .where(PairState.pair_id.in_(some), PairState.criterion == criterion)
            .order_by(PairState.pair_id)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        states.update((state.pair_id, state) for state in found)
    for pair_id in wanted:
        if pair_id not in states:
            states[pair_id] = PairState(pair_id=pair_id, criterion=criterion, updated_at=now)
            session.add(states[pair_id])
    return states


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
        state.curated_grade, state.curated_source = suggestion.grade, LabelSource.ACCEPTED
    state.updated_at = now
    session.flush()
    return state


def set_suggestions(
    session: Session, suggestions: Sequence[Suggestion], *, criterion: Criterion, now: datetime
) -> None:
    """Makes new suggestions the current ones of their pairs; what was decided about older ones no longer holds."""
    states = locked_states(session, pair_ids=[s.pair_id for s in suggestions], criterion=criterion, now=now)
    for suggestion in suggestions:
        state = states[suggestion.pair_id]
        state.suggestion_id, state.decision_id, state.outcome = suggestion.id, None, None
        if state.curated_source is LabelSource.ACCEPTED:
            state.curated_grade, state.curated_source = None, None
        state.updated_at = now
    session.flush()


def set_decision(state: PairState, decision: Decision, suggestion: Suggestion, *, now: datetime) -> None:
    """Records the latest decision about a pair's current suggestion; a person's grade stays above it."""
    state.decision_id, state.outcome, state.updated_at = decision.id, decision.outcome, now
    if state.review_id is None:
        accepted = decision.outcome is Outcome.ACCEPTED
        state.curated_grade = suggestion.grade if accepted else None
        state.curated_source = LabelSource.ACCEPTED if accepted else None
