"""The part of the queue that somebody asked for, in conditions on its rows."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import QueueCause
from db.models import QueueEntry
from db.queries.audits import is_drawn
from db.queries.queue import QueueFilter
from db.queries.text_search import matches

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


def filter_of(session: Session, choice: Choice, *, criterion: Criterion) -> QueueFilter:
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
        conditions.append(matches(session, choice.text, pair_id=QueueEntry.pair_id.expression, criterion=criterion))
    return QueueFilter(COLUMNS[choice.order], tuple(conditions))
