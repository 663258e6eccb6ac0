"""What tests of the review desk do again and again: a card that must be there, the reviews stored, other settings."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import reviewing
from app.services.desk_choice import DEFAULT, DeskChoice
from app.services.queue_order import rebuild
from builders import TOPICS, Topic, queued
from db.enums import ReviewAction, Visibility
from db.models import PairState, QueueEntry, Review
from db.queries.people import person_named
from db.queries.queue import get_entry
from db.queries.states import refresh_state

FEW = TOPICS[:2]
BLIND = DeskChoice(blind=True)


def claim(
    workspace: Workspace, person: str = "Ada", *, pair_id: int | None = None, desk: DeskChoice = DEFAULT
) -> reviewing.Card:
    """A card, which there must be."""
    card = reviewing.claim(workspace, person=person, pair_id=pair_id, desk=desk)
    assert card is not None
    return card


def reviews(workspace: Workspace) -> list[Review]:
    """Everything that was stored, in the order it was."""
    with workspace.sessions.read() as session:
        return list(session.scalars(sa.select(Review).order_by(Review.id)))


def state_of(workspace: Workspace, pair_id: int) -> PairState:
    with workspace.sessions.read() as session:
        return session.get_one(PairState, (pair_id, Criterion.RELEVANCE))


def entry_of(workspace: Workspace, pair_id: int) -> QueueEntry:
    with workspace.sessions.read() as session:
        entry = get_entry(session, criterion=Criterion.RELEVANCE, pair_id=pair_id)
        assert entry is not None
        return entry


def with_settings(workspace: Workspace, **changes: object) -> Workspace:
    """The same workspace under other settings."""
    return replace(workspace, settings=workspace.settings.model_copy(update=changes))


def wanting(workspace: Workspace, people: int, *, topics: tuple[Topic, ...] = FEW) -> Workspace:
    """A queue in which so many people are wanted for every pair."""
    workspace = with_settings(queued(workspace, topics=topics), overlap=people, check_share=0.0)
    rebuild(workspace)
    return workspace


def adjudicated(workspace: Workspace, pair_id: int, *, grade: int, by: str = "Judy") -> None:
    """A pair that an adjudicator settled."""
    with workspace.sessions.begin() as session:
        now = workspace.now()
        session.add(
            Review(
                pair_id=pair_id,
                criterion=Criterion.RELEVANCE,
                person_id=person_named(session, by, now=now).id,
                action=ReviewAction.ADJUDICATE,
                grade=grade,
                visibility=Visibility.SHOWN,
                created_at=now,
            )
        )
        refresh_state(session, pair_id=pair_id, criterion=Criterion.RELEVANCE, now=now)
