"""Pairs that reviewers differ about or flagged, as rows of the reviews that people gave."""

from __future__ import annotations

from annotator.types import Criterion
from app.bootstrap import Workspace
from db.enums import PersonKind, ReviewAction, Role, Visibility
from db.models import Review
from db.queries.people import person_named
from db.queries.states import refresh_state


def say(
    workspace: Workspace,
    pair_id: int,
    person: str,
    grade: int | None,
    *,
    note: str = "",
    visibility: Visibility = Visibility.BLIND,
    kind: PersonKind = PersonKind.REVIEWER,
    revises: int | None = None,
) -> int:
    """A grade of that pair by this person, or a flag where there is none; returns the review's id."""
    with workspace.sessions.begin() as session:
        now = workspace.now()
        review = Review(
            pair_id=pair_id,
            criterion=Criterion.RELEVANCE,
            person_id=person_named(session, person, now=now, kind=kind).id,
            action=ReviewAction.FLAG if grade is None else ReviewAction.GRADE,
            grade=grade,
            visibility=visibility,
            revises_id=revises,
            note=note,
            created_at=now,
        )
        session.add(review)
        refresh_state(session, pair_id=pair_id, criterion=Criterion.RELEVANCE, now=now)
        return review.id


def with_role(workspace: Workspace, name: str, role: Role) -> None:
    """A person of that role, made by hand so that a test of something else needs no owner first."""
    with workspace.sessions.begin() as session:
        person_named(session, name, now=workspace.now()).role = role
