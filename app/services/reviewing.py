"""The review desk: one pair served to one person at a time, a grade stored before the next is served.

This is its face. Cards are served in `serving`, answered in `answering`; the question's other candidates are in
`side_list`, the passage's neighbours in `neighbours`, how far a person is in `desk_progress`.
"""

from __future__ import annotations

from app.bootstrap import Workspace
from app.errors import InputInvalid
from app.services.answering import flag, grade, keep, skip, undo
from app.services.desk_choice import DEFAULT, ORDERS, DeskChoice
from app.services.desk_progress import WaitingPair, get_progress, list_waiting
from app.services.desk_views import (
    BulkResult,
    CardReview,
    NeighboursView,
    NeighbourView,
    Refused,
    Revealed,
    SidePair,
)
from app.services.names import MAX_NAME, clean_name
from app.services.neighbours import neighbours
from app.services.serving import claim, renew
from app.services.side_list import grade_in_place, grade_many, list_query
from app.services.views import Card, ScaleView
from db.queries.people import list_reviewers, person_named

__all__ = [
    "DEFAULT",
    "ORDERS",
    "BulkResult",
    "Card",
    "CardReview",
    "DeskChoice",
    "NeighbourView",
    "NeighboursView",
    "Refused",
    "Revealed",
    "SidePair",
    "WaitingPair",
    "claim",
    "ensure_person",
    "flag",
    "get_progress",
    "get_scale",
    "grade",
    "grade_in_place",
    "grade_many",
    "keep",
    "list_people",
    "list_query",
    "list_waiting",
    "neighbours",
    "renew",
    "skip",
    "undo",
]


def get_scale(workspace: Workspace) -> ScaleView:
    """The workspace's grades and their words."""
    scale = workspace.scale
    return ScaleView(max_grade=scale.max_grade, relevant_from=scale.relevant_from, labels=tuple(scale.labels))


def list_people(workspace: Workspace) -> tuple[str, ...]:
    """The names of those who review here."""
    with workspace.sessions.read() as session:
        return tuple(list_reviewers(session))


def ensure_person(workspace: Workspace, *, name: str) -> str:
    """The name as it is stored, made known to the workspace if new.

    Raises:
        InputInvalid: the name is empty or longer than 200 characters.
    """
    cleaned = clean_name(name)
    if not cleaned or len(name) > MAX_NAME:
        raise InputInvalid(
            f"a name needs 1 to {MAX_NAME} characters",
            user_message=f"Choose a name of 1 to {MAX_NAME} characters under “You are”.",
        )
    with workspace.sessions.begin() as session:
        return person_named(session, cleaned, now=workspace.now()).name
