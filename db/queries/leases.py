"""Who holds which pair until when, in how many slots, and who has seen what was proposed.

What is locked in a transaction is locked in one order everywhere, so that nobody waits in a circle: the draws, the
person, the pair, its state, its place in the queue, its leases.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import Visibility
from db.models import Lease, QueueEntry, SeenPair
from db.queries.queue_building import active_version

SLOTS = 9
"""More people than this never hold one pair."""


def find_lease(session: Session, *, card: str) -> Lease | None:
    """The lease that a card names, expired or not, as long as nobody else took the pair; not held."""
    return session.scalar(sa.select(Lease).where(Lease.card == card))


def get_lease(session: Session, *, card: str) -> Lease | None:
    """The same lease as it is now, held until the transaction ends."""
    named = sa.select(Lease).where(Lease.card == card).with_for_update()
    return session.scalar(named.execution_options(populate_existing=True))


def get_open_lease(session: Session, *, person_id: int, criterion: Criterion, now: datetime) -> Lease | None:
    """The pair this person has open and still holds."""
    return session.scalar(
        sa.select(Lease)
        .where(Lease.person_id == person_id, Lease.criterion == criterion, Lease.expires_at > now)
        .order_by(Lease.opened_at.desc())
        .limit(1)
        .with_for_update()
    )


def lock_entry(session: Session, *, pair_id: int, criterion: Criterion) -> QueueEntry | None:
    """The pair's place in the served queue as it is now, held until the transaction ends; None if it has none."""
    return session.scalar(
        sa.select(QueueEntry)
        .where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == active_version(session, criterion),
            QueueEntry.pair_id == pair_id,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def list_holders(session: Session, *, pair_id: int, criterion: Criterion, person_id: int, now: datetime) -> list[Lease]:
    """The leases by which people other than this one hold the pair now and will still grade it."""
    return list(
        session.scalars(
            sa.select(Lease).where(
                Lease.pair_id == pair_id,
                Lease.criterion == criterion,
                Lease.person_id != person_id,
                Lease.expires_at > now,
                Lease.review_id.is_(None),
                Lease.hidden_check.is_(False),
            )
        )
    )


def lease_pair(session: Session, lease: Lease, *, minutes: float) -> Lease:
    """Gives a pair to a person, in place of expired leases on it and of any other pair the person holds.

    A lease that shows a suggestion is remembered for good: who has seen it is never asked about the pair blind.

    Raises:
        IntegrityError: somebody else took the slot a moment ago (from SQLAlchemy; the caller looks again).
    """
    now = lease.opened_at
    expired = sa.and_(Lease.pair_id == lease.pair_id, Lease.expires_at <= now)
    session.execute(
        sa.delete(Lease).where(Lease.criterion == lease.criterion, sa.or_(expired, Lease.person_id == lease.person_id))
    )
    taken = set(
        session.scalars(sa.select(Lease.slot).where(Lease.pair_id == lease.pair_id, Lease.criterion == lease.criterion))
    )
    lease.slot = next((slot for slot in range(1, SLOTS + 1) if slot not in taken), SLOTS)
    lease.expires_at = now + timedelta(minutes=minutes)
    session.add(lease)
    if lease.suggestion_id is not None and lease.visibility is Visibility.SHOWN:
        mark_seen(session, pair_ids=[lease.pair_id], criterion=lease.criterion, person_id=lease.person_id, now=now)
    session.flush()
    return lease


def has_seen(session: Session, *, pair_id: int, criterion: Criterion, person_id: int) -> bool:
    """Whether this person was ever shown what was proposed for the pair."""
    return session.get(SeenPair, (pair_id, criterion, person_id)) is not None


def mark_seen(session: Session, *, pair_ids: list[int], criterion: Criterion, person_id: int, now: datetime) -> None:
    """Remembers for good that this person was shown what was proposed for these pairs."""
    known = set(
        session.scalars(
            sa.select(SeenPair.pair_id).where(
                SeenPair.criterion == criterion, SeenPair.person_id == person_id, SeenPair.pair_id.in_(pair_ids)
            )
        )
    )
    session.add_all(
        SeenPair(pair_id=pair_id, criterion=criterion, person_id=person_id, created_at=now)
        for pair_id in pair_ids
        if pair_id not in known
    )
