"""Whose turn it is at the desk, and what holds for it: all that every turn asks first, in one look."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.models import Person, Review, WorkspaceValue
from db.queries.queue_places import value_name
from db.queries.row_locks import locks_rows
from db.queries.standing import revoked_people


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is. `last_review`: the id of the newest thing this person did anywhere, 0 before the first."""

    person_id: int
    revoked: bool
    last_review: int


def find_turn(session: Session, name: str, *, criterion: Criterion) -> Turn | None:
    """The turn of the person of that name, who has no other under way and is not revoked until it ends; None when
    nobody has the name yet.

    Which version of the queue is served is read with it, once for the whole transaction, which asks for it often.
    """
    if locks_rows(session) and session.scalar(_HOLD, {"name": name}) is None:
        return None
    return look_at_turn(session, name, criterion=criterion)


def look_at_turn(session: Session, name: str, *, criterion: Criterion) -> Turn | None:
    """The same for somebody who only reads: nothing is held."""
    row = session.execute(_ask(criterion), {"name": name}).one_or_none()
    if row is None:
        return None
    person_id, revoked, last_review, session.info["queue value"] = row  # the session forgets what none holds
    return Turn(person_id, bool(revoked), last_review)


_HOLD = sa.select(Person.id).where(Person.name == sa.bindparam("name")).with_for_update(key_share=True)


@cache
def _ask(criterion: Criterion) -> sa.Select[int, bool, int, WorkspaceValue]:
    newest = (
        sa.select(Review.id)
        .where(Review.person_id == Person.id)
        .order_by(Review.created_at.desc(), Review.id.desc())
        .limit(1)
        .correlate(Person)
        .scalar_subquery()
    )
    return (
        sa.select(Person.id, Person.id.in_(revoked_people()), sa.func.coalesce(newest, 0), WorkspaceValue)
        .outerjoin(WorkspaceValue, WorkspaceValue.name == value_name(criterion))
        .where(Person.name == sa.bindparam("name"))
    )
