"""The workspace's few single values, by name."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.models import WorkspaceValue


def get_value(session: Session, name: str) -> dict[str, Any] | None:
    """The value of that name, or None."""
    row = session.get(WorkspaceValue, name)
    return None if row is None else row.value


def set_value(session: Session, name: str, value: dict[str, Any], *, now: datetime) -> None:
    """Stores a value under a name, in place of what was there; other writers wait for this transaction."""
    row = _locked(session, name)
    if row is None:
        try:
            with session.begin_nested():
                session.add(WorkspaceValue(name=name, value=value, updated_at=now))
        except IntegrityError:  # another process stored the first value a moment ago
            row = session.get_one(WorkspaceValue, name, with_for_update=True, populate_existing=True)
    if row is not None:
        row.value, row.updated_at = value, now
        session.flush()


def lock_value(session: Session, name: str, default: dict[str, Any], *, now: datetime) -> dict[str, Any]:
    """The value of that name, the default if there was none; other writers wait for this transaction."""
    row = _locked(session, name)
    if row is None:
        set_value(session, name, default, now=now)
        row = session.get_one(WorkspaceValue, name, with_for_update=True, populate_existing=True)
    return row.value


def _locked(session: Session, name: str) -> WorkspaceValue | None:
    return session.get(WorkspaceValue, name, with_for_update=True, populate_existing=True)
