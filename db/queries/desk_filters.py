"""The part of the queue that somebody asked for, in conditions on its rows."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa

from annotator.types import Criterion
from db.enums import QueueCause
from db.models import Pair, Passage, Query, QueueEntry
from db.queries.audits import is_drawn
from db.queries.queue import QueueFilter

COLUMNS = {
    "value": "position",
    "random": "random_position",
    "query": "query_position",
    "oldest": "oldest_position",
}


class Choice(Protocol):
    """What can be chosen, as `app.services.desk_choice.DeskChoice` explains it."""

    @property
    def order(self) -> str: ...
    @property
    def cause(self) -> QueueCause | None: ...
    @property
    def judge_id(self) -> int | None: ...
    @property
    def grade(self) -> int | None: ...
    @property
    def confidence_from(self) -> float | None: ...
    @property
    def confidence_to(self) -> float | None: ...
    @property
    def text(self) -> str: ...
    @property
    def by_proposal(self) -> bool: ...


def filter_of(choice: Choice, *, criterion: Criterion) -> QueueFilter:
    """The order and the conditions that a choice means.

    Chosen by what was proposed, no pair comes that people judge blind: being found would tell.
    """
    conditions: list[sa.ColumnElement[bool]] = []
    if choice.cause is not None:
        conditions.append(QueueEntry.cause == choice.cause)
    if choice.judge_id is not None:
        conditions.append(QueueEntry.judge_id == choice.judge_id)
    if choice.grade is not None:
        conditions.append(QueueEntry.grade == choice.grade)
    if choice.confidence_from is not None:
        conditions.append(QueueEntry.confidence >= choice.confidence_from)
    if choice.confidence_to is not None:
        conditions.append(QueueEntry.confidence <= choice.confidence_to)
    if choice.by_proposal:
        conditions.append(~is_drawn(QueueEntry.pair_id, criterion))
    if choice.text.strip():
        conditions.append(_matches(choice.text.strip()))
    return QueueFilter(COLUMNS[choice.order], tuple(conditions))


def _matches(text: str) -> sa.ColumnElement[bool]:
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    columns = (Query.text, Passage.title, Passage.text)
    return (
        sa.exists()
        .where(
            Pair.id == QueueEntry.pair_id,
            Query.id == Pair.query_id,
            Passage.id == Pair.passage_id,
            sa.or_(*(column.ilike(pattern, escape="\\") for column in columns)),
        )
        .correlate(QueueEntry)
    )
