"""How the audit queue is computed, switched and kept: which pairs are in it, why, in which order, for how many people.

Not here: who is served what of it, see `queue`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from db.enums import Outcome, QueueCause, Split
from db.models import Candidate, Pair, PairState, Query, QueryCluster, QueueEntry, Suggestion
from db.queries.audits import PEOPLE_ONLY, locked_pairs
from db.queries.workspace_values import get_value, lock_value, set_value


def _value_name(criterion: Criterion) -> str:
    return f"queue:{criterion}"


def active_version(session: Session, criterion: Criterion) -> int:
    """The version of the queue's order that is served; 0 before the first."""
    value = get_value(session, _value_name(criterion))
    return 0 if value is None else int(value["version"])


def rebuild_queue(session: Session, *, criterion: Criterion, now: datetime) -> int:
    """Computes the queue anew beside the one served, then switches to it; returns its length.

    In the queue: rejected pairs nobody graded, and candidates of calibrate and held-out queries, which only people
    grade; not the samples of open batches, which are served before it. Order, our choice: by rank in the pool, at equal
    rank the less sure first and unreadable replies last; what a judge proposed for a calibrate or held-out query moves
    its pairs neither up nor down.
    """
    old = int(lock_value(session, _value_name(criterion), {"version": 0, "length": 0}, now=now)["version"])
    version = old + 1
    entries = [
        _entry(row, criterion=criterion, version=version, position=position)
        for position, row in enumerate(session.execute(_to_audit(criterion)), start=1)
    ]
    if entries:
        session.execute(sa.insert(QueueEntry), entries)
    set_value(session, _value_name(criterion), {"version": version, "length": len(entries)}, now=now)
    session.execute(sa.delete(QueueEntry).where(QueueEntry.criterion == criterion, QueueEntry.version < old))
    return len(entries)


def _to_audit(
    criterion: Criterion,
) -> sa.Select[int, int, int, SuggestionStatus, float | None, Split | None, int | None]:
    rejected = PairState.outcome == Outcome.REJECTED
    people_only = QueryCluster.split.in_(PEOPLE_ONLY)
    return (
        sa.select(
            Pair.id,
            Pair.query_id,
            Candidate.rank,
            Suggestion.status,
            Suggestion.confidence,
            QueryCluster.split,
            PairState.suggestion_id,
        )
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Candidate, Candidate.pair_id == Pair.id)
        .outerjoin(PairState, sa.and_(PairState.pair_id == Pair.id, PairState.criterion == criterion))
        .outerjoin(Suggestion, Suggestion.id == PairState.suggestion_id)
        .where(
            PairState.review_id.is_(None),
            sa.or_(rejected, sa.and_(Candidate.pair_id.is_not(None), people_only)),
            Pair.id.not_in(locked_pairs(criterion)),
        )
        .order_by(
            sa.func.coalesce(Candidate.rank, 1_000_000),
            sa.case((people_only, 2.0), else_=sa.func.coalesce(Suggestion.confidence, 2.0)),
            Pair.id,
        )
    )


def _entry(row: Any, *, criterion: Criterion, version: int, position: int) -> dict[str, object]:
    return {
        "criterion": criterion,
        "version": version,
        "position": position,
        "random_position": position,
        "query_position": position,
        "oldest_position": position,
        "pair_id": row.id,
        "query_id": row.query_id,
        "cause": QueueCause.OTHER,
        "wanted": 1,
        "open": 1,
        "reason": _reason(row.rank, row.status, row.confidence, row.split),
    }


def get_entry(session: Session, *, criterion: Criterion, pair_id: int) -> QueueEntry | None:
    """A pair's place in the served queue, or None."""
    return session.scalar(
        sa.select(QueueEntry).where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == active_version(session, criterion),
            QueueEntry.pair_id == pair_id,
        )
    )


def put_back(session: Session, *, pair_id: int, criterion: Criterion, now: datetime) -> None:
    """Puts a pair whose grade was taken back at the end of the served queue, if it belongs there and is not in it.

    A queue computed while the grade stood does not have it, and nobody would be served it before the next one.
    """
    row = session.execute(_to_audit(criterion).where(Pair.id == pair_id)).one_or_none()
    if row is None:
        return
    version = int(lock_value(session, _value_name(criterion), {"version": 0, "length": 0}, now=now)["version"])
    if get_entry(session, criterion=criterion, pair_id=pair_id) is not None:
        return
    last = session.scalar(
        sa.select(sa.func.max(QueueEntry.position)).where(
            QueueEntry.criterion == criterion, QueueEntry.version == version
        )
    )
    position = (last or 0) + 1
    session.execute(sa.insert(QueueEntry), [_entry(row, criterion=criterion, version=version, position=position)])


def _reason(rank: int | None, status: SuggestionStatus | None, confidence: float | None, split: Split | None) -> str:
    place = "not in the pool" if rank is None else f"rank {rank} in the pool"
    if split in PEOPLE_ONLY:
        return f"{place}; a {split} question is judged by people only"
    if status is SuggestionStatus.UNREADABLE:
        return f"{place}; the judge's reply could not be read"
    if confidence is None:
        return f"{place}; the judge gave no confidence"
    return f"{place}; the judge is {confidence:.0%} sure, too little to accept"


def consume(session: Session, *, pair_id: int, criterion: Criterion) -> None:
    """One person fewer is wanted for a pair, now that a grade is stored; nothing if the served queue lacks it."""
    _set_open(session, pair_id=pair_id, criterion=criterion, open_=QueueEntry.open - 1, where=QueueEntry.open > 0)


def close_entry(session: Session, *, pair_id: int, criterion: Criterion) -> None:
    """Nobody is wanted for a pair any more: it was flagged or decided; nothing if the served queue lacks it."""
    _set_open(session, pair_id=pair_id, criterion=criterion, open_=sa.literal(0), where=QueueEntry.open > 0)


def reopen(session: Session, *, pair_id: int, criterion: Criterion) -> None:
    """As many people are wanted for a closed pair as would be had it never been closed."""
    graders = (
        sa.select(PairState.graders).where(PairState.pair_id == pair_id, PairState.criterion == criterion)
    ).scalar_subquery()
    left = QueueEntry.wanted - sa.func.coalesce(graders, 0)
    _set_open(
        session,
        pair_id=pair_id,
        criterion=criterion,
        open_=sa.case((left > 0, left), else_=0),
        where=sa.true(),
    )


def _set_open(
    session: Session,
    *,
    pair_id: int,
    criterion: Criterion,
    open_: sa.ColumnElement[int],
    where: sa.ColumnElement[bool],
) -> None:
    session.execute(
        sa.update(QueueEntry)
        .where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == active_version(session, criterion),
            QueueEntry.pair_id == pair_id,
            where,
        )
        .values(open=open_)
        .execution_options(synchronize_session=False)
    )
