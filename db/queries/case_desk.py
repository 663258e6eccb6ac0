"""Which case each adjudicator has open now, so that nobody else is served it.

What waits and in which order is in `disputes`; what is decided is guarded by the case's card.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.queries.workspace_values import get_value, lock_value, set_value


@dataclass(frozen=True, slots=True)
class Desk:
    """Which pair each adjudicator has open now, by their ids: nobody else is served it. No lease, so that an
    adjudicator can review as well; what is decided is guarded by the card itself.
    """

    held: dict[int, int]

    def taken(self, person_id: int) -> set[int]:
        """The pairs that others have open."""
        return {pair_id for holder, pair_id in self.held.items() if holder != person_id}


def _desk_name(criterion: Criterion) -> str:
    return f"adjudicating:{criterion}"


def _read(held: dict[str, Any], now: datetime) -> Desk:
    still = ((who, pair) for who, (pair, until) in held.items() if datetime.fromisoformat(until) > now)
    return Desk({int(who): int(pair) for who, pair in still})


def read_desk(session: Session, *, criterion: Criterion, now: datetime) -> Desk:
    """Who has what open."""
    return _read(get_value(session, _desk_name(criterion)) or {}, now)


def lock_desk(session: Session, *, criterion: Criterion, now: datetime) -> Desk:
    """Who has what open; other adjudicators wait for this transaction."""
    return _read(lock_value(session, _desk_name(criterion), {}, now=now), now)


def hold_case(
    session: Session, *, criterion: Criterion, person_id: int, pair_id: int | None, now: datetime, minutes: float
) -> None:
    """Holds a pair for an adjudicator for that many minutes, in place of the one before; None lets go."""
    held = dict(lock_value(session, _desk_name(criterion), {}, now=now))
    kept = {who: [pair, until] for who, (pair, until) in held.items() if datetime.fromisoformat(until) > now}
    kept.pop(str(person_id), None)
    if pair_id is not None:
        kept[str(person_id)] = [pair_id, (now + timedelta(minutes=minutes)).isoformat()]
    set_value(session, _desk_name(criterion), kept, now=now)
