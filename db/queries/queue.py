"""The audit queue and its leases: who is served which pair, and that nobody else is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from db.enums import Outcome, ReviewAction, Split, Visibility
from db.models import Candidate, Lease, Pair, PairState, Passage, Query, QueryCluster, QueueEntry, Review, Suggestion
from db.queries.states import standing_reviews
from db.queries.workspace_values import get_value, lock_value, set_value

PEOPLE_ONLY = (Split.CALIBRATE, Split.HELD_OUT)
"""Splits whose questions people judge blind: what a judge proposed for them is neither routed nor shown on the card."""


def _value_name(criterion: Criterion) -> str:
    return f"queue:{criterion}"


def active_version(session: Session, criterion: Criterion) -> int:
    """The version of the queue's order that is served; 0 before the first."""
    value = get_value(session, _value_name(criterion))
    return 0 if value is None else int(value["version"])


def rebuild_queue(session: Session, *, criterion: Criterion, now: datetime) -> int:
    """Computes the queue anew beside the one served, then switches to it; returns its length.

    In the queue: rejected pairs nobody graded, and candidates of calibrate and held-out queries, which only people
    grade. Order, our choice: by rank in the pool, at equal rank the less sure first and unreadable replies last.
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
) -> sa.Select[int, int, SuggestionStatus, float | None, Split | None, int | None]:
    rejected = PairState.outcome == Outcome.REJECTED
    people_only = QueryCluster.split.in_(PEOPLE_ONLY)
    return (
        sa.select(
            Pair.id,
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
        .where(PairState.review_id.is_(None), sa.or_(rejected, sa.and_(Candidate.pair_id.is_not(None), people_only)))
        .order_by(
            sa.func.coalesce(Candidate.rank, 1_000_000),
            sa.func.coalesce(Suggestion.confidence, 2.0),
            Pair.id,
        )
    )


def _entry(row: Any, *, criterion: Criterion, version: int, position: int) -> dict[str, object]:
    return {
        "criterion": criterion,
        "version": version,
        "position": position,
        "pair_id": row.id,
        "reason": _reason(row.rank, row.status, row.confidence, row.split),
    }


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


def _skipped(person_id: int, criterion: Criterion) -> sa.Subquery:
    return (
        standing_reviews(criterion)
        .where(Review.person_id == person_id, Review.action == ReviewAction.SKIP)
        .with_only_columns(Review.pair_id, sa.func.max(Review.id).label("skipped"))
        .group_by(Review.pair_id)
        .subquery()
    )


def count_waiting(session: Session, *, criterion: Criterion) -> int:
    """How many pairs of the served queue nobody graded yet."""
    return (
        session.scalar(_waiting(criterion, active_version(session, criterion)).with_only_columns(sa.func.count())) or 0
    )


def _waiting(criterion: Criterion, version: int) -> sa.Select[QueueEntry]:
    return (
        sa.select(QueueEntry)
        .outerjoin(PairState, sa.and_(PairState.pair_id == QueueEntry.pair_id, PairState.criterion == criterion))
        .where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == version,
            PairState.review_id.is_(None),
            sa.or_(PairState.outcome.is_(None), PairState.outcome == Outcome.REJECTED),
        )
    )


def list_waiting(session: Session, *, criterion: Criterion) -> list[tuple[int, str, str]]:
    """(pair id, query id, passage id), the latter two from outside, of the pairs that wait, in the order served."""
    rows = session.execute(
        _waiting(criterion, active_version(session, criterion))
        .join(Pair, Pair.id == QueueEntry.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .with_only_columns(QueueEntry.pair_id, Query.external_id, Passage.external_id)
        .order_by(QueueEntry.position)
    )
    return [(pair_id, query_id, passage_id) for pair_id, query_id, passage_id in rows]


def next_entry(session: Session, *, criterion: Criterion, person_id: int, now: datetime) -> QueueEntry | None:
    """The first pair of the queue that nobody graded and nobody holds; what this person skipped comes last."""
    skipped = _skipped(person_id, criterion)
    return session.scalar(
        _waiting(criterion, active_version(session, criterion))
        .outerjoin(skipped, skipped.c.pair_id == QueueEntry.pair_id)
        .where(
            ~sa.exists().where(
                Lease.pair_id == QueueEntry.pair_id, Lease.criterion == criterion, Lease.expires_at > now
            )
        )
        .order_by(sa.func.coalesce(skipped.c.skipped, 0), QueueEntry.position)
        .limit(1)
        .with_for_update(skip_locked=True, of=QueueEntry)
    )


def get_entry(session: Session, *, criterion: Criterion, pair_id: int) -> QueueEntry | None:
    """A pair's place in the served queue, or None."""
    return session.scalar(
        sa.select(QueueEntry).where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == active_version(session, criterion),
            QueueEntry.pair_id == pair_id,
        )
    )


def is_waiting(session: Session, *, criterion: Criterion, pair_id: int) -> bool:
    """Whether a pair of the served queue still waits for a grade."""
    waiting = _waiting(criterion, active_version(session, criterion)).where(QueueEntry.pair_id == pair_id)
    return session.scalar(waiting.with_only_columns(sa.func.count())) == 1


def get_lease(session: Session, *, card: str) -> Lease | None:
    """The lease that a card names, expired or not, as long as nobody else took the pair; held until answered."""
    return session.scalar(sa.select(Lease).where(Lease.card == card).with_for_update())


def get_open_lease(session: Session, *, person_id: int, criterion: Criterion, now: datetime) -> Lease | None:
    """The pair this person has open and still holds."""
    return session.scalar(
        sa.select(Lease)
        .where(Lease.person_id == person_id, Lease.criterion == criterion, Lease.expires_at > now)
        .order_by(Lease.opened_at.desc())
        .limit(1)
        .with_for_update()
    )


def get_holder(session: Session, *, pair_id: int, criterion: Criterion, now: datetime) -> Lease | None:
    """The lease that holds a pair now."""
    lease = session.get(Lease, (pair_id, criterion))
    return lease if lease is not None and lease.expires_at > now else None


def lease_pair(
    session: Session,
    *,
    pair_id: int,
    criterion: Criterion,
    person_id: int,
    card: str,
    suggestion_id: int | None,
    now: datetime,
    minutes: float,
) -> Lease:
    """Gives a pair to a person, in place of an expired lease on it and of any other pair the person holds.

    `suggestion_id`: the suggestion that the card shows, None when the pair is judged blind.

    Raises:
        IntegrityError: somebody else took it a moment ago (from SQLAlchemy; the caller looks for another pair).
    """
    expired = sa.and_(Lease.pair_id == pair_id, Lease.expires_at <= now)
    session.execute(sa.delete(Lease).where(Lease.criterion == criterion, sa.or_(expired, Lease.person_id == person_id)))
    lease = Lease(
        pair_id=pair_id,
        criterion=criterion,
        person_id=person_id,
        card=card,
        visibility=Visibility.BLIND if suggestion_id is None else Visibility.SHOWN,
        suggestion_id=suggestion_id,
        opened_at=now,
        expires_at=now + timedelta(minutes=minutes),
    )
    session.add(lease)
    session.flush()
    return lease
