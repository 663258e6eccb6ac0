"""Which pair a person is given next: a hidden check, what was drawn, the queue in their order, what they skipped."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.desk_choice import DeskChoice
from app.services.desk_memory import Ahead, DeskMemory, memory_of
from app.services.desk_turns import Taken
from app.services.holding import hold
from db.enums import QueueCause
from db.models import Lease
from db.queries import queue, queue_building, queue_next, queue_places, queue_search
from db.queries.desk_filters import filter_of
from db.queries.desk_pairs import DeskPair, hold_pair
from db.queries.hidden_checks import is_check_turn, next_check
from db.queries.row_locks import locks_rows
from db.queries.turns import Turn

NOTHING_S = 30.0
"""Seconds for which a part of a long queue in which somebody found nothing to do is not looked through again for them:
what comes back there from others waits so long. Our choice: a look takes a tenth of a second, in which nobody writes.
"""
FAR = 512
"""Places with the words that are looked through at once where others hold all before; then nothing is found."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asks for what."""

    person_id: int
    criterion: Criterion
    now: datetime
    desk: DeskChoice
    chosen: queue_next.QueueFilter
    key: Hashable


def take_next(
    workspace: Workspace, session: Session, *, turn: Turn, criterion: Criterion, desk: DeskChoice
) -> tuple[Lease, DeskPair] | None:
    """A lease of the next pair, and the pair as it stood before; None when nothing is left.

    Raises:
        Taken: somebody else was faster; to be tried again from the start.
    """
    now, person_id = workspace.now(), turn.person_id
    share = workspace.settings.check_share
    if not desk.narrowed and is_check_turn(
        person_id=person_id, criterion=criterion, share=share, last_review=turn.last_review
    ):
        check = next_check(session, person_id=person_id, criterion=criterion, now=now, last_review=turn.last_review)
        if check is not None:
            pair = _held(session, pair_id=check, criterion=criterion, person_id=person_id, now=now)
            lease = hold(workspace, session, pair, criterion=criterion, person_id=person_id, desk=desk, check=True)
            return lease, pair
    while True:
        found = _next_pair(workspace, session, person_id=person_id, criterion=criterion, desk=desk)
        if found is None:
            return None
        # Looked at again now that its place is locked: what was found is as old as the beginning of the search.
        pair = _held(session, pair_id=found, criterion=criterion, person_id=person_id, now=now)
        if not pair.outlived:
            break
        if pair.settled:
            queue_places.close_entry(session, pair_id=found, criterion=criterion)
        else:
            queue_places.reopen(session, pair_id=found, criterion=criterion)
    if not pair.has_room:
        raise Taken
    lease = hold(workspace, session, pair, criterion=criterion, person_id=person_id, desk=desk)
    if locks_rows(session) and not queue.still_waits(session, criterion=criterion, pair_id=found):
        raise Taken
    return lease, pair


def _held(session: Session, *, pair_id: int, criterion: Criterion, person_id: int, now: datetime) -> DeskPair:
    pair = hold_pair(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now)
    if pair is None:
        raise Taken  # a pair that was found a moment ago is not there any more
    return pair


def _next_pair(
    workspace: Workspace, session: Session, *, person_id: int, criterion: Criterion, desk: DeskChoice
) -> int | None:
    now, chosen = workspace.now(), filter_of(desk, criterion=criterion)
    drawn_only = desk.cause is QueueCause.DRAWN
    drawn_too = drawn_only or not desk.narrowed
    found = None
    if drawn_too:
        found = queue_next.next_drawn(
            session, criterion=criterion, person_id=person_id, now=now, samples_only=drawn_only
        )
    if found is None:
        key = (person_id, criterion, queue.active_version(session, criterion), desk)
        asked = _Asked(person_id, criterion, now, desk, chosen, key)
        found = _next_of_queue(memory_of(workspace), session, asked)
    if found is None:
        found = queue_next.next_skipped(
            session,
            criterion=criterion,
            person_id=person_id,
            now=now,
            chosen=chosen,
            also=queue_search.holding_words(session, chosen, criterion=criterion),
            drawn=drawn_too,
        )
    return found


