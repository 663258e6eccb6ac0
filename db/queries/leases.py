"""Who holds which pair until when, in how many slots, and who has seen what was proposed.

What is locked in a transaction is locked in one order everywhere, so that nobody waits in a circle: the draws, the
person, the pair, its state, its place in the queue, its leases.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import Visibility
from db.models import Lease, QueueEntry, SeenPair
from db.queries.queue_places import ENTRY, active_version

SLOTS = 9
"""More people than this never hold one pair."""


def find_lease(session: Session, *, card: str) -> Lease | None:
    """The lease that a card names, expired or not, as long as nobody else took the pair; not held."""
    return session.scalar(_NAMED, {"card": card})


def get_lease(session: Session, *, card: str) -> Lease | None:
    """The same lease as it is now, held until the transaction ends."""
    return session.scalar(_NAMED_HELD, {"card": card})


_NAMED = sa.select(Lease).where(Lease.card == sa.bindparam("card"))
_NAMED_HELD = _NAMED.with_for_update().execution_options(populate_existing=True)


def get_open_lease(session: Session, *, person_id: int, criterion: Criterion, now: datetime) -> Lease | None:
    """The pair this person has open and still holds."""
    return session.scalar(_OPEN, {"person": person_id, "criterion": criterion, "now": now})


_OPEN = (
    sa.select(Lease)
    .where(
        Lease.person_id == sa.bindparam("person"),
        Lease.criterion == sa.bindparam("criterion"),
        Lease.expires_at > sa.bindparam("now"),
    )
    .order_by(Lease.opened_at.desc())
    .limit(1)
    .with_for_update()
)


def lock_entry(session: Session, *, pair_id: int, criterion: Criterion) -> QueueEntry | None:
    """The pair's place in the served queue as it is now, held until the transaction ends; None if it has none."""
    asked = {"criterion": criterion, "version": active_version(session, criterion), "pair": pair_id}
    return session.scalar(_ENTRY_HELD, asked)


_ENTRY_HELD = ENTRY.with_for_update().execution_options(populate_existing=True)


def others_hold(pair_id: Any, criterion: Criterion) -> sa.Select[Lease]:
    """Leases by which others than :person hold the pair at :now and will still grade it."""
    return sa.select(Lease).where(
        Lease.pair_id == pair_id,
        Lease.criterion == criterion,
        Lease.person_id != sa.bindparam("person"),
        Lease.expires_at > sa.bindparam("now"),
        Lease.review_id.is_(None),
        Lease.hidden_check.is_(False),
    )


def lease_pair(session: Session, lease: Lease, *, minutes: float, seen: bool = False) -> int:
    """Gives a pair to a person, in place of expired leases on it and of any other pair the person holds.

    Returns how many others hold it beside them and will still grade it, also one who renewed theirs a moment ago.

    A lease that shows a suggestion is remembered for good: who has seen it is never asked about the pair blind; `seen`:
    that is known already.

    Raises:
        IntegrityError: somebody else took the slot a moment ago (from SQLAlchemy; the caller looks again).
    """
    now = lease.opened_at
    asked = {"pair": lease.pair_id, "of": lease.criterion, "now": now, "person": lease.person_id}
    session.execute(_MAKE_ROOM, asked)
    taken = {slot: grades for slot, grades in session.execute(_TAKEN, {"pair": lease.pair_id, "of": lease.criterion})}
    lease.slot = next((slot for slot in range(1, SLOTS + 1) if slot not in taken), SLOTS)
    lease.expires_at = now + timedelta(minutes=minutes)
    session.add(lease)
    session.flush()
    if lease.suggestion_id is not None and lease.visibility is Visibility.SHOWN and not seen:
        mark_seen(session, pair_ids=[lease.pair_id], criterion=lease.criterion, person_id=lease.person_id, now=now)
    return sum(taken.values())


_MAKE_ROOM = (
    sa.delete(Lease)
    .where(
        Lease.criterion == sa.bindparam("of"),
        sa.or_(
            sa.and_(Lease.pair_id == sa.bindparam("pair"), Lease.expires_at <= sa.bindparam("now")),
            Lease.person_id == sa.bindparam("person"),
        ),
    )
    .execution_options(synchronize_session=False)
)
_TAKEN = sa.select(Lease.slot, sa.and_(Lease.review_id.is_(None), Lease.hidden_check.is_(False))).where(
    Lease.pair_id == sa.bindparam("pair"), Lease.criterion == sa.bindparam("of")
)


def has_seen(session: Session, *, pair_id: int, criterion: Criterion, person_id: int) -> bool:
    """Whether this person was ever shown what was proposed for the pair."""
    return session.get(SeenPair, (pair_id, criterion, person_id)) is not None


def mark_seen(
    session: Session, *, pair_ids: Iterable[int], criterion: Criterion, person_id: int, now: datetime
) -> None:
    """Remembers for good that this person was shown what was proposed for these pairs; what is known already stays."""
    rows = [
        {"pair_id": pair_id, "criterion": criterion, "person_id": person_id, "created_at": now} for pair_id in pair_ids
    ]
    if rows:
        session.connection().execute(_insert_seen(session.get_bind().dialect.name), rows)


@cache
def _insert_seen(dialect: str) -> sa.Insert:
    if dialect == "postgresql":
        return postgresql.insert(SeenPair).on_conflict_do_nothing()
    return sqlite.insert(SeenPair).on_conflict_do_nothing()
