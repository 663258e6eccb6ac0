"""What is refused to whom: owners' acts to others, and new labels from a judge or a person who is revoked."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.errors import NotAllowed
from db.enums import Role
from db.models import JudgeRow, Person
from db.queries.standing import is_person_revoked, list_revoked_among


def is_owner(workspace: Workspace, session: Session, name: str) -> bool:
    """Whether this person owns the workspace: has the role, or, while nobody has it, is the workspace's own person."""
    owners = set(session.scalars(sa.select(Person.name).where(Person.role == Role.OWNER)))
    return name in owners if owners else name == workspace.settings.person


def require_owner(workspace: Workspace, session: Session, name: str, *, to: str) -> None:
    """Lets owners pass; `to`: what they are about to do.

    Raises:
        NotAllowed: this person is no owner.
    """
    if not is_owner(workspace, session, name):
        raise NotAllowed(
            f"{name!r} is no owner and may not {to}", user_message=f"Only an owner of the workspace may {to}."
        )


def is_adjudicator(workspace: Workspace, session: Session, name: str) -> bool:
    """Whether this person settles what reviewers differ about: has that role, or is an owner."""
    if is_owner(workspace, session, name):
        return True
    return session.scalar(sa.select(Person.role).where(Person.name == name)) is Role.ADJUDICATOR


def require_adjudicator(workspace: Workspace, session: Session, name: str) -> None:
    """Lets adjudicators and owners pass.

    Raises:
        NotAllowed: this person is neither.
    """
    if not is_adjudicator(workspace, session, name):
        raise NotAllowed(
            f"{name!r} is no adjudicator",
            user_message="Only adjudicators and owners settle what reviewers differ about. An owner gives roles.",
        )


def refuse_revoked_judge(session: Session, judge: JudgeRow) -> None:
    """Lets a judge propose, unless it is revoked.

    Raises:
        NotAllowed: it is.
    """
    if list_revoked_among(session, [judge.id]):
        raise NotAllowed(
            f"judge {judge.id} {judge.name!r} is revoked",
            user_message=f"The judge {judge.name} (prompt {judge.prompt_version[:8]}) is revoked, so nothing new is "
            "asked of it. Change its prompt or model, which makes another judge, or give it back: relabel revoke "
            f'--judge "{judge.name}" --restore',
        )


def refuse_revoked_person(session: Session, person_id: int) -> None:
    """Lets a person judge, unless they are revoked.

    Raises:
        NotAllowed: they are.
    """
    if is_person_revoked(session, person_id):
        name = session.get_one(Person, person_id).name
        raise NotAllowed(
            f"person {person_id} {name!r} is revoked",
            user_message=f"{name}'s judgements are revoked, so no new ones are taken. An owner can give them back on "
            "the Lineage screen.",
        )