def _next_of_queue(memory: DeskMemory, session: Session, asked: _Asked) -> int | None:
    """The next of the queue, which is long to look through for somebody who has nothing to do there."""
    if memory.has_nothing(asked.key, younger_than=NOTHING_S):
        return None
    search = _next_with_words if asked.chosen.words else _next_queued
    todo, found = search(memory, session, asked)
    if not todo and queue_building.is_long(session, asked.criterion):
        memory.remember_nothing(asked.key)
    return found


def _next_queued(memory: DeskMemory, session: Session, asked: _Asked) -> tuple[bool, int | None]:
    """Whether this person has something to do, even if others hold it, and the next of the queue.

    Where many people are wanted for a pair, what one did alone stays there for the others: how far that reaches from
    the first row on is remembered, and only looked through again when nothing else is left.
    """
    for start in sorted({memory.starts.get(asked.key, 0), 0}, reverse=True):
        first, found = queue_next.next_queued(
            session,
            criterion=asked.criterion,
            person_id=asked.person_id,
            now=asked.now,
            chosen=asked.chosen,
            start=start,
        )
        memory.remember_start(asked.key, start if first is None else first - 1)
        if found is not None:
            return True, found
    return first is not None, None


def _next_with_words(memory: DeskMemory, session: Session, asked: _Asked) -> tuple[bool, int | None]:
    """The same of what holds the words. Which places come next is remembered, some at a time; when they are used up,
    the search goes on behind them, and once more from the first row on when nothing else is left.
    """
    ahead, whole, most = memory.ahead(asked.key), False, queue_search.SOME
    if ahead is None:
        ahead, whole = Ahead((), 0), True
    while True:
        ahead, found = _among(session, asked, ahead)
        if found is None and len(ahead.matches) >= FAR:
            ahead = _undone(session, asked, ahead)
        memory.remember_ahead(asked.key, ahead)
        if found is not None:
            return True, found
        more: list[queue_search.Match] = []
        if ahead.searched is not None and len(ahead.matches) < FAR:
            more = queue_search.list_matches(
                session, criterion=asked.criterion, chosen=asked.chosen, after=ahead.searched, most=most
            )
        if more:
            ahead = Ahead((*ahead.matches, *more), more[-1].place if len(more) == most else None)
            most = min(2 * most, FAR)
        elif whole:
            return bool(ahead.matches), None
        else:
            ahead, whole = Ahead((), 0), True


def _undone(session: Session, asked: _Asked, ahead: Ahead) -> Ahead:
    """The places ahead without those at which this person has nothing to do: they fill up behind one that others hold,
    and are not to hide what comes after them.
    """
    left = set(
        queue_next.list_undone(
            session,
            [match.place for match in ahead.matches],
            criterion=asked.criterion,
            person_id=asked.person_id,
            chosen=asked.chosen,
        )
    )
    return Ahead(tuple(match for match in ahead.matches if match.place in left), ahead.searched)


def _among(session: Session, asked: _Asked, ahead: Ahead) -> tuple[Ahead, int | None]:
    """The first pair with room among the places ahead, and those that are left: from where this person has something to
    do, without those whose reason may not be searched any more.
    """
    while ahead.matches:
        first, found = queue_next.next_among(
            session,
            [match.place for match in ahead.matches],
            criterion=asked.criterion,
            person_id=asked.person_id,
            now=asked.now,
            chosen=asked.chosen,
        )
        left = () if first is None else tuple(match for match in ahead.matches if match.place >= first)
        ahead = Ahead(left, ahead.searched)
        if found is None:
            return ahead, None
        said = next(match.said for match in left if match.place == found.place)
        if said is None or queue_search.may_be_read(session, suggestion_id=said, criterion=asked.criterion):
            return ahead, found.pair_id
        ahead = Ahead(tuple(match for match in left if match.place != found.place), ahead.searched)
    return ahead, None
