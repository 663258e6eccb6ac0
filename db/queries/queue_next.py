"""Which pair a person is served next: of what comes before the queue, of the queue, of what they skipped.

Statements are made once for each part of the queue that is asked for: making one takes longer than running it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import ReviewAction
from db.models import Lease, QueueEntry, Review, SeenPair
from db.queries.leases import others_hold
from db.queries.queue import before_queue, open_entries
from db.queries.queue_places import active_version
from db.queries.row_locks import locks_rows
from db.queries.standing import GRADING
from db.queries.text_search import FIELDS, Field

PARTS = 256
"""Parts of the queue whose statements are kept; those asked for longest ago are made again."""


@dataclass(frozen=True, eq=False, slots=True)
class QueueFilter:
    """The order of the queue, by the column of `QueueEntry` that says it, conditions on its rows, and words that the
    pair must hold in one of the `fields`, which `queue_search` looks for. Statements are kept by the very filter they
    were made for.
    """

    column: str = "position"
    conditions: Sequence[sa.ColumnElement[bool]] = ()
    words: str = ""
    fields: Collection[Field] = FIELDS

    @property
    def place(self) -> Any:
        """The column that says the order."""
        return getattr(QueueEntry, self.column)


class Found(NamedTuple):
    """A pair of the queue and its place in the order chosen."""

    pair_id: int
    place: int


def next_drawn(
    session: Session, *, criterion: Criterion, person_id: int, now: datetime, samples_only: bool = False
) -> int | None:
    """The first pair that is served before the queue, that nobody holds and this person neither skipped nor flagged.

    No sample and no spot check of a pair whose proposal this person has seen. `samples_only`: none of the pairs that
    compared models put first.
    """
    asked = {"person": person_id, "now": now}
    number = 2 if samples_only else 3
    there = session.execute(_peek(criterion, number), asked).one()
    if not locks_rows(session):
        return next((found for found in there if found is not None), None)
    for statement, found in zip(_drawn_held(criterion), there, strict=False):
        free = None if found is None else session.scalar(statement, asked)
        if free is not None:
            return free
    return None


@cache
def _drawn_statements(criterion: Criterion) -> tuple[sa.Select[int], ...]:
    return tuple(
        statement.where(
            ~others_hold(pair_id, criterion).exists(),
            ~_seen(pair_id, criterion),
            ~_did(pair_id, criterion, (ReviewAction.SKIP, ReviewAction.FLAG)),
        )
        .with_only_columns(pair_id)
        .order_by(*order)
        .limit(1)
        for statement, pair_id, order in before_queue(criterion)
    )


@cache
def _peek(criterion: Criterion, number: int) -> sa.Select[Any]:
    """The first pair of each of so many sources in one row, nothing locked: mostly nothing is there."""
    return sa.select(*(one.scalar_subquery() for one in _drawn_statements(criterion)[:number]))


@cache
def _drawn_held(criterion: Criterion) -> tuple[sa.Select[int], ...]:
    return tuple(
        one.with_for_update(skip_locked=True, of=pair_id.class_)
        for one, (_, pair_id, _) in zip(_drawn_statements(criterion), before_queue(criterion), strict=True)
    )


def next_queued(
    session: Session, *, criterion: Criterion, person_id: int, now: datetime, chosen: QueueFilter, start: int = 0
) -> tuple[int | None, int | None]:
    """The first pair of the queue that has room for one more and that this person neither graded nor skipped.

    Looked for after `start` in the chosen order; returned before it is the first place at which this person has
    something to do, None where there is none.
    """
    asked: dict[str, object] = {"version": active_version(session, criterion), "person": person_id, "now": now}
    first, found = _next(session, _queued_statements(criterion, chosen), {**asked, "start": start})
    return first, None if found is None else found.pair_id


def next_among(
    session: Session,
    places: Sequence[int],
    *,
    criterion: Criterion,
    person_id: int,
    now: datetime,
    chosen: QueueFilter,
) -> tuple[int | None, Found | None]:
    """The same among those places alone; the first of them at which this person has something to do, if any."""
    asked: dict[str, object] = {"version": active_version(session, criterion), "person": person_id, "now": now}
    return _next(session, _among_statements(criterion, chosen), {**asked, "start": 0, "places": list(places)})


def list_undone(
    session: Session, places: Sequence[int], *, criterion: Criterion, person_id: int, chosen: QueueFilter
) -> list[int]:
    """Those of the places at which this person has something to do, whoever holds them."""
    asked: dict[str, object] = {"version": active_version(session, criterion), "person": person_id}
    return list(session.scalars(_undone_statement(criterion, chosen), {**asked, "start": 0, "places": list(places)}))


@lru_cache(PARTS)
def _undone_statement(criterion: Criterion, chosen: QueueFilter) -> sa.Select[int]:
    among = chosen.place.in_(sa.bindparam("places", expanding=True))
    return _undone_entries(criterion, chosen, among).with_only_columns(chosen.place)


def _next(session: Session, statements: _Statements, asked: dict[str, object]) -> tuple[int | None, Found | None]:
    row = session.execute(statements.undone, asked).first()
    if row is None:
        return None, None
    pair_id, first, room = row
    if room and not locks_rows(session):
        return first, Found(pair_id, first)
    asked = {**asked, "start": first - 1}
    free = session.execute(statements.free, asked).first()
    if free is None and locks_rows(session):
        # What others were about to answer or to take a moment ago may have room for one more.
        free = session.execute(statements.free_waiting, asked).first()
    return first, None if free is None else Found(*free)


@dataclass(frozen=True, slots=True)
class _Statements:
    """The first place after :start where the person :person has something to do, as pair, place and whether there is
    room; the first pair there with room, none that others hold locked, and the same with those.
    """

    undone: sa.Select[Any]
    free: sa.Select[Any]
    free_waiting: sa.Select[Any]


def _statements(criterion: Criterion, chosen: QueueFilter, *also: sa.ColumnElement[bool]) -> _Statements:
    place, room = chosen.place, _has_room(criterion)
    undone = _undone_entries(criterion, chosen, *also).order_by(place).limit(1)
    free = undone.where(room).with_only_columns(QueueEntry.pair_id, place)
    return _Statements(
        undone.with_only_columns(QueueEntry.pair_id, place, room),
        free.with_for_update(skip_locked=True, of=QueueEntry),
        free.with_for_update(of=QueueEntry),
    )


def _undone_entries(criterion: Criterion, chosen: QueueFilter, *also: sa.ColumnElement[bool]) -> sa.Select[QueueEntry]:
    done = _did(QueueEntry.pair_id, criterion, (*GRADING, ReviewAction.SKIP, ReviewAction.FLAG))
    return open_entries(criterion).where(~done, chosen.place > sa.bindparam("start"), *chosen.conditions, *also)


@lru_cache(PARTS)
def _queued_statements(criterion: Criterion, chosen: QueueFilter) -> _Statements:
    return _statements(criterion, chosen)


@lru_cache(PARTS)
def _among_statements(criterion: Criterion, chosen: QueueFilter) -> _Statements:
    return _statements(criterion, chosen, chosen.place.in_(sa.bindparam("places", expanding=True)))


def next_skipped(
    session: Session,
    *,
    criterion: Criterion,
    person_id: int,
    now: datetime,
    chosen: QueueFilter,
    also: Sequence[sa.ColumnElement[bool]] = (),
    drawn: bool,
) -> int | None:
    """The pair that waits and that this person skipped longest ago, one that nobody holds; `drawn`: samples, spot
    checks and those to judge first, which come before the queue, count too. `also`: conditions on rows of the queue
    beside those chosen.
    """
    *before, queued = _skipped_statements(criterion)
    asked = {"version": active_version(session, criterion), "person": person_id, "now": now}
    for statement in (*(before if drawn else ()), queued.where(*chosen.conditions, *also)):
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
            ~others_hold(pair_id, criterion).exists(),
            ~_seen(pair_id, criterion),
            ~_did(pair_id, criterion, (ReviewAction.FLAG,)),
        )
        .with_only_columns(pair_id)
        .order_by(skips.c.skipped, *order)
        .limit(1)
        .with_for_update(skip_locked=True, of=pair_id.class_)
        for statement, pair_id, order in before_queue(criterion)
    ]
    done = _did(QueueEntry.pair_id, criterion, (*GRADING, ReviewAction.FLAG))
    queued = (
        open_entries(criterion)
        .join(skips, skips.c.pair_id == QueueEntry.pair_id)
        .where(~done, _has_room(criterion))
        .with_only_columns(QueueEntry.pair_id)
        .order_by(skips.c.skipped)
        .limit(1)
        .with_for_update(skip_locked=True, of=QueueEntry)
    )
    return (*made, queued)


def is_within(session: Session, *, criterion: Criterion, pair_id: int, chosen: QueueFilter) -> bool:
    """Whether the pair stands in the part of the served queue that was chosen, whatever words it holds."""
    asked = {"version": active_version(session, criterion), "pair": pair_id}
    return session.scalar(_within(criterion, chosen), asked) is not None


@lru_cache(PARTS)
def _within(criterion: Criterion, chosen: QueueFilter) -> sa.Select[int]:
    return sa.select(QueueEntry.pair_id).where(
        QueueEntry.criterion == criterion,
        QueueEntry.version == sa.bindparam("version"),
        QueueEntry.pair_id == sa.bindparam("pair"),
        *chosen.conditions,
    )


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


def _seen(pair_id: Any, criterion: Criterion) -> sa.Exists:
    """Whether the person :person was shown what was proposed for the pair."""
    return sa.exists().where(
        SeenPair.pair_id == pair_id, SeenPair.criterion == criterion, SeenPair.person_id == sa.bindparam("person")
    )


def _has_room(criterion: Criterion) -> sa.ColumnElement[bool]:
    held = others_hold(QueueEntry.pair_id, criterion).with_only_columns(sa.func.count(Lease.pair_id))
    return QueueEntry.open > held.correlate(QueueEntry).scalar_subquery()
