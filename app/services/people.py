"""Who works here and in which role; owners give roles, and what was given by whom is kept.

In local mode people are chosen names: a role keeps honest people from acts that are not theirs, it is no password. What
a role allows is in `refusals.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.errors import InputInvalid, NotAllowed
from app.services.refusals import is_owner, require_owner
from db.enums import PersonKind, Role
from db.models import Person
from db.queries import roles as queries
from db.queries.people import person_named

SHOWN_CHANGES = 20


@dataclass(frozen=True, slots=True)
class PersonView:
    """A person with their role; `n_reviews`: their labels, counted as on the Work screen.

    `last_seen`: when they last opened or answered a card, None if never. `stands_in`: has no role of an owner but
    counts as one, because nobody has it and the settings name this person. `revoked`: what they judged does not count.
    """

    name: str
    kind: PersonKind
    role: Role
    n_reviews: int
    last_seen: datetime | None
    revoked: bool
    stands_in: bool


@dataclass(frozen=True, slots=True)
class RoleChangeView:
    """Who was given which role by whom; `by` is None for the workspace's first owner."""

    at: datetime
    name: str
    role: Role
    by: str | None


@dataclass(frozen=True, slots=True)
class RoleReport:
    """What giving a role did: `previous` equals `role` where the person had it already and nothing was stored."""

    name: str
    role: Role
    previous: Role
    first_owner: bool

    @property
    def sentence(self) -> str:
        if self.role is self.previous:
            return f"{self.name} is {_a(self.role)} already."
        if self.first_owner:
            return f"{self.name} is the first owner here; from now on only owners give roles and do owners' acts."
        return f"{self.name} is {_a(self.role)} now, no longer {_a(self.previous)}."


def _a(role: Role) -> str:
    return f"{'a' if role is Role.REVIEWER else 'an'} {role}"


def list_people(workspace: Workspace) -> tuple[PersonView, ...]:
    """Everybody known here, owners first; authors of imported files last."""
    with workspace.sessions.read() as session:
        owned = bool(queries.list_owners(session))
        return tuple(
            PersonView(
                name=one.name,
                kind=one.kind,
                role=one.role,
                n_reviews=one.n_reviews,
                last_seen=one.last_seen,
                revoked=one.revoked,
                stands_in=not owned and one.name == workspace.settings.person,
            )
            for one in queries.list_people_records(session)
        )


def list_role_changes(workspace: Workspace) -> tuple[RoleChangeView, ...]:
    """The last twenty changes of roles, newest first."""
    with workspace.sessions.read() as session:
        return tuple(
            RoleChangeView(at=change.created_at, name=name, role=change.role, by=by)
            for change, name, by in queries.list_role_changes(session, limit=SHOWN_CHANGES)
        )


def may_give_roles(workspace: Workspace, *, person: str) -> bool:
    """Whether this person is an owner, or counts as one because nobody is."""
    with workspace.sessions.read() as session:
        return is_owner(workspace, session, person)


def set_role(workspace: Workspace, *, name: str, role: Role, by: str) -> RoleReport:
    """Gives a person a role; an owner's act. While nobody is an owner, the workspace's own person may do it.

    Raises:
        InputInvalid: nobody of that name works here, or the name is that of an imported file's author.
        NotAllowed: `by` is no owner, or this is the only owner and would be one no more.
    """
    with workspace.sessions.begin() as session:
        now = workspace.now()
        queries.hold_roles(session, now=now)
        require_owner(workspace, session, by, to="give roles")
        owners = queries.list_owners(session)
        person = _named(session, name)
        if role is not person.role and owners == [person.name]:
            raise NotAllowed(
                f"{name!r} is the only owner and cannot become {role}",
                user_message=f"{person.name} is the only owner. Make somebody else an owner first.",
            )
        first = role is Role.OWNER and not owners
        by_id = None if first else person_named(session, by, now=now).id
        return _give(session, person, role=role, by_id=by_id, now=now)


def claim_ownership(workspace: Workspace, *, name: str) -> RoleReport:
    """Makes the first owner of a workspace that has none; for whoever can run commands on it, so never from a screen.

    Raises:
        InputInvalid: the name is empty, too long, or that of an imported file's author.
        NotAllowed: there is an owner.
    """
    with workspace.sessions.begin() as session:
        now = workspace.now()
        queries.hold_roles(session, now=now)
        owners = queries.list_owners(session)
        if owners:
            raise NotAllowed(
                f"the workspace is owned by {owners}",
                user_message=f"This workspace has an owner: {', '.join(owners)}. Only an owner gives roles.",
            )
        cleaned = " ".join(name.split())
        if not 1 <= len(cleaned) <= 200:
            raise InputInvalid("a name needs 1 to 200 characters")
        person_named(session, cleaned, now=now)
        return _give(session, _named(session, cleaned), role=Role.OWNER, by_id=None, now=now)


def has_owner(workspace: Workspace) -> bool:
    """Whether anybody has the role of an owner."""
    with workspace.sessions.read() as session:
        return bool(queries.list_owners(session))


def _named(session: Session, name: str) -> Person:
    person = session.scalar(sa.select(Person).where(Person.name == " ".join(name.split())))
    if person is None:
        raise InputInvalid(
            f"there is no person {name!r}",
            user_message=f"Nobody here is called {name!r}. People are known once they chose their name; see "
            "relabel people",
        )
    if person.kind is PersonKind.IMPORTED:
        raise InputInvalid(
            f"{name!r} is the author of imported judgements",
            user_message=f"{person.name} stands for judgements that came in a file, so they have no role to change.",
        )
    return person


def _give(session: Session, person: Person, *, role: Role, by_id: int | None, now: datetime) -> RoleReport:
    previous = person.role
    if role is not previous:
        queries.change_role(session, person, role=role, by_id=by_id, now=now)
    first = role is Role.OWNER and by_id is None and role is not previous
    return RoleReport(name=person.name, role=role, previous=previous, first_owner=first)
