"""One turn at the review desk: a write transaction that is tried again when others were a moment faster."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict
from app.services.refusals import refuse_revoked_person
from db.queries.draws import hold_draws
from db.queries.people import person_named
from db.queries.turns import Turn, find_turn

T = TypeVar("T")

TRIES = 20
PATIENCE_S = 45.0
"""Seconds after which no new try is begun; SQLite's own wait for the one writer comes on top."""
_PASSING = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL's words for: transactions in each other's way, a circle of waits, a lock not free."""


class Taken(Exception):
    """Another person answered the pair between our look at the queue and our lease."""


def in_turn(workspace: Workspace, work: Callable[[Session], T]) -> T:
    """What `work` returns, done in one transaction and from the start again while others get in its way.

    Raises:
        Conflict: the others never let up.
    """
    until = time.monotonic() + PATIENCE_S
    for attempt in range(TRIES):
        try:
            with workspace.sessions.begin() as session:
                return work(session)
        except (IntegrityError, Taken):
            pass  # another person took the pair, or stored the same, between our look and our write
        except OperationalError as exc:
            if not _passes(exc):
                raise
        if time.monotonic() > until:
            break
        time.sleep(random.uniform(0.0, 0.002 * 2 ** min(attempt, 6)))
    raise Conflict("many people ask for cards at once", user_message="The queue is busy. Try again in a moment.")


def begin_turn(workspace: Workspace, session: Session, *, person: str, criterion: Criterion) -> Turn:
    """The turn of this person, made known if new, once no sample is being drawn and no other tab of theirs is at work.

    Raises:
        NotAllowed: this person is revoked.
    """
    hold_draws(session, criterion=criterion, shared=True)
    turn = find_turn(session, person, criterion=criterion)
    if turn is None:
        person_named(session, person, now=workspace.now())
        turn = find_turn(session, person, criterion=criterion)
    if turn is None:
        raise Taken  # the name that was just made is gone again
    if turn.revoked:
        refuse_revoked_person(session, turn.person_id)
    return turn


def _passes(error: OperationalError) -> bool:
    """Whether the same transaction may well succeed a moment later."""
    if getattr(error.orig, "sqlstate", None) in _PASSING:
        return True
    return "database is locked" in str(error.orig) or "database table is locked" in str(error.orig)
