"""The place of one pair in the served queue: which version is served, and how many people a pair still wants there.

How a version is built and put in place of another is in `queue_building`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.models import PairState, QueueEntry
from db.queries.workspace_values import get_value

EMPTY = {"version": 0, "last": 0, "length": 0, "behind": False}
"""What is kept of the queue before it was first built."""


def value_name(criterion: Criterion) -> str:
    """The name of the workspace's value that says which version of the queue is served."""
    return f"queue:{criterion}"


def active_version(session: Session, criterion: Criterion) -> int:
    """The version of the queue's order that is served; 0 before the first."""
    return int((get_value(session, value_name(criterion)) or EMPTY)["version"])


def get_entry(session: Session, *, criterion: Criterion, pair_id: int) -> QueueEntry | None:
    """A pair's place in the served queue, or None."""
    asked = {"criterion": criterion, "version": active_version(session, criterion), "pair": pair_id}
    return session.scalar(ENTRY, asked)


ENTRY = sa.select(QueueEntry).where(
    QueueEntry.criterion == sa.bindparam("criterion"),
    QueueEntry.version == sa.bindparam("version"),
    QueueEntry.pair_id == sa.bindparam("pair"),
)
"""The place of the pair :pair in the version :version."""


def close_entry(session: Session, *, pair_id: int, criterion: Criterion) -> None:
    """Nobody is wanted for a pair any more: it was flagged or decided; nothing if the served queue lacks it."""
    _change_one(session, _close_one(criterion), pair_id=pair_id, criterion=criterion)


def reopen(session: Session, *, pair_id: int, criterion: Criterion) -> None:
    """As many people are wanted for a pair as its graders leave open, had it never been closed."""
    _change_one(session, _reopen_one(criterion), pair_id=pair_id, criterion=criterion)


def _change_one(session: Session, update: sa.Update, *, pair_id: int, criterion: Criterion) -> None:
    """Changes a pair's entries in the served version, and in one that is being built beside it."""
    asked = {"pair": pair_id, "versions": _versions(session, criterion)}
    session.execute(update, asked, execution_options={"synchronize_session": "fetch"})


@cache
def _close_one(criterion: Criterion) -> sa.Update:
    return _one(criterion).where(QueueEntry.open > 0).values(open=0)


@cache
def _reopen_one(criterion: Criterion) -> sa.Update:
    left = left_open(criterion)
    return _one(criterion).where(QueueEntry.open != left).values(open=left)


def _one(criterion: Criterion) -> sa.Update:
    return sa.update(QueueEntry).where(
        QueueEntry.criterion == criterion,
        QueueEntry.version.in_(sa.bindparam("versions", expanding=True)),
        QueueEntry.pair_id == sa.bindparam("pair"),
    )


def left_open(criterion: Criterion) -> sa.ColumnElement[int]:
    """How many more people the pair of `QueueEntry` wants, by who graded it."""
    graders = (
        sa.select(PairState.graders)
        .where(PairState.pair_id == QueueEntry.pair_id, PairState.criterion == criterion)
        .correlate(QueueEntry)
        .scalar_subquery()
    )
    left = QueueEntry.wanted - sa.func.coalesce(graders, 0)
    return sa.case((left > 0, left), else_=0)


def _versions(session: Session, criterion: Criterion) -> list[int]:
    """The served version, and one that is being built beside it."""
    value = get_value(session, value_name(criterion)) or EMPTY
    return sorted({int(value["version"]), int(value.get("last", 0))})


def of_pairs(session: Session, pair_ids: Sequence[int], criterion: Criterion) -> sa.Update:
    """An update of these pairs' entries in the served version, and in one that is being built beside it."""
    return (
        sa.update(QueueEntry)
        .where(
            QueueEntry.criterion == criterion,
            QueueEntry.version.in_(_versions(session, criterion)),
            QueueEntry.pair_id.in_(pair_ids),
        )
        .execution_options(synchronize_session="fetch" if len(pair_ids) == 1 else False)
    )
