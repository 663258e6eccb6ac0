"""How far a person is, and what waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.views import ReviewProgress
from db.enums import ReviewAction
from db.models import Person, Review
from db.queries import queue
from db.queries.standing import GRADING, standing_answers


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


def get_progress(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> ReviewProgress:
    """How much of this person's work stands, how much of it is from today (UTC), and how much waits.

    A blind grade and what became of it after the reveal count once; hidden checks count like any other card.
    """
    with workspace.sessions.read() as session:
        midnight = workspace.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        mine = standing_answers(criterion).join(Person, Person.id == Review.person_id).where(Person.name == person)
        count = sa.func.count()
        graded = mine.where(Review.action.in_(GRADING), Review.revises_id.is_(None))
        return ReviewProgress(
            person=person,
            graded=session.scalar(graded.with_only_columns(count)) or 0,
            skipped=session.scalar(mine.where(Review.action == ReviewAction.SKIP).with_only_columns(count)) or 0,
            graded_today=session.scalar(graded.where(Review.created_at >= midnight).with_only_columns(count)) or 0,
            waiting=queue.count_waiting(session, criterion=criterion),
        )
