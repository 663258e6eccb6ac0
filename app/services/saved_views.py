"""Saved views: filters and an order that somebody named on one screen, for themselves or for everybody.

What the filters mean is the screen's; here they are words and numbers by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError

from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid, NotAllowed
from app.services.refusals import is_owner
from db.queries import saved_views as queries
from db.queries.people import person_named

MAX_NAME = 100
MAX_FILTERS = 40
MAX_TEXT = 2000

FilterValue = str | int | float | bool | None
Filters = Mapping[str, FilterValue]


@dataclass(frozen=True, slots=True)
class SavedViewView:
    """A saved view; `mine`: whoever asked made it. A shared one that is somebody else's can be used, not changed."""

    id: int
    name: str
    person: str
    shared: bool
    mine: bool
    filters: Filters
    created_at: datetime

    @property
    def title(self) -> str:
        """The name, with its maker's where it is somebody else's."""
        return self.name if self.mine else f"{self.name} ({self.person})"


def list_views(workspace: Workspace, *, person: str, screen: str) -> tuple[SavedViewView, ...]:
    """This person's views of a screen by name, then those that others share."""
    with workspace.sessions.read() as session:
        found = queries.list_views(session, person=person, screen=screen)
    return tuple(
        SavedViewView(
            id=row.id,
            name=row.name,
            person=maker,
            shared=row.shared,
            mine=maker == person,
            filters=dict(row.filters),
            created_at=row.created_at,
        )
        for row, maker in found
    )


def save_view(
    workspace: Workspace, *, person: str, screen: str, name: str, filters: Filters, shared: bool = False
) -> SavedViewView:
    """Keeps the filters under a name, in place of this person's view of that name on this screen.

    Raises:
        InputInvalid: the name is empty or too long, or a filter is no word, number or yes and no.
        Conflict: another tab of this person's saved the same name this very moment.
    """
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME:
        raise InputInvalid(
            f"a view's name has 1 to {MAX_NAME} characters, got {len(name)}",
            user_message=f"Give the view a name of at most {MAX_NAME} characters.",
        )
    _check(filters)
    now = workspace.now()
    try:
        with workspace.sessions.begin() as session:
            maker = person_named(session, person, now=now)
            row = queries.store_view(
                session, person_id=maker.id, screen=screen, name=name, filters=dict(filters), shared=shared, now=now
            )
            return SavedViewView(row.id, name, person, shared, True, dict(filters), row.created_at)
    except IntegrityError as exc:
        raise Conflict(
            f"{person!r} saved the view {name!r} at the same moment",
            user_message="Saved elsewhere just now. Try again.",
        ) from exc


def share_view(workspace: Workspace, *, view_id: int, person: str, shared: bool) -> None:
    """Lets everybody use a view, or its maker alone again.

    Raises:
        NotFound: there is no such view.
        NotAllowed: it is somebody else's.
    """
    with workspace.sessions.begin() as session:
        row, maker = queries.get_view_or_raise(session, view_id)
        if maker != person:
            raise NotAllowed(f"view {view_id} is {maker!r}'s", user_message=f"This view is {maker}'s to share.")
        row.shared = shared


def delete_view(workspace: Workspace, *, view_id: int, person: str) -> None:
    """Forgets a view; its maker may, and an owner may tidy up the shared ones.

    Raises:
        NotFound: there is no such view.
        NotAllowed: it is somebody else's.
    """
    with workspace.sessions.begin() as session:
        row, maker = queries.get_view_or_raise(session, view_id)
        if maker != person and not (row.shared and is_owner(workspace, session, person)):
            raise NotAllowed(
                f"view {view_id} is {maker!r}'s", user_message=f"This view is {maker}'s; only {maker} can delete it."
            )
        queries.delete_view(session, row)


def _check(filters: Filters) -> None:
    for key, value in filters.items():
        if not (value is None or isinstance(value, str | int | float)) or len(key) > MAX_NAME:
            raise InputInvalid(f"the filter {key!r} cannot be saved: {type(value).__name__} is no word or number")
        if isinstance(value, float) and not -1e300 < value < 1e300:
            raise InputInvalid(f"the filter {key!r} cannot be saved: {value} is no number")
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise InputInvalid(
                f"the filter {key!r} has {len(value):,} characters", user_message="The search text is too long to save."
            )
    if len(filters) > MAX_FILTERS:
        raise InputInvalid(f"a view has at most {MAX_FILTERS} filters, got {len(filters)}")
