"""What waits to be judged: how much of it there is, and in which order it stands.

Served first are the samples of open batches, then the spot checks that wait, then what two compared models put in their
top 10 and nobody judged, all blind; then the queue. How the queue is computed is in `queue_building`, which of it a
person is served next in `queue_next`, who holds a pair in `leases`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.models import BatchPair, JudgeFirst, Pair, Passage, Query, QueueEntry, SpotCheck
from db.queries.audits import waiting_samples, waiting_spot_checks
from db.queries.judge_first import waiting_first
from db.queries.queue_building import put_back, rebuild_queue
from db.queries.queue_places import active_version, get_entry

__all__ = [
    "active_version",
    "before_queue",
    "count_few",
    "count_waiting",
    "get_entry",
    "list_waiting",
    "open_entries",
    "put_back",
    "rebuild_queue",
    "still_waits",
]

COUNTED = 500
"""Pairs of the queue that are counted for every card; a longer queue takes too long for that."""


def count_waiting(session: Session, *, criterion: Criterion) -> int:
    """How many pairs wait for a grade: samples, spot checks, those to judge first, and those of the served queue."""
    return session.scalar(_count(criterion), {"version": active_version(session, criterion)}) or 0


def count_few(session: Session, *, criterion: Criterion) -> int | None:
    """The same number as long as the queue is short; None where more than `COUNTED` pairs of it wait."""
    queued, before = session.execute(_count_up_to(criterion), {"version": active_version(session, criterion)}).one()
    return None if queued > COUNTED else queued + before


@cache
def _count(criterion: Criterion) -> sa.Select[int]:
    queued = open_entries(criterion).with_only_columns(sa.func.count()).scalar_subquery()
    return sa.select(queued + _before(criterion))


@cache
def _count_up_to(criterion: Criterion) -> sa.Select[int, int]:
    """How many pairs of the queue wait, no more than one over `COUNTED`, and how many before it."""
    some = open_entries(criterion).with_only_columns(QueueEntry.pair_id).limit(COUNTED + 1).subquery()
    queued = sa.select(sa.func.count()).select_from(some).scalar_subquery()
    short = sa.case((queued > COUNTED, 0), else_=_before(criterion))
    return sa.select(queued, short)


def _before(criterion: Criterion) -> sa.ColumnElement[int]:
    """Pairs that wait before the queue, without those that it counts too."""
    number = sa.func.count()
    waiting = [statement.with_only_columns(number).scalar_subquery() for statement, _, _ in before_queue(criterion)]
    first = waiting_first(criterion).with_only_columns(JudgeFirst.pair_id)
    sampled = waiting_samples(criterion).with_only_columns(BatchPair.pair_id)
    twice = open_entries(criterion).where(QueueEntry.pair_id.in_(sa.union(first, sampled)))
    samples, checks, firsts = waiting
    return samples + checks + firsts - twice.with_only_columns(number).scalar_subquery()


@cache
def open_entries(criterion: Criterion) -> sa.Select[QueueEntry]:
    """Rows of the version :version of the queue that want somebody."""
    return sa.select(QueueEntry).where(
        QueueEntry.criterion == criterion,
        QueueEntry.version == sa.bindparam("version"),
        sa.text("queue_entry.open > 0"),
    )


def list_waiting(session: Session, *, criterion: Criterion) -> list[tuple[int, str, str]]:
    """(pair id, query id, passage id), the latter two from outside, of the pairs that wait, in the order served."""
    first = waiting_first(criterion).where(JudgeFirst.pair_id == QueueEntry.pair_id).correlate(QueueEntry)
    sampled = waiting_samples(criterion).where(BatchPair.pair_id == QueueEntry.pair_id).correlate(QueueEntry)
    queued = open_entries(criterion).where(~first.exists(), ~sampled.exists())
    found = []
    for statement, pair_id, order in [*before_queue(criterion), (queued, QueueEntry.pair_id, (QueueEntry.position,))]:
        rows = session.execute(
            statement.join(Pair, Pair.id == pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .with_only_columns(Pair.id, Query.external_id, Passage.external_id)
            .order_by(*order),
            {"version": active_version(session, criterion)},
        )
        found += [(id_, query_id, passage_id) for id_, query_id, passage_id in rows]
    return found


@cache
def before_queue(criterion: Criterion) -> list[tuple[sa.Select[Any], Any, tuple[Any, ...]]]:
    """What is served before the queue: the statement, its pair's id, and the order within."""
    return [
        (waiting_samples(criterion), BatchPair.pair_id, (BatchPair.batch_id, BatchPair.audit_position)),
        (waiting_spot_checks(criterion), SpotCheck.pair_id, (SpotCheck.certificate_id, SpotCheck.position)),
        (waiting_first(criterion), JudgeFirst.pair_id, (JudgeFirst.rank, JudgeFirst.pair_id)),
    ]


def still_waits(session: Session, *, criterion: Criterion, pair_id: int) -> bool:
    """Whether a pair waits for a grade: drawn and unanswered, to be judged first, or with room in the served queue."""
    entry = get_entry(session, criterion=criterion, pair_id=pair_id)
    if entry is not None and entry.open > 0:
        return True
    return any(session.scalar(one, {"pair": pair_id}) for one in _asks_drawn(criterion))


@cache
def _asks_drawn(criterion: Criterion) -> tuple[sa.Select[bool], ...]:
    wanted: sa.BindParameter[int] = sa.bindparam("pair")
    return tuple(sa.select(one.where(column == wanted).exists()) for one, column, _ in before_queue(criterion))
