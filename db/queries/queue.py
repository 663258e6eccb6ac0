"""The audit queue and its leases: who is served which pair, and that nobody else is.

Served first are the samples of open batches, then the spot checks that wait, then what two compared models put in their
top 10 and nobody judged, all blind; then the queue by value.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import Outcome, ReviewAction, Visibility
from db.models import (
    BatchPair,
    JudgeFirst,
    Lease,
    Pair,
    PairState,
    Passage,
    Query,
    QueueEntry,
    Review,
    SeenPair,
    SpotCheck,
)
from db.queries.audits import locked_pairs, waiting_samples, waiting_spot_checks
from db.queries.judge_first import waiting_first
from db.queries.queue_building import active_version, get_entry, put_back, rebuild_queue
from db.queries.standing import standing_reviews

__all__ = [
    "active_version",
    "count_waiting",
    "get_entry",
    "get_holder",
    "get_lease",
    "get_open_lease",
    "has_seen",
    "is_waiting",
    "lease_pair",
    "list_waiting",
    "next_pair",
    "put_back",
    "rebuild_queue",
]


def _skipped(person_id: int, criterion: Criterion) -> sa.Subquery:
    return (
        standing_reviews(criterion)
        .where(Review.person_id == person_id, Review.action == ReviewAction.SKIP)
        .with_only_columns(Review.pair_id, sa.func.max(Review.id).label("skipped"))
        .group_by(Review.pair_id)
        .subquery()
    )


def count_waiting(session: Session, *, criterion: Criterion) -> int:
    """How many pairs wait for a grade: samples, spot checks, those to judge first, and those of the served queue."""
    number = sa.func.count()
    counted = (
        waiting_samples(criterion).with_only_columns(number),
        waiting_spot_checks(criterion).with_only_columns(number),
        waiting_first(criterion).with_only_columns(number),
        _waiting(criterion, active_version(session, criterion)).with_only_columns(number),
    )
    return sum(session.scalar(statement) or 0 for statement in counted)


def _waiting(criterion: Criterion, version: int) -> sa.Select[QueueEntry]:
    return (
        sa.select(QueueEntry)
        .outerjoin(PairState, sa.and_(PairState.pair_id == QueueEntry.pair_id, PairState.criterion == criterion))
        .where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == version,
            PairState.review_id.is_(None),
            sa.or_(PairState.outcome.is_(None), PairState.outcome == Outcome.REJECTED),
            QueueEntry.pair_id.not_in(locked_pairs(criterion)),
            QueueEntry.pair_id.not_in(sa.select(JudgeFirst.pair_id).where(JudgeFirst.criterion == criterion)),
        )
    )


def list_waiting(session: Session, *, criterion: Criterion) -> list[tuple[int, str, str]]:
    """(pair id, query id, passage id), the latter two from outside, of the pairs that wait, in the order served."""
    found = []
    for statement, pair_id, order in _sources(session, criterion):
        rows = session.execute(
            statement.join(Pair, Pair.id == pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .with_only_columns(Pair.id, Query.external_id, Passage.external_id)
            .order_by(*order)
        )
        found += [(id_, query_id, passage_id) for id_, query_id, passage_id in rows]
    return found


def _sources(session: Session, criterion: Criterion) -> list[tuple[sa.Select[Any], Any, tuple[Any, ...]]]:
    """What waits, in the order served: the statement, its pair's id, and the order within."""
    version = active_version(session, criterion)
    return [
        (waiting_samples(criterion), BatchPair.pair_id, (BatchPair.batch_id, BatchPair.audit_position)),
        (waiting_spot_checks(criterion), SpotCheck.pair_id, (SpotCheck.certificate_id, SpotCheck.position)),
        (waiting_first(criterion), JudgeFirst.pair_id, (JudgeFirst.rank, JudgeFirst.pair_id)),
        (_waiting(criterion, version), QueueEntry.pair_id, (QueueEntry.position,)),
    ]


def next_pair(session: Session, *, criterion: Criterion, person_id: int, now: datetime) -> int | None:
    """The id of the first pair that nobody graded and nobody holds; what this person skipped comes after all others.

    No sample and no spot check of a pair whose proposal this person has seen.
    """
    skipped = _skipped(person_id, criterion)
    sources = _sources(session, criterion)
    for was_skipped in (False, True):
        for statement, pair_id, order in sources:
            free = ~sa.exists().where(Lease.pair_id == pair_id, Lease.criterion == criterion, Lease.expires_at > now)
            if pair_id.class_ is not QueueEntry:
                free = sa.and_(free, ~_seen(pair_id, criterion).where(SeenPair.person_id == person_id).exists())
            before = skipped.c.skipped.is_not(None) if was_skipped else skipped.c.skipped.is_(None)
            found = session.scalar(
                statement.outerjoin(skipped, skipped.c.pair_id == pair_id)
                .where(free, before)
                .with_only_columns(pair_id)
                .order_by(*((skipped.c.skipped,) if was_skipped else ()), *order)
                .limit(1)
                .with_for_update(skip_locked=True, of=pair_id.class_)
            )
            if found is not None:
                return int(found)
    return None


def _seen(pair_id: Any, criterion: Criterion) -> sa.Select[SeenPair]:
    return sa.select(SeenPair).where(SeenPair.pair_id == pair_id, SeenPair.criterion == criterion)


def has_seen(session: Session, *, pair_id: int, criterion: Criterion, person_id: int) -> bool:
    """Whether this person was ever served a card that shows what was proposed for the pair."""
    return session.get(SeenPair, (pair_id, criterion, person_id)) is not None


def is_waiting(session: Session, *, criterion: Criterion, pair_id: int) -> bool:
    """Whether a pair still waits for a grade, in a sample, a spot check or the served queue."""
    return any(
        session.scalar(statement.where(column == pair_id).with_only_columns(sa.func.count()))
        for statement, column, _ in _sources(session, criterion)
    )


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
    lease = session.get(Lease, (pair_id, criterion, 1))
    return lease if lease is not None and lease.expires_at > now else None


def lease_pair(
    session: Session,
    *,
    pair_id: int,
    criterion: Criterion,
    person_id: int,
    card: str,
    suggestion_id: int | None,
    batch_id: int | None,
    now: datetime,
    minutes: float,
) -> Lease:
    """Gives a pair to a person, in place of an expired lease on it and of any other pair the person holds.

    `suggestion_id`: the suggestion that the card shows, None when the pair is judged blind; that it was shown is kept
    for good. `batch_id`: the open batch whose sample the pair is in.

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
        batch_id=batch_id,
        opened_at=now,
        expires_at=now + timedelta(minutes=minutes),
    )
    session.add(lease)
    if suggestion_id is not None and not has_seen(session, pair_id=pair_id, criterion=criterion, person_id=person_id):
        session.add(SeenPair(pair_id=pair_id, criterion=criterion, person_id=person_id, created_at=now))
    session.flush()
    return lease
