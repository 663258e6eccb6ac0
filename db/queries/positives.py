"""Queries for which a judge found nothing: they are counted and kept, never dropped."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.models import Pair, PairState, Suggestion


@dataclass(frozen=True, slots=True)
class PositiveCount:
    """Queries of which a pair could be read, and how many of them have no pair graded `relevant_from` or better."""

    queries: int
    without_positive: int


def count_positives(session: Session, *, criterion: Criterion, relevant_from: int) -> PositiveCount:
    """By the current suggestions under one criterion; unreadable ones say nothing either way."""
    best = (
        sa.select(Pair.query_id, sa.func.max(Suggestion.grade).label("best"))
        .join(PairState, PairState.pair_id == Pair.id)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .where(PairState.criterion == criterion, Suggestion.grade.is_not(None))
        .group_by(Pair.query_id)
        .subquery()
    )
    found = sa.select(sa.func.count(), sa.func.count().filter(best.c.best < relevant_from)).select_from(best)
    queries, without = session.execute(found).one()
    return PositiveCount(queries, without)
