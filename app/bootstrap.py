"""The one place where real things are chosen: settings become a database, a clock, models, a judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from annotator.types import Scale
from app.config import Settings, load_settings
from db.session import Sessions, connect, upgrade


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open workspace: what every service takes first."""

    settings: Settings
    sessions: Sessions
    now: Callable[[], datetime] = utc_now

    @property
    def scale(self) -> Scale:
        return Scale(max_grade=self.settings.max_grade, relevant_from=self.settings.relevant_from)

    def close(self) -> None:
        self.sessions.dispose()


def open_workspace(path: Path) -> Workspace:
    """The workspace in that directory, its database brought up to date.

    Raises:
        WorkspaceMissing: the directory is no workspace.
        SettingsInvalid: its settings or the environment are wrong.
        DatabaseUnreachable, SchemaTooNew: from the database.
    """
    return open_with(load_settings(path))


def open_with(settings: Settings, *, now: Callable[[], datetime] = utc_now) -> Workspace:
    """The workspace that these settings describe, its directories and database made where they are missing."""
    for folder in (settings.workspace, settings.models, settings.indexes):
        folder.mkdir(parents=True, exist_ok=True)
    sessions = connect(settings.database)
    upgrade(sessions)
    return Workspace(settings=settings, sessions=sessions, now=now)
