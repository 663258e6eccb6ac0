"""A queue put in place of another while somebody's grade is being stored, on the database where both can happen."""

from __future__ import annotations

import threading

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import reviewing
from app.services.desk_turns import begin_turn
from builders import queued
from db.enums import ReviewAction, Visibility
from db.models import Review
from db.queries import queue_building as building
from db.queries.queue_signals import last_review, load_queue_settings, read_signals
from db.queries.queue_values import order_queue
from db.queries.states import refresh_state
from desks import FEW, entry_of

RELEVANCE = Criterion.RELEVANCE


def test_a_grade_not_yet_stored_at_the_swap_is_not_asked_for_again(postgres_workspace: Workspace) -> None:
    """The new queue was computed before the grade and misses it: two people grade a pair that wants one."""
    desk = queued(postgres_workspace, topics=FEW)
    card = reviewing.claim(desk, person="Ada")
    assert card is not None
    pair_id, began, swapped = card.pair.pair_id, threading.Event(), threading.Event()

    def swap() -> None:
        with desk.sessions.begin() as session:
            began.set()
            building.serve_version(session, criterion=RELEVANCE, version=version, length=12, seen=seen, now=desk.now())
        swapped.set()

    thread = threading.Thread(target=swap)
    with desk.sessions.begin() as session:
        turn = begin_turn(desk, session, person="Ada", criterion=RELEVANCE)
        session.add(
            Review(
                pair_id=pair_id,
                criterion=RELEVANCE,
                person_id=turn.person_id,
                action=ReviewAction.GRADE,
                grade=1,
                visibility=Visibility.SHOWN,
                card="under way",
                created_at=desk.now(),
            )
        )
        refresh_state(session, pair_id=pair_id, criterion=RELEVANCE, now=desk.now())
        version, seen = build_aside(desk)
        thread.start()
        assert began.wait(30)
        held = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        with desk.sessions.read() as other:
            while not swapped.is_set() and not other.scalar(held):
                other.rollback()  # until the swap waits for the turn, or, were it not to, is done without it
    thread.join(30)
    assert swapped.is_set()
    assert entry_of(desk, pair_id).version == version
    assert entry_of(desk, pair_id).open == 0


def build_aside(workspace: Workspace) -> tuple[int, int]:
    """A version that is written and not served, and the newest review when it was computed."""
    with workspace.sessions.begin() as session:
        version = building.reserve_version(session, criterion=RELEVANCE, now=workspace.now())
        seen = last_review(session)
        settings = load_queue_settings(session, RELEVANCE)
        signals = read_signals(session, criterion=RELEVANCE, settings=settings)
        building.insert_entries(session, signals, order_queue(signals, settings), criterion=RELEVANCE, version=version)
    return version, seen
