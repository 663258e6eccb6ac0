"""People, sources of imported data, and the workspace's few single values."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, enum_of
from db.enums import PersonKind, Role


class Person(Base):
    """Who reviews: a chosen name in local mode, a login in team mode, or the author of an imported file."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200), unique=True)
    kind: Mapped[PersonKind] = mapped_column(enum_of(PersonKind, "person_kind"))
    role: Mapped[Role] = mapped_column(enum_of(Role, "role"))
    created_at: Mapped[datetime]


class Source(Base):
    """One place that data came from, with the mapping of its scale onto the workspace's."""

    __tablename__ = "source"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(500), unique=True)
    layout: Mapped[str] = mapped_column(sa.String(40))
    max_grade: Mapped[int | None]
    scale_mapping: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class ImportRejection(Base):
    """A line of an imported file that could not be read, kept so that it can be mended and imported again."""

    __tablename__ = "import_rejection"

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(sa.ForeignKey("source.id"), index=True)
    file: Mapped[str] = mapped_column(sa.Text)
    line: Mapped[int]
    reason: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime]


class WorkspaceValue(Base):
    """One named value of the workspace, such as its scale or the version of the queue that is served."""

    __tablename__ = "workspace_value"

    name: Mapped[str] = mapped_column(sa.String(60), primary_key=True)
    value: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime]
