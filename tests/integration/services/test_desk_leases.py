"""Leases on both databases: renewed, given on, and never more people on a pair than are wanted for it."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.errors import Conflict
from app.services import labels, reviewing
from app.services.serving import RENEWALS
from builders import TOPICS, Clock, pair_ids, queued, with_clock
from db.models import Lease
from desks import FEW, adjudicated, claim, entry_of, reviews, state_of, wanting


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(any_workspace: Workspace, clock: Clock) -> Workspace:
    """Two train questions with six rejected pairs each."""
    return queued(with_clock(any_workspace, clock), topics=FEW)


def test_a_renewed_card_is_kept_from_others(desk: Workspace, clock: Clock) -> None:
    """Somebody reads a long passage for twenty minutes, and it is given on under their eyes."""
    card = claim(desk)
    for _ in range(3):
        clock.pass_minutes(8)
        until = reviewing.renew(desk, card=card.card, person="Ada")
        assert until is not None
        assert (until - clock()).total_seconds() == 10 * 60
    assert claim(desk, "Grace").pair.pair_id != card.pair.pair_id
    reviewing.grade(desk, card=card.card, person="Ada", grade=1)


def test_a_card_that_lies_open_overnight_is_let_go(desk: Workspace, clock: Clock) -> None:
    """A forgotten browser tab renews its card for ever, and the pair is judged by nobody."""
    card = claim(desk)
    for _ in range(RENEWALS + 3):
        clock.pass_minutes(9)
        reviewing.renew(desk, card=card.card, person="Ada")
    clock.pass_minutes(9)
    assert reviewing.renew(desk, card=card.card, person="Ada") is None
    assert claim(desk, "Grace").pair.pair_id == card.pair.pair_id


def test_only_the_holder_renews_and_only_what_was_not_given_on(desk: Workspace, clock: Clock) -> None:
    """A heartbeat of a closed tab takes a pair back from the person who reads it now."""
    card = claim(desk)
    assert reviewing.renew(desk, card=card.card, person="Grace") is None
    assert reviewing.renew(desk, card="no such card", person="Ada") is None
    clock.pass_minutes(11)
    taken = claim(desk, "Grace")
    assert taken.pair.pair_id == card.pair.pair_id
    assert reviewing.renew(desk, card=card.card, person="Ada") is None
    assert reviewing.renew(desk, card=taken.card, person="Grace") is not None


def test_as_many_people_as_are_wanted_get_a_pair_and_no_more(any_workspace: Workspace) -> None:
    """Three judge a pair for which two were wanted and paid (quepid#1019), or one judges it twice."""
    workspace = wanting(any_workspace, 2)
    ada, grace, lin = claim(workspace, "Ada"), claim(workspace, "Grace"), claim(workspace, "Lin")
    assert ada.pair.pair_id == grace.pair.pair_id != lin.pair.pair_id
    assert (ada.wanted, ada.open) == (2, 2)
    reviewing.grade(workspace, card=ada.card, person="Ada", grade=3)
    assert claim(workspace, "Ada").pair.pair_id == lin.pair.pair_id
    assert (entry_of(workspace, ada.pair.pair_id).open, state_of(workspace, ada.pair.pair_id).graders) == (1, 1)
    assert claim(workspace, "Zoe").pair.pair_id not in {ada.pair.pair_id, lin.pair.pair_id}
    reviewing.grade(workspace, card=grace.card, person="Grace", grade=0)
    state = state_of(workspace, ada.pair.pair_id)
    assert (state.graders, state.disputed, state.curated_grade) == (2, True, 0)
    assert entry_of(workspace, ada.pair.pair_id).open == 0


def test_who_leaves_starves_nobody_where_two_are_wanted(any_workspace: Workspace, clock: Clock) -> None:
    """One of two closes the browser, and the pair waits for the second opinion for ever."""
    workspace = wanting(with_clock(any_workspace, clock), 2)
    left = claim(workspace, "Ada")
    reviewing.grade(workspace, card=claim(workspace, "Grace").card, person="Grace", grade=1)
    clock.pass_minutes(11)
    assert claim(workspace, "Lin").pair.pair_id == left.pair.pair_id
    with pytest.raises(Conflict):
        reviewing.grade(workspace, card=left.card, person="Ada", grade=2)


def test_what_others_said_is_hidden_where_several_are_asked(any_workspace: Workspace) -> None:
    """The second of two opinions is the first one repeated, and agreement is perfect and worth nothing."""
    workspace = wanting(any_workspace, 2)
    first = claim(workspace, "Ada")
    reviewing.grade(workspace, card=first.card, person="Ada", grade=3, note="SECRET")
    second = claim(workspace, "Grace")
    assert second.pair.pair_id == first.pair.pair_id
    assert (second.reviews, second.pair.curated_grade) == ((), None)
    assert "SECRET" not in str(second)


def test_undo_makes_room_again_and_an_adjudicated_pair_wants_nobody(any_workspace: Workspace) -> None:
    """A pair counts as done after its grade was taken back, or is served after it was decided."""
    workspace = wanting(any_workspace, 2)
    pair_id = claim(workspace, "Ada").pair.pair_id
    reviewing.grade(workspace, card=claim(workspace, "Ada").card, person="Ada", grade=3)
    reviewing.undo(workspace, person="Ada")
    assert entry_of(workspace, pair_id).open == 2
    adjudicated(workspace, pair_id, grade=1)
    assert entry_of(workspace, pair_id).open == 0
    assert claim(workspace, "Grace").pair.pair_id != pair_id


def test_an_overturned_label_is_not_served_again(desk: Workspace) -> None:
    """A pair graded outside the desk is paid for a second time at it."""
    pair_id = claim(desk, "Ada").pair.pair_id
    with desk.sessions.begin() as session:
        session.execute(sa.delete(Lease))
    labels.overturn(desk, pair_id=pair_id, person="Grace", grade=1, note="")
    assert claim(desk, "Ada").pair.pair_id != pair_id


def test_eight_people_share_pairs_that_want_three_each(any_workspace: Workspace) -> None:
    """Under a rush a pair is judged by four, by two, or twice by the same person."""
    workspace = wanting(any_workspace, 3, topics=TOPICS[:4])
    start = threading.Barrier(8)

    def work(name: str) -> int:
        start.wait()
        done = 0
        while (card := reviewing.claim(workspace, person=name)) is not None:
            reviewing.grade(workspace, card=card.card, person=name, grade=done % 4)
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, [f"person {n}" for n in range(8)]))
    stored = reviews(workspace)
    assert sum(done) == len(stored)
    by_pair = Counter(review.pair_id for review in stored)
    assert by_pair == dict.fromkeys(pair_ids(workspace).values(), 3)
    assert max(Counter((review.pair_id, review.person_id) for review in stored).values()) == 1
