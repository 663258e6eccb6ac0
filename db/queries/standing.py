"""What stands for a pair: the reviews nobody took back, and its state, held while somebody changes it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, object_session

from annotator.types import Criterion, JudgeKind
from db.enums import LabelSource, Outcome, ReviewAction
from db.models import Decision, JudgeRow, Pair, PairState, Review, Suggestion

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


def set_decision(state: PairState, decision: Decision, suggestion: Suggestion, *, now: datetime) -> None:
    """Records the latest decision about a pair's current suggestion; a person's grade stays above it."""
    accepted = decision.outcome is Outcome.ACCEPTED
    source = accepted_source(suggestion) if accepted else None
    state.decision_id, state.outcome, state.updated_at = decision.id, decision.outcome, now
    if state.review_id is None:
        state.curated_grade, state.curated_source = suggestion.grade if accepted else None, source


def load_suggestions(session: Session, suggestion_ids: Collection[int]) -> dict[int, Suggestion]:
    """Suggestions by id, a few hundred a query."""
    found: dict[int, Suggestion] = {}
    wanted = sorted(set(suggestion_ids))
    for start in range(0, len(wanted), 500):
        rows = session.scalars(sa.select(Suggestion).where(Suggestion.id.in_(wanted[start : start + 500])))
        found.update((suggestion.id, suggestion) for suggestion in rows)
    return found


def accepted_source(suggestion: Suggestion) -> LabelSource:
    """Who stands behind a suggestion that is accepted: the retriever itself, or another judge."""
    session = object_session(suggestion)
    judge = None if session is None else session.get(JudgeRow, suggestion.judge_id)
    return LabelSource.SELF if judge is not None and judge.kind is JudgeKind.RETRIEVER else LabelSource.ACCEPTED
