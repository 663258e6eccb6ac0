"""The workspace's few single values, by name."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from db.models import WorkspaceValue


def get_value(session: Session, name: str) -> dict[str, Any] | None:
    """The value of that name, or None."""
    row = session.get(WorkspaceValue, name)
    return None if row is None else row.value


def set_value(session: Session, name: str, value: dict[str, Any], *, now: datetime) -> None:
    """Stores a value under a name, in place of what was there."""
    row = session.get(WorkspaceValue, name)
    if row is None:
        session.add(WorkspaceValue(name=name, value=value, updated_at=now))
    else:
        row.value, row.updated_at = value, now
    session.flush()
