"""What waits to be judged, and which of it a person is served next.

Served first are the samples of open batches, then the spot checks that wait, then what two compared models put in their
top 10 and nobody judged, all blind; then the queue. How the queue is computed is in `queue_building`, who holds a pair
in `leases`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import ReviewAction
from db.models import (
    BatchPair,
    JudgeFirst,
    Lease,
    Pair,
    Passage,
    Query,
    QueueEntry,
    Review,
    SeenPair,
    SpotCheck,
)
from db.queries.audits import waiting_samples, waiting_spot_checks
from db.queries.judge_first import waiting_first
from db.queries.queue_building import active_version, get_entry, put_back, rebuild_queue
from db.queries.standing import GRADING

__all__ = [
    "QueueFilter",
    "active_version",
    "count_few",
    "count_waiting",
    "get_entry",
    "has_skipped",
    "is_within",
    "list_waiting",
    "next_drawn",
    "next_queued",
    "next_skipped",
    "put_back",
    "rebuild_queue",
    "still_waits",
]

COUNTED = 2_000
"""Pairs of the queue that are counted for every card; a longer queue takes too long for that."""


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """The order of the queue, by the column of `QueueEntry` that says it, and conditions on its rows."""

    column: str = "position"
    conditions: Sequence[sa.ColumnElement[bool]] = ()


EVERYTHING = QueueFilter()


def count_waiting(session: Session, *, criterion: Criterion) -> int:
    """How many pairs wait for a grade: samples, spot checks, those to judge first, and those of the served queue."""
    queued = session.scalar(_open_entries(session, criterion).with_only_columns(sa.func.count())) or 0
    return queued + _count_before(session, criterion)


def count_few(session: Session, *, criterion: Criterion) -> int | None:
    """The same number as long as the queue is short; None where more than `COUNTED` pairs of it wait."""
    some = _open_entries(session, criterion).with_only_columns(QueueEntry.pair_id).limit(COUNTED + 1).subquery()
    queued = session.scalar(sa.select(sa.func.count()).select_from(some)) or 0
    return None if queued > COUNTED else queued + _count_before(session, criterion)


def _count_before(session: Session, criterion: Criterion) -> int:
    """Pairs that wait before the queue, without those that it counts too."""
    number = sa.func.count()
    waiting = [statement.with_only_columns(number) for statement, _, _ in _sources(criterion)]
    first = waiting_first(criterion).with_only_columns(JudgeFirst.pair_id)
    sampled = waiting_samples(criterion).with_only_columns(BatchPair.pair_id)
    twice = _open_entries(session, criterion).where(QueueEntry.pair_id.in_(sa.union(first, sampled)))
    return sum(session.scalar(one) or 0 for one in waiting) - (session.scalar(twice.with_only_columns(number)) or 0)


def _queued(session: Session, criterion: Criterion) -> sa.Select[QueueEntry]:
    """The rows of the served queue that wait and are not served before it."""
    first = waiting_first(criterion).where(JudgeFirst.pair_id == QueueEntry.pair_id).correlate(QueueEntry)
    sampled = waiting_samples(criterion).where(BatchPair.pair_id == QueueEntry.pair_id).correlate(QueueEntry)
    return _open_entries(session, criterion).where(~first.exists(), ~sampled.exists())


def _open_entries(session: Session, criterion: Criterion) -> sa.Select[QueueEntry]:
    return sa.select(QueueEntry).where(
        QueueEntry.criterion == criterion,
        QueueEntry.version == active_version(session, criterion),
        QueueEntry.open > 0,
    )


def list_waiting(session: Session, *, criterion: Criterion) -> list[tuple[int, str, str]]:
    """(pair id, query id, passage id), the latter two from outside, of the pairs that wait, in the order served."""
    found = []
    sources = [*_sources(criterion), (_queued(session, criterion), QueueEntry.pair_id, (QueueEntry.position,))]
    for statement, pair_id, order in sources:
        rows = session.execute(
            statement.join(Pair, Pair.id == pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .with_only_columns(Pair.id, Query.external_id, Passage.external_id)
            .order_by(*order)
        )
        found += [(id_, query_id, passage_id) for id_, query_id, passage_id in rows]
    return found


def _sources(criterion: Criterion) -> list[tuple[sa.Select[Any], Any, tuple[Any, ...]]]:
    """What is served before the queue: the statement, its pair's id, and the order within."""
    return [
        (waiting_samples(criterion), BatchPair.pair_id, (BatchPair.batch_id, BatchPair.audit_position)),
        (waiting_spot_checks(criterion), SpotCheck.pair_id, (SpotCheck.certificate_id, SpotCheck.position)),
        (waiting_first(criterion), JudgeFirst.pair_id, (JudgeFirst.rank, JudgeFirst.pair_id)),
    ]


def _did(pair_id: Any, criterion: Criterion, person_id: int, actions: Sequence[ReviewAction]) -> sa.Exists:
    """Whether a person did one of these with the pair and did not take it back."""
    mine, undo = aliased(Review), aliased(Review)
    return sa.exists().where(
        mine.pair_id == pair_id,
        mine.criterion == criterion,
        mine.person_id == person_id,
        mine.action.in_(actions),
        mine.hidden_check.is_(False),
        ~sa.exists().where(undo.undoes_id == mine.id),
    )


def has_skipped(session: Session, *, pair_id: int, criterion: Criterion, person_id: int) -> bool:
    """Whether this person skipped the pair and did not take it back."""
    skipped = _did(sa.literal(pair_id), criterion, person_id, (ReviewAction.SKIP,))
    return session.scalar(sa.select(skipped)) or False


