"""Hidden checks: pairs whose grade an adjudicator settled, served now and then like any other, to see how people work.

Which turn is one and which pair it is follows from hashes, so that asking again finds the same.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import LabelSource
from db.models import Lease, Pair, PairState, Review, SeenPair
from db.queries.audits import is_drawn

_WHOLE = 2**64


def is_check_turn(*, person_id: int, criterion: Criterion, share: float, last_review: int) -> bool:
    """Whether the next card of this person is a hidden check; of many turns, about `share` (0..1) are. `last_review`:
    the id of the newest thing this person did, 0 before the first.
    """
    return share > 0 and _draw("turn", person_id, criterion, last_review) < share * _WHOLE


def next_check(
    session: Session, *, person_id: int, criterion: Criterion, now: datetime, last_review: int
) -> int | None:
    """A pair that was adjudicated and that this person neither did anything with nor has seen; None when there is none.

    Source of the choice among them: ours, the first pair at or after a place drawn by hash.
    """
    pair_ids = session.scalars(_settled(criterion), {"person": person_id, "now": now}).all()
    if not pair_ids:
        return None
    drawn = _draw("pair", person_id, criterion, last_review)
    return pair_ids[drawn * len(pair_ids) // _WHOLE]


@cache
def _settled(criterion: Criterion) -> sa.Select[int]:
    """Ids of the adjudicated pairs that the person :person may be checked on at :now."""
    person: sa.BindParameter[int] = sa.bindparam("person")
    touched = sa.exists().where(Review.pair_id == Pair.id, Review.criterion == criterion, Review.person_id == person)
    seen = sa.exists().where(SeenPair.pair_id == Pair.id, SeenPair.criterion == criterion, SeenPair.person_id == person)
    held = sa.exists().where(
        Lease.pair_id == Pair.id, Lease.criterion == criterion, Lease.expires_at > sa.bindparam("now")
    )
    return (
        sa.select(Pair.id)
        .join(PairState, PairState.pair_id == Pair.id)
        .where(
            PairState.criterion == criterion,
            PairState.curated_source == LabelSource.ADJUDICATED,
            PairState.flagged.is_(False),
            ~touched,
            ~seen,
            ~held,
            ~is_drawn(Pair.id, criterion),
        )
        .order_by(Pair.id)
    )


def _draw(what: str, person_id: int, criterion: Criterion, last: int) -> int:
    digest = hashlib.sha256(f"{what}:{person_id}:{criterion}:{last}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
