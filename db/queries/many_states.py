"""Bringing the states of many pairs up to date in the database itself, without reading them.

A hundred thousand pairs take seconds here and minutes through objects, and SQLite's one writer keeps people waiting
all that time. What holds for a pair is as `states.py` and `standing.py` compute it for a few. Every function begins by
writing what the session has not, and makes it forget the states it has read.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion, JudgeKind
from db.enums import LabelSource, Outcome, ReviewAction
from db.models import JudgeRow, Pair, PairState, Review, Suggestion
from db.queries.standing import GRADING, revoked_people, standing_reviews

MACHINE = (LabelSource.ACCEPTED, LabelSource.SELF)
"""Sources of grades behind which nobody but a judge stands."""

PairIds = sa.Select[int] | Collection[int]
"""Which pairs: a query for their ids, or at most about a thousand ids."""


def _within(pair_ids: PairIds) -> sa.ColumnElement[bool]:
    """Whether the pair of `PairState` is one of these. A query that asks about states means its own, not this one."""
    return PairState.pair_id.in_(pair_ids.correlate(None) if isinstance(pair_ids, sa.Select) else list(pair_ids))


def hold_states(session: Session, pair_ids: sa.Select[int], *, criterion: Criterion) -> None:
    """Holds the states that these pairs have until the transaction ends, as `standing.locked_states` does.

    The pair's own row first, in id order, so that nobody waits in a circle; SQLite's one writer holds all anyway.
    """
    session.flush()
    if session.get_bind().dialect.name == "sqlite":
        return
    pairs = sa.select(Pair.id).where(Pair.id.in_(pair_ids)).order_by(Pair.id).with_for_update(key_share=True)
    states = (
        sa.select(PairState.pair_id)
        .where(PairState.criterion == criterion, _within(pair_ids))
        .order_by(PairState.pair_id)
        .with_for_update()
    )
    for held in (pairs, states):
        session.execute(sa.select(sa.func.count()).select_from(held.subquery()))


def change_states(session: Session, statement: sa.Update) -> int:
    """Runs an UPDATE of states; returns how many it changed."""
    session.flush()
    found: sa.CursorResult[tuple[()]] = session.execute(  # type: ignore[assignment]
        statement, execution_options={"synchronize_session": False}
    )
    for row in list(session.identity_map.values()):
        if isinstance(row, PairState):
            session.expire(row)
    return found.rowcount


def curate_accepted(session: Session, pair_ids: PairIds, *, criterion: Criterion, now: datetime) -> int:
    """Computes anew what is accepted for the pairs that no person graded; returns how many those are."""
    of_current = (
        sa.select(Suggestion.grade)
        .where(Suggestion.id == PairState.suggestion_id)
        .correlate(PairState)
        .scalar_subquery()
    )
    by_current = (
        sa.select(accepted_by())
        .select_from(Suggestion)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(Suggestion.id == PairState.suggestion_id)
        .correlate(PairState)
        .scalar_subquery()
    )
    accepted = PairState.outcome == Outcome.ACCEPTED
    return change_states(
        session,
        sa.update(PairState)
        .where(
            PairState.criterion == criterion,
            PairState.review_id.is_(None),
            _within(pair_ids),
        )
        .values(
            curated_grade=sa.case((accepted, of_current), else_=None),
            curated_source=sa.case((accepted, by_current), else_=None),
            updated_at=now,
        ),
    )


def accepted_by() -> sa.ColumnElement[LabelSource]:
    """Who stands behind an accepted suggestion of `JudgeRow`: the retriever itself, or another judge."""
    kind = PairState.curated_source.type
    return sa.case(
        (JudgeRow.kind == JudgeKind.RETRIEVER, sa.literal(LabelSource.SELF, kind)),
        else_=sa.literal(LabelSource.ACCEPTED, kind),
    )


def curate_all(session: Session, pair_ids: PairIds, *, criterion: Criterion, now: datetime) -> int:
    """Computes anew what holds for pairs that have a state: adjudicated before human before accepted."""
    standing = (
        standing_reviews(criterion)
        .where(Review.pair_id == PairState.pair_id, Review.action.in_(GRADING))
        .order_by((Review.action == ReviewAction.ADJUDICATE).desc(), Review.id.desc())
        .limit(1)
        .with_only_columns(Review.id)
        .correlate(PairState)
        .scalar_subquery()
    )
    wanted = [PairState.criterion == criterion, _within(pair_ids)]
    number = change_states(
        session,
        sa.update(PairState)
        .where(*wanted)
        .values(
            review_id=standing,
            graders=_count_graders(criterion),
            disputed=_is_disputed(criterion),
            flagged=_is_flagged(criterion),
        ),
    )
    adjudicated = Review.action == ReviewAction.ADJUDICATE
    kind = PairState.curated_source.type
    change_states(
        session,
        sa.update(PairState)
        .where(*wanted, Review.id == PairState.review_id)
        .values(
            curated_grade=Review.grade,
            curated_source=sa.case(
                (adjudicated, sa.literal(LabelSource.ADJUDICATED, kind)), else_=sa.literal(LabelSource.HUMAN, kind)
            ),
            updated_at=now,
        ),
    )
    curate_accepted(session, pair_ids, criterion=criterion, now=now)
    return number


def _stands(review: Any, criterion: Criterion, actions: Collection[ReviewAction]) -> sa.ColumnElement[bool]:
    """Whether a row of that alias of `Review` is such a review of the pair of `PairState`, and stands."""
    undo = aliased(Review)
    return sa.and_(
        review.pair_id == PairState.pair_id,
        review.criterion == criterion,
        review.action.in_(actions),
        review.hidden_check.is_(False),
        review.person_id.not_in(revoked_people()),
        ~sa.exists().where(undo.undoes_id == review.id),
    )


def _count_graders(criterion: Criterion) -> sa.ScalarSelect[int]:
    review = aliased(Review)
    people = sa.select(sa.func.count(sa.distinct(review.person_id)))
    return people.where(_stands(review, criterion, GRADING)).correlate(PairState).scalar_subquery()


def _is_disputed(criterion: Criterion) -> sa.ColumnElement[bool]:
    """Whether the latest grades of two people differ and nobody adjudicated."""
    one, other, decided = aliased(Review), aliased(Review), aliased(Review)
    latest = [_stands(row, criterion, GRADING) & ~_has_later(row, criterion) for row in (one, other)]
    differ = sa.exists().where(*latest, one.person_id < other.person_id, one.grade != other.grade)
    adjudicated = sa.exists().where(_stands(decided, criterion, (ReviewAction.ADJUDICATE,)))
    return sa.and_(differ.correlate(PairState), ~adjudicated.correlate(PairState))


def _has_later(row: Any, criterion: Criterion) -> sa.ColumnElement[bool]:
    later = aliased(Review)
    same = sa.and_(later.person_id == row.person_id, later.id > row.id, _stands(later, criterion, GRADING))
    return sa.exists().where(same).correlate(row, PairState)


def _is_flagged(criterion: Criterion) -> sa.ColumnElement[bool]:
    """Whether a flag stands that neither a later adjudication nor a later grade of who raised it settled."""
    flag, later = aliased(Review), aliased(Review)
    settles = sa.or_(later.action == ReviewAction.ADJUDICATE, later.person_id == flag.person_id)
    settled = sa.exists().where(_stands(later, criterion, GRADING), later.id > flag.id, settles)
    raised = _stands(flag, criterion, (ReviewAction.FLAG,))
    return sa.exists().where(raised, ~settled.correlate(flag, PairState)).correlate(PairState)
