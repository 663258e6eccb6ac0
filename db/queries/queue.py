"""What waits to be judged, and which of it a person is served next.

Served first are the samples of open batches, then the spot checks that wait, then what two compared models put in their
top 10 and nobody judged, all blind; then the queue. How the queue is computed is in `queue_building`, who holds a pair
in `leases`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
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
    WorkspaceValue,
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
    "hold_version",
    "is_within",
    "list_waiting",
    "next_drawn",
    "next_queued",
    "next_skipped",
    "put_back",
    "rebuild_queue",
    "still_waits",
]

COUNTED = 500
"""Pairs of the queue that are counted for every card; a longer queue takes too long for that."""


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """The order of the queue, by the column of `QueueEntry` that says it, and conditions on its rows."""

    column: str = "position"
    conditions: Sequence[sa.ColumnElement[bool]] = ()


EVERYTHING = QueueFilter()


def hold_version(session: Session, *, criterion: Criterion) -> None:
    """Reads which version is served once for the whole transaction, which then asks for it very often."""
    session.info["queue value"] = session.get(
        WorkspaceValue, f"queue:{criterion}"
    )  # the session forgets what none holds


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
    return _entries(criterion).params(version=active_version(session, criterion))


@cache
def _entries(criterion: Criterion) -> sa.Select[QueueEntry]:
    """Rows of the version :version of the queue that want somebody."""
    return sa.select(QueueEntry).where(
        QueueEntry.criterion == criterion,
        QueueEntry.version == sa.bindparam("version"),
        sa.text("queue_entry.open > 0"),
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


@cache
def _sources(criterion: Criterion) -> list[tuple[sa.Select[Any], Any, tuple[Any, ...]]]:
    """What is served before the queue: the statement, its pair's id, and the order within."""
    return [
        (waiting_samples(criterion), BatchPair.pair_id, (BatchPair.batch_id, BatchPair.audit_position)),
        (waiting_spot_checks(criterion), SpotCheck.pair_id, (SpotCheck.certificate_id, SpotCheck.position)),
        (waiting_first(criterion), JudgeFirst.pair_id, (JudgeFirst.rank, JudgeFirst.pair_id)),
    ]


def _did(pair_id: Any, criterion: Criterion, actions: Sequence[ReviewAction]) -> sa.Exists:
    """Whether the person :person did one of these with the pair and did not take it back."""
    mine, undo = aliased(Review), aliased(Review)
    return sa.exists().where(
        mine.pair_id == pair_id,
        mine.criterion == criterion,
        mine.person_id == sa.bindparam("person"),
        mine.action.in_(actions),
        mine.hidden_check.is_(False),
        ~sa.exists().where(undo.undoes_id == mine.id),
    )


def _others(pair_id: Any, criterion: Criterion) -> sa.Select[Lease]:
    """Leases by which others than :person hold the pair at :now and will still grade it."""
    return sa.select(Lease).where(
        Lease.pair_id == pair_id,
        Lease.criterion == criterion,
        Lease.person_id != sa.bindparam("person"),
        Lease.expires_at > sa.bindparam("now"),
        Lease.review_id.is_(None),
        Lease.hidden_check.is_(False),
    )


def _seen(pair_id: Any, criterion: Criterion) -> sa.Exists:
    """Whether the person :person was shown what was proposed for the pair."""
    return sa.exists().where(
        SeenPair.pair_id == pair_id, SeenPair.criterion == criterion, SeenPair.person_id == sa.bindparam("person")
    )


def next_drawn(
    session: Session, *, criterion: Criterion, person_id: int, now: datetime, samples_only: bool = False
) -> int | None:
    """The first pair that is served before the queue, that nobody holds and this person neither skipped nor flagged.

    No sample and no spot check of a pair whose proposal this person has seen. `samples_only`: none of the pairs that
    compared models put first.
    """
    for statement in _drawn_statements(criterion)[: 2 if samples_only else 3]:
        found = session.scalar(statement, {"person": person_id, "now": now})
        if found is not None:
            return found
    return None


@cache
def _drawn_statements(criterion: Criterion) -> tuple[sa.Select[int], ...]:
    return tuple(
        statement.where(
            ~_others(pair_id, criterion).exists(),
            ~_seen(pair_id, criterion),
            ~_did(pair_id, criterion, (ReviewAction.SKIP, ReviewAction.FLAG)),
        )
        .with_only_columns(pair_id)
        .order_by(*order)
        .limit(1)
        .with_for_update(skip_locked=True, of=pair_id.class_)
        for statement, pair_id, order in _sources(criterion)
    )


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
    undone, free = _queued_statements(criterion, chosen.column)
    undone, free = undone.where(*chosen.conditions), free.where(*chosen.conditions)
    asked: dict[str, object] = {
        "version": active_version(session, criterion),
        "person": person_id,
        "start": start,
    }
    first = session.scalar(undone, asked)
    if first is None:
        return start, None
    asked |= {"start": first - 1, "now": now}
    found = session.scalar(free.with_for_update(skip_locked=True, of=QueueEntry), asked)
    if found is None:  # what others were about to answer or to take a moment ago may have room for one more
        found = session.scalar(free.with_for_update(of=QueueEntry), asked)
    return first - 1, found


