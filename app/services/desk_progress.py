"""How far a person is, and what waits: numbers that cost little however much was done and waits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.desk_memory import Done, memory_of
from app.services.views import ReviewProgress
from db.enums import ReviewAction
from db.models import Review
from db.queries import queue
from db.queries.standing import GRADING
from db.queries.turns import look_at_turn

FRESH_S = 30.0
"""Seconds for which the number of waiting pairs of a long queue is told without being counted again. Our choice."""
RECOUNTED_S = 600.0
"""Seconds after which a person's work is counted from the start again."""


@dataclass(frozen=True, slots=True)
class WaitingPair:
    """A pair in the queue; query and passage by their ids outside the database."""

    pair_id: int
    query_id: str
    passage_id: str


def list_waiting(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> list[WaitingPair]:
    """The audit queue in the order it is served by value, leased or not."""
    with workspace.sessions.read() as session:
        return [WaitingPair(*row) for row in queue.list_waiting(session, criterion=criterion)]


def count_waiting(workspace: Workspace, session: Session, *, criterion: Criterion) -> int:
    """How many pairs wait: exact for a short queue, of a long one at most `FRESH_S` seconds old."""
    memory, key = memory_of(workspace), (criterion, queue.active_version(session, criterion))
    known = memory.number(key, younger_than=FRESH_S)
    if known is None:
        known = queue.count_few(session, criterion=criterion)
    if known is None:
        known = queue.count_waiting(session, criterion=criterion)
        if known > 2 * queue.COUNTED:
            memory.remember_number(key, known)
    return known


def get_progress(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> ReviewProgress:
    """How much of this person's work stands, how much of it is from today (UTC), and how much waits.

    A blind grade and what became of it after the reveal count once; hidden checks count like any other card.
    """
    with workspace.sessions.read() as session:
        turn = look_at_turn(session, person, criterion=criterion)
        waiting = count_waiting(workspace, session, criterion=criterion)
        if turn is None:
            return ReviewProgress(person=person, graded=0, skipped=0, graded_today=0, waiting=waiting)
        done = _done(workspace, session, turn.person_id, criterion)
        return ReviewProgress(
            person=person,
            graded=done.graded,
            skipped=done.skipped,
            graded_today=done.graded_today,
            waiting=waiting,
            flagged=done.flagged,
        )


def _done(workspace: Workspace, session: Session, person_id: int, criterion: Criterion) -> Done:
    """The person's work, counted on from what this process counted before: reviews are only ever added."""
    memory, key = memory_of(workspace), (person_id, criterion)
    midnight = workspace.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with memory.lock:
        done = memory.done.get(key)
        if done is None or time.monotonic() - done.counted > RECOUNTED_S or midnight < done.midnight:
            done = Done(last_id=0, last_at=None, midnight=midnight)
        if midnight > done.midnight:
            done.midnight, done.graded_today = midnight, 0
        _count_on(session, done, person_id=person_id, criterion=criterion)
        memory.done[key] = done
        return Done(**{name: getattr(done, name) for name in Done.__slots__})


def _count_on(session: Session, done: Done, *, person_id: int, criterion: Criterion) -> None:
    asked: dict[str, object] = {"person": person_id, "criterion": criterion, "last": done.last_id}
    newer = _FIRST if done.last_at is None else _NEWER
    if done.last_at is not None:
        asked["at"] = done.last_at
    for row in session.execute(newer, asked):
        if row.action is not ReviewAction.UNDO:
            _add(done, 1, row.action, row.revises_id, row.created_at)
        elif row.undone_person == person_id:
            _add(done, -1, row.undone_action, row.undone_revises, row.undone_at)
        done.last_id = row.id
        done.last_at = row.created_at if done.last_at is None else max(done.last_at, row.created_at)


_undone = aliased(Review)
_FIRST = (
    sa.select(
        Review.id,
        Review.created_at,
        Review.action,
        Review.revises_id,
        _undone.action.label("undone_action"),
        _undone.revises_id.label("undone_revises"),
        _undone.created_at.label("undone_at"),
        _undone.person_id.label("undone_person"),
    )
    .outerjoin(_undone, _undone.id == Review.undoes_id)
    .where(
        Review.person_id == sa.bindparam("person"),
        Review.criterion == sa.bindparam("criterion"),
        Review.id > sa.bindparam("last"),
    )
    .order_by(Review.id)
)
_NEWER = _FIRST.where(Review.created_at >= sa.bindparam("at"))


def _add(done: Done, number: int, action: ReviewAction, revises_id: int | None, at: datetime) -> None:
    if action in GRADING and revises_id is None:
        done.graded += number
        done.graded_today += number if at >= done.midnight else 0
    elif action is ReviewAction.SKIP:
        done.skipped += number
    elif action is ReviewAction.FLAG:
        done.flagged += number
