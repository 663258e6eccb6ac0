"""Who may do what: the people with their roles, and what changed them, append-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.enums import PersonKind, Role
from db.models import Lease, Person, Review, RoleChange
from db.queries.standing import GRADING, revoked_people
from db.queries.workspace_values import lock_value


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """A person, how many grades and decisions of theirs are on record, and when they last did or opened anything."""

    id: int
    name: str
    kind: PersonKind
    role: Role
    n_reviews: int
    last_seen: datetime | None
    revoked: bool


def list_people_records(session: Session) -> list[PersonRecord]:
    """Everybody known here, owners first, then by name.

    Counted is what Work calls labels: no grade that was taken back, and no answer to a reveal.
    """
    undone = sa.select(Review.undoes_id).where(Review.undoes_id.is_not(None))
    each = Review.person_id + 0  # by what no index is of: through one, each of a million rows is looked up on its own
    worked = (
        sa.select(each.label("person_id"), sa.func.count().label("n"))
        .where(Review.action.in_(GRADING), Review.revises_id.is_(None), Review.id.not_in(undone))
        .group_by(each)
        .subquery()
    )
    answered = (
        sa.select(Review.person_id, sa.func.max(Review.created_at).label("at")).group_by(Review.person_id).subquery()
    )
    opened = sa.select(Lease.person_id, sa.func.max(Lease.opened_at).label("at")).group_by(Lease.person_id).subquery()
    rows = session.execute(
        sa.select(Person, worked.c.n, answered.c.at, opened.c.at, Person.id.in_(revoked_people()))
        .outerjoin(worked, worked.c.person_id == Person.id)
        .outerjoin(answered, answered.c.person_id == Person.id)
        .outerjoin(opened, opened.c.person_id == Person.id)
    )
    order = list(Role)[::-1]
    records = [
        PersonRecord(
            id=person.id,
            name=person.name,
            kind=person.kind,
            role=person.role,
            n_reviews=int(number or 0),
            last_seen=max((at for at in (answered_at, opened_at) if at is not None), default=None),
            revoked=bool(revoked),
        )
        for person, number, answered_at, opened_at, revoked in rows
    ]
    return sorted(
        records, key=lambda one: (order.index(one.role), one.kind is PersonKind.IMPORTED, one.name.casefold())
    )


def list_owners(session: Session) -> list[str]:
    """The names of those who have the role of an owner."""
    return list(session.scalars(sa.select(Person.name).where(Person.role == Role.OWNER).order_by(Person.name)))


def list_adjudicators(session: Session, *, own_person: str) -> list[Person]:
    """Those who may adjudicate: adjudicators and owners who are not revoked.

    own_person: the workspace's own person, who counts as its owner while nobody has that role.
    """
    may = sa.and_(Person.kind == PersonKind.REVIEWER, Person.role.in_((Role.ADJUDICATOR, Role.OWNER)))
    if not list_owners(session):
        may = sa.or_(may, Person.name == own_person)
    return list(session.scalars(sa.select(Person).where(may, Person.id.not_in(revoked_people())).order_by(Person.name)))


def hold_roles(session: Session, *, now: datetime) -> None:
    """Waits for whoever changes a role, until the transaction ends: two owners must not remove each other at once."""
    lock_value(session, "roles", {}, now=now)


def change_role(session: Session, person: Person, *, role: Role, by_id: int | None, now: datetime) -> None:
    """Gives a person a role and keeps who gave it; `by_id` is None for the workspace's first owner."""
    person.role = role
    session.add(RoleChange(person_id=person.id, role=role, by_id=by_id, created_at=now))
    session.flush()


def list_role_changes(session: Session, *, limit: int) -> list[tuple[RoleChange, str, str | None]]:
    """The newest changes first, each with the names of the person and of who made it."""
    by = sa.orm.aliased(Person)
    rows = session.execute(
        sa.select(RoleChange, Person.name, by.name)
        .join(Person, Person.id == RoleChange.person_id)
        .outerjoin(by, by.id == RoleChange.by_id)
        .order_by(RoleChange.id.desc())
        .limit(limit)
    )
    return [(change, name, by_name) for change, name, by_name in rows]
