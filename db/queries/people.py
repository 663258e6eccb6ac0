"""People: found by name, made on first use."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
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
    person = session.scalar(sa.select(Person).where(Person.name == name))
    if person is None:
        person = Person(name=name, kind=kind, role=role, created_at=now)
        session.add(person)
        session.flush()
    return person


def list_reviewers(session: Session) -> list[str]:
    """The names of all who review here, not of imported judgements."""
    return list(session.scalars(sa.select(Person.name).where(Person.kind == PersonKind.REVIEWER).order_by(Person.name)))
