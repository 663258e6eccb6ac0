"""Saved views: found by person and screen, stored, one by id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.models import Person, SavedView


def list_views(session: Session, *, person: str, screen: str) -> list[tuple[SavedView, str]]:
    """A person's views of a screen by name, then what others share, each with the name of who made it."""
    rows = session.execute(
        sa.select(SavedView, Person.name)
        .join(Person, Person.id == SavedView.person_id)
        .where(SavedView.screen == screen, sa.or_(Person.name == person, SavedView.shared))
        .order_by(Person.name != person, SavedView.name, Person.name)
    )
    return [(view, maker) for view, maker in rows]


def get_view_or_raise(session: Session, view_id: int) -> tuple[SavedView, str]:
    """A view and who made it, held until the transaction ends.

    Raises:
        NotFound: there is none of that id.
    """
    row = session.execute(
        sa.select(SavedView, Person.name)
        .join(Person, Person.id == SavedView.person_id)
        .where(SavedView.id == view_id)
        .with_for_update(of=SavedView)
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no saved view {view_id}", user_message="This view was deleted.")
    return row[0], row[1]


def store_view(
    session: Session,
    *,
    person_id: int,
    screen: str,
    name: str,
    filters: Mapping[str, Any],
    shared: bool,
    now: datetime,
) -> SavedView:
    """The person's view of that name on that screen, made or changed."""
    row = session.scalar(
        sa.select(SavedView)
        .where(SavedView.person_id == person_id, SavedView.screen == screen, SavedView.name == name)
        .with_for_update()
    )
    if row is None:
        row = SavedView(person_id=person_id, screen=screen, name=name, created_at=now)
        session.add(row)
    row.filters, row.shared = dict(filters), shared
    session.flush()
    return row


def delete_view(session: Session, view: SavedView) -> None:
    session.delete(view)