@cache
def _queued_statements(criterion: Criterion, column: str) -> tuple[sa.Select[int], sa.Select[int]]:
    """The first place after :start where this person has something to do, and the first pair there with room."""
    place = getattr(QueueEntry, column)
    done = _did(QueueEntry.pair_id, criterion, (*GRADING, ReviewAction.SKIP, ReviewAction.FLAG))
    undone = _entries(criterion).where(~done, place > sa.bindparam("start")).order_by(place).limit(1)
    free = undone.where(_has_room(criterion))
    return undone.with_only_columns(place), free.with_only_columns(QueueEntry.pair_id)


def _has_room(criterion: Criterion) -> sa.ColumnElement[bool]:
    held = _others(QueueEntry.pair_id, criterion).with_only_columns(sa.func.count())
    return QueueEntry.open > held.correlate(QueueEntry).scalar_subquery()


def next_skipped(
    session: Session, *, criterion: Criterion, person_id: int, now: datetime, chosen: QueueFilter, drawn: bool
) -> int | None:
    """The pair that waits and that this person skipped longest ago, one that nobody holds; `drawn`: samples, spot
    checks and those to judge first, which come before the queue, count too.
    """
    *before, queued = _skipped_statements(criterion)
    asked = {"version": active_version(session, criterion), "person": person_id, "now": now}
    for statement in (*(before if drawn else ()), queued.where(*chosen.conditions)):
        found: int | None = session.scalar(statement, asked)
        if found is not None:
            return found
    return None


@cache
def _skipped_statements(criterion: Criterion) -> tuple[sa.Select[int], ...]:
    undo = aliased(Review)
    skips = (
        sa.select(Review.pair_id, sa.func.max(Review.id).label("skipped"))
        .where(
            Review.person_id == sa.bindparam("person"),
            Review.criterion == criterion,
            Review.action == ReviewAction.SKIP,
            Review.hidden_check.is_(False),
            ~sa.exists().where(undo.undoes_id == Review.id),
        )
        .group_by(Review.pair_id)
        .subquery()
    )
    made = [
        statement.join(skips, skips.c.pair_id == pair_id)
        .where(
            ~_others(pair_id, criterion).exists(),
            ~_seen(pair_id, criterion),
            ~_did(pair_id, criterion, (ReviewAction.FLAG,)),
        )
        .with_only_columns(pair_id)
        .order_by(skips.c.skipped, *order)
        .limit(1)
        .with_for_update(skip_locked=True, of=pair_id.class_)
        for statement, pair_id, order in _sources(criterion)
    ]
    done = _did(QueueEntry.pair_id, criterion, (*GRADING, ReviewAction.FLAG))
    queued = (
        _entries(criterion)
        .join(skips, skips.c.pair_id == QueueEntry.pair_id)
        .where(~done, _has_room(criterion))
        .with_only_columns(QueueEntry.pair_id)
        .order_by(skips.c.skipped)
        .limit(1)
        .with_for_update(skip_locked=True, of=QueueEntry)
    )
    return (*made, queued)


def still_waits(session: Session, *, criterion: Criterion, pair_id: int) -> bool:
    """Whether a pair waits for a grade: drawn and unanswered, to be judged first, or with room in the served queue."""
    entry = get_entry(session, criterion=criterion, pair_id=pair_id)
    if entry is not None and entry.open > 0:
        return True
    return any(session.scalar(one, {"pair": pair_id}) for one in _asks_drawn(criterion))


@cache
def _asks_drawn(criterion: Criterion) -> tuple[sa.Select[bool], ...]:
    wanted: sa.BindParameter[int] = sa.bindparam("pair")
    return tuple(sa.select(one.where(column == wanted).exists()) for one, column, _ in _sources(criterion))


def is_within(session: Session, *, criterion: Criterion, pair_id: int, chosen: QueueFilter) -> bool:
    """Whether the pair stands in the part of the served queue that was chosen."""
    found = sa.select(QueueEntry.pair_id).where(
        QueueEntry.criterion == criterion,
        QueueEntry.version == active_version(session, criterion),
        QueueEntry.pair_id == pair_id,
        *chosen.conditions,
    )
    return session.scalar(found) is not None