def _others(pair_id: Any, criterion: Criterion, person_id: int, now: datetime) -> sa.Select[Lease]:
    """Leases by which others hold the pair and will still grade it."""
    return sa.select(Lease).where(
        Lease.pair_id == pair_id,
        Lease.criterion == criterion,
        Lease.person_id != person_id,
        Lease.expires_at > now,
        Lease.review_id.is_(None),
        Lease.hidden_check.is_(False),
    )


def next_drawn(
    session: Session, *, criterion: Criterion, person_id: int, now: datetime, samples_only: bool = False
) -> int | None:
    """The first pair that is served before the queue, that nobody holds and this person neither skipped nor flagged.

    No sample and no spot check of a pair whose proposal this person has seen. `samples_only`: none of the pairs that
    compared models put first.
    """
    for statement, pair_id, order in _sources(criterion)[: 2 if samples_only else 3]:
        found = session.scalar(
            statement.where(
                ~_others(pair_id, criterion, person_id, now).exists(),
                ~_seen(pair_id, criterion, person_id),
                ~_did(pair_id, criterion, person_id, (ReviewAction.SKIP, ReviewAction.FLAG)),
            )
            .with_only_columns(pair_id)
            .order_by(*order)
            .limit(1)
            .with_for_update(skip_locked=True, of=pair_id.class_)
        )
        if found is not None:
            return int(found)
    return None


def next_queued(
    session: Session,
    *,
    criterion: Criterion,
    person_id: int,
    now: datetime,
    chosen: QueueFilter = EVERYTHING,
    start: int = 0,
) -> tuple[int, int | None]:
    """The first pair of the queue that has room for one more and that this person neither graded nor skipped.

    Looked for after `start` in the chosen order; returned is also after which place this person has something to do.
    """
    place = getattr(QueueEntry, chosen.column)
    done = _did(QueueEntry.pair_id, criterion, person_id, (*GRADING, ReviewAction.SKIP, ReviewAction.FLAG))
    undone = _open_entries(session, criterion).where(~done, *chosen.conditions).order_by(place).limit(1)
    first = session.scalar(undone.where(place > start).with_only_columns(place))
    if first is None:
        return start, None
    held = _others(QueueEntry.pair_id, criterion, person_id, now).with_only_columns(sa.func.count())
    free = undone.where(
        place >= first, QueueEntry.open > held.correlate(QueueEntry).scalar_subquery()
    ).with_only_columns(QueueEntry.pair_id)
    found = session.scalar(free.with_for_update(skip_locked=True, of=QueueEntry))
    if found is None:  # what others were about to answer or to take a moment ago may have room for one more
        found = session.scalar(free.with_for_update(of=QueueEntry))
    return first - 1, found


def next_skipped(
    session: Session, *, criterion: Criterion, person_id: int, now: datetime, chosen: QueueFilter, drawn: bool
) -> int | None:
    """The pair that waits and that this person skipped longest ago, one that nobody holds; `drawn`: samples, spot
    checks and those to judge first, which come before the queue, count too.
    """
    undo = aliased(Review)
    skips = (
        sa.select(Review.pair_id, sa.func.max(Review.id).label("skipped"))
        .where(
            Review.person_id == person_id,
            Review.criterion == criterion,
            Review.action == ReviewAction.SKIP,
            Review.hidden_check.is_(False),
            ~sa.exists().where(undo.undoes_id == Review.id),
        )
        .group_by(Review.pair_id)
        .subquery()
    )
    if drawn:
        for statement, pair_id, order in _sources(criterion):
            found = session.scalar(
                statement.join(skips, skips.c.pair_id == pair_id)
                .where(
                    ~_others(pair_id, criterion, person_id, now).exists(),
                    ~_seen(pair_id, criterion, person_id),
                    ~_did(pair_id, criterion, person_id, (ReviewAction.FLAG,)),
                )
                .with_only_columns(pair_id)
                .order_by(skips.c.skipped, *order)
                .limit(1)
                .with_for_update(skip_locked=True, of=pair_id.class_)
            )
            if found is not None:
                return int(found)
    held = _others(QueueEntry.pair_id, criterion, person_id, now).with_only_columns(sa.func.count())
    done = _did(QueueEntry.pair_id, criterion, person_id, (*GRADING, ReviewAction.FLAG))
    return session.scalar(
        _open_entries(session, criterion)
        .join(skips, skips.c.pair_id == QueueEntry.pair_id)
        .where(~done, QueueEntry.open > held.correlate(QueueEntry).scalar_subquery(), *chosen.conditions)
        .with_only_columns(QueueEntry.pair_id)
        .order_by(skips.c.skipped)
        .limit(1)
        .with_for_update(skip_locked=True, of=QueueEntry)
    )


def _seen(pair_id: Any, criterion: Criterion, person_id: int) -> sa.Exists:
    return sa.exists().where(
        SeenPair.pair_id == pair_id, SeenPair.criterion == criterion, SeenPair.person_id == person_id
    )


def still_waits(session: Session, *, criterion: Criterion, pair_id: int) -> bool:
    """Whether a pair waits for a grade: drawn and unanswered, to be judged first, or with room in the served queue."""
    drawn = any(
        session.scalar(sa.select(statement.where(column == pair_id).exists()))
        for statement, column, _ in _sources(criterion)
    )
    entry = get_entry(session, criterion=criterion, pair_id=pair_id)
    return drawn or (entry is not None and entry.open > 0)


def is_within(session: Session, *, criterion: Criterion, pair_id: int, chosen: QueueFilter) -> bool:
    """Whether the pair stands in the part of the served queue that was chosen."""
    found = sa.select(QueueEntry.pair_id).where(
        QueueEntry.criterion == criterion,
        QueueEntry.version == active_version(session, criterion),
        QueueEntry.pair_id == pair_id,
        *chosen.conditions,
    )
    return session.scalar(found) is not None
