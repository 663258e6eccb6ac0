"""Two people a moment apart, on the database where both can be at work: one pair is not given to both."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import reviewing
from app.services.desk_turns import Taken, begin_turn
from app.services.holding import hold, pair_for
from builders import Clock, queued, with_clock
from db.enums import ReviewAction, Visibility
from db.models import Lease, Review
from db.queries.queue_building import rebuild_queue
from db.queries.states import refresh_state
from desks import FEW, claim, entry_of, with_settings

RELEVANCE = Criterion.RELEVANCE


def test_a_lease_renewed_while_its_pair_is_given_on_is_not_shared(postgres_workspace: Workspace) -> None:
    """A card ran out and is held for longer in the very moment in which another person is given its pair: both have it
    open, though one person is wanted.
    """
    clock = Clock()
    desk = queued(with_clock(postgres_workspace, clock), topics=FEW)
    card = claim(desk, "Ada")
    clock.pass_minutes(11)
    with desk.sessions.begin() as session:
        turn = begin_turn(desk, session, person="Bob", criterion=RELEVANCE)
        asked: dict[str, Any] = {"criterion": RELEVANCE, "person_id": turn.person_id}
        pair = pair_for(session, pair_id=card.pair.pair_id, now=clock(), **asked)
        assert pair.others == 0, "Ada's lease has run out"
        assert reviewing.renew(desk, card=card.card, person="Ada") is not None
        with pytest.raises(Taken):
            hold(desk, session, pair, **asked)
        session.rollback()
    reviewing.grade(desk, card=card.card, person="Ada", grade=1)


def test_a_grade_not_yet_stored_when_a_queue_is_built_in_place_is_not_asked_for_again(
    postgres_workspace: Workspace,
) -> None:
    """A certificate is suspended while somebody grades: the new queue misses the grade, and a second person is served a
    pair that wants one.
    """
    desk = with_settings(queued(postgres_workspace, topics=FEW), check_share=0.0)
    pair_id = claim(desk, "Ada").pair.pair_id
    with desk.sessions.begin() as session:
        turn = begin_turn(desk, session, person="Ada", criterion=RELEVANCE)
        review = Review(
            pair_id=pair_id,
            criterion=RELEVANCE,
            person_id=turn.person_id,
            action=ReviewAction.GRADE,
            grade=1,
            visibility=Visibility.SHOWN,
            card="under way",
            created_at=desk.now(),
        )
        session.add(review)
        session.execute(sa.delete(Lease))
        refresh_state(session, pair_id=pair_id, criterion=RELEVANCE, now=desk.now())
        with desk.sessions.begin() as other:
            rebuild_queue(other, criterion=RELEVANCE, now=desk.now())
    served = []
    while (card := reviewing.claim(desk, person="Bob")) is not None:
        served.append(card.pair.pair_id)
        reviewing.grade(desk, card=card.card, person="Bob", grade=1)
        assert len(served) <= 12
    assert pair_id not in served
    assert entry_of(desk, pair_id).open == 0
