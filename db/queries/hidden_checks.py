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
from db.models import Lease, PairState, Review, SeenPair
from db.queries.audits import is_drawn

LOOKED = 200
"""Settled pairs that are looked at for one card. Our choice: whoever did so many in a row gets no check this time."""
_WHOLE = 2**64


def is_check_turn(*, person_id: int, criterion: Criterion, share: float, last_review: int) -> bool:
    """Whether the next card of this person is a hidden check; of many turns, about `share` (0..1) are. `last_review`:
    the id of the newest thing this person did, 0 before the first.
    """
    return share > 0 and _draw("turn", person_id, criterion, last_review) < share * _WHOLE


def next_check(
    session: Session, *, person_id: int, criterion: Criterion, now: datetime, last_review: int
) -> int | None:
    """A pair that was adjudicated and that this person neither did anything with nor has seen; None when there is none
    among `LOOKED` of them.

    Source of the choice among them: ours, the first pair at or after a place drawn by hash.
    """
    number = session.scalar(_count(criterion)) or 0
    start = _draw("pair", person_id, criterion, last_review) * number // _WHOLE
    end = start + min(number, LOOKED)
    for first, last in ((start, min(end, number)), (0, end - number)):
        if last > first:
            asked = {"person": person_id, "now": now, "first": first, "many": last - first}
            found = session.scalar(_among(criterion), asked)
            if found is not None:
                return found
    return None


@cache
def _count(criterion: Criterion) -> sa.Select[int]:
    """How many pairs were adjudicated, told by an index."""
    return _settled(criterion).with_only_columns(sa.func.count())


def _settled(criterion: Criterion) -> sa.Select[PairState]:
    return sa.select(PairState).where(
        PairState.criterion == criterion, PairState.curated_source == LabelSource.ADJUDICATED
    )


@cache
def _among(criterion: Criterion) -> sa.Select[int]:
    """The first of :many adjudicated pairs from place :first on that the person :person may be checked on at :now."""
    places = _settled(criterion).limit(sa.bindparam("many")).offset(sa.bindparam("first"))  # in the order of the index
    some = places.with_only_columns(PairState.pair_id, PairState.flagged).subquery()
    pair_id = some.c.pair_id
    person: sa.BindParameter[int] = sa.bindparam("person")
    touched = sa.exists().where(Review.pair_id == pair_id, Review.criterion == criterion, Review.person_id == person)
    seen = sa.exists().where(SeenPair.pair_id == pair_id, SeenPair.criterion == criterion, SeenPair.person_id == person)
    held = sa.exists().where(
        Lease.pair_id == pair_id, Lease.criterion == criterion, Lease.expires_at > sa.bindparam("now")
    )
    free = (some.c.flagged.is_(False), ~touched, ~seen, ~held, ~is_drawn(pair_id, criterion))
    return sa.select(pair_id).where(*free).limit(1)


def _draw(what: str, person_id: int, criterion: Criterion, last: int) -> int:
    digest = hashlib.sha256(f"{what}:{person_id}:{criterion}:{last}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
