"""People: found by name, made on first use."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.enums import PersonKind, Role
from db.models import Person


def person_named(
    session: Session,
    name: str,
    *,
    now: datetime,
    kind: PersonKind = PersonKind.REVIEWER,
    role: Role = Role.REVIEWER,
) -> Person:
    """The person of that name, made with this kind and role if new."""
    person = session.scalar(_NAMED, {"name": name})
    if person is not None:
        return person
    person = Person(name=name, kind=kind, role=role, created_at=now)
    try:
        with session.begin_nested():
            session.add(person)
    except IntegrityError:  # a second tab or worker made the same person a moment ago
        return session.scalars(_NAMED, {"name": name}).one()
    return person


_NAMED = sa.select(Person).where(Person.name == sa.bindparam("name"))


def take_turn(session: Session, person_id: int) -> None:
    """Waits until no other transaction of this person's is under way, so that two tabs do not answer at once."""
    session.execute(sa.select(Person.id).where(Person.id == person_id).with_for_update(key_share=True))


def list_reviewers(session: Session) -> list[str]:
    """The names of all who review here, not of imported judgements."""
    return list(session.scalars(sa.select(Person.name).where(Person.kind == PersonKind.REVIEWER).order_by(Person.name)))
