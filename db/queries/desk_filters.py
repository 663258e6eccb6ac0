"""The part of the queue that somebody asked for, in conditions on its rows."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import sqlalchemy as sa

from annotator.types import Criterion
from db.enums import QueueCause
from db.models import QueueEntry
from db.queries.audits import is_drawn
from db.queries.queue_next import PARTS, QueueFilter
from db.queries.text_search import FIELDS, Field

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
    def blind(self) -> bool: ...


def filter_of(choice: Choice, *, criterion: Criterion) -> QueueFilter:
    """The order, the conditions and the words that a choice means.

    Chosen by what was proposed, no pair comes that people judge blind: being found would tell. To who grades all blind,
    none comes then, and no pair is found by the words of a reason.
    """
    proposed = (choice.judge_id, choice.grade, choice.confidence_from, choice.confidence_to)
    return _filter(criterion, COLUMNS[choice.order], choice.cause, proposed, choice.text.strip(), choice.blind)


@lru_cache(PARTS)
def _filter(
    criterion: Criterion,
    column: str,
    cause: QueueCause | None,
    proposed: tuple[int | None, int | None, float | None, float | None],
    words: str,
    blind: bool,
) -> QueueFilter:
    """Kept, so that the statements made for one choice are found again."""
    judge_id, grade, confidence_from, confidence_to = proposed
    conditions: list[sa.ColumnElement[bool]] = []
    if cause is not None:
        conditions.append(QueueEntry.cause == cause)
    if judge_id is not None:
        conditions.append(QueueEntry.judge_id == judge_id)
    if grade is not None:
        conditions.append(QueueEntry.grade == grade)
    if confidence_from is not None:
        conditions.append(QueueEntry.confidence >= confidence_from)
    if confidence_to is not None:
        conditions.append(QueueEntry.confidence <= confidence_to)
    if any(value is not None for value in proposed):
        conditions.append(sa.false() if blind else ~is_drawn(QueueEntry.pair_id, criterion))
    fields: tuple[Field, ...] = ("query", "passage") if blind else FIELDS
    return QueueFilter(column, tuple(conditions), words, fields)
