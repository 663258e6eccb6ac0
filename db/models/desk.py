"""The review desk: the audit queue in its versions, who holds which card, saved views, and who may do what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column

from annotator.types import Criterion
from db.base import Base, enum_of
from db.enums import QueueCause, Role, Visibility

ORDERS = ("position", "random_position", "query_position", "oldest_position")
"""Columns of `QueueEntry` by which cards can be served: by value, random, a query's passages together, oldest."""

_OPEN: dict[str, Any] = {"sqlite_where": sa.text("open > 0"), "postgresql_where": sa.text("open > 0")}


class QueueEntry(Base):
    """A pair's place in one version of the audit queue, by each order it is served in, and why it stands there.

    `position` is by value to the retriever; `open` is how many more people are wanted, of `wanted` in all. What a judge
    proposed is repeated here to be filtered by, and left out where people judge blind: being found would tell.
    """

    __tablename__ = "queue_entry"
    __table_args__ = (
        sa.UniqueConstraint("criterion", "version", "pair_id"),
        sa.CheckConstraint("open >= 0 AND open <= wanted AND wanted <= 9", name="open_at_most_wanted"),
        *(sa.Index(f"ix_queue_entry_{order}", "criterion", "version", order, **_OPEN) for order in ORDERS),
    )

    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    random_position: Mapped[int]
    query_position: Mapped[int]
    oldest_position: Mapped[int]
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"))
    query_id: Mapped[int] = mapped_column(sa.ForeignKey("query.id"))
    cause: Mapped[QueueCause] = mapped_column(enum_of(QueueCause, "queue_cause"))
    reason: Mapped[str] = mapped_column(sa.Text)
    value: Mapped[float | None]
    judge_id: Mapped[int | None] = mapped_column(sa.ForeignKey("judge.id"))
    grade: Mapped[int | None]
    confidence: Mapped[float | None]
    wanted: Mapped[int] = mapped_column(default=1)
    open: Mapped[int] = mapped_column(default=1)


class Lease(Base):
    """A pair held for one person until a moment, in one of as many slots as people are wanted for it.

    Two people never have the same slot, nor one person two slots of a pair. `reveals`: once graded blind, the card
    shows what was proposed, to be kept or revised; `review_id` is that blind grade.
    """

    __tablename__ = "lease"
    __table_args__ = (
        sa.Index(None, "person_id"),
        sa.UniqueConstraint("pair_id", "criterion", "person_id"),
        sa.CheckConstraint("slot >= 1 AND slot <= 9", name="slot_from_one"),
    )

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True)
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True, default=1)
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"))
    card: Mapped[str] = mapped_column(sa.String(64), unique=True)
    visibility: Mapped[Visibility] = mapped_column(enum_of(Visibility, "visibility"))
    reveals: Mapped[bool] = mapped_column(default=False)
    review_id: Mapped[int | None] = mapped_column(sa.ForeignKey("review.id"))
    hidden_check: Mapped[bool] = mapped_column(default=False)
    suggestion_id: Mapped[int | None] = mapped_column(sa.ForeignKey("suggestion.id"))
    batch_id: Mapped[int | None] = mapped_column(sa.ForeignKey("batch.id"))
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class SavedView(Base):
    """Filters and an order that somebody named; a shared one is everybody's to use and its maker's to change."""

    __tablename__ = "saved_view"
    __table_args__ = (sa.UniqueConstraint("person_id", "screen", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"))
    screen: Mapped[str] = mapped_column(sa.String(40))
    name: Mapped[str] = mapped_column(sa.String(100))
    shared: Mapped[bool] = mapped_column(default=False)
    filters: Mapped[dict[str, Any]] = mapped_column(sa.JSON().with_variant(postgresql.JSONB(), "postgresql"))
    created_at: Mapped[datetime]


class RoleChange(Base):
    """Who was given which role by whom, append-only; `by_id` is None for the workspace's first owner."""

    __tablename__ = "role_change"

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"), index=True)
    role: Mapped[Role] = mapped_column(enum_of(Role, "role"))
    by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
    created_at: Mapped[datetime]
