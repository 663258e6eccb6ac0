"""Hidden checks: adjudicated pairs served now and then like any other card; they change nothing but what we know."""

from __future__ import annotations

from typing import Any

import pytest

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import labels, reviewing
from builders import queued
from db.enums import ReviewAction, Visibility
from db.queries import hidden_checks
from db.queries.hidden_checks import is_check_turn, next_check
from db.queries.people import person_named
from desks import FEW, adjudicated, claim, reviews, state_of, with_settings


@pytest.fixture
def desk(any_workspace: Workspace) -> Workspace:
    """Twelve pairs, the last two of which an adjudicator settled; a fifth of all cards are to be checks."""
    workspace = with_settings(queued(any_workspace, topics=FEW), check_share=0.2)
    for pair in reviewing.list_waiting(workspace)[-2:]:
        adjudicated(workspace, pair.pair_id, grade=3)
    return workspace


def work(workspace: Workspace, person: str) -> list[reviewing.Card]:
    """Every card this person gets, graded 1 (and kept where the proposal follows)."""
    cards = []
    while (card := reviewing.claim(workspace, person=person)) is not None:
        cards.append(card)
        shown = reviewing.grade(workspace, card=card.card, person=person, grade=1)
        if shown is not None:
            reviewing.keep(workspace, card=shown.card.card, person=person)
    return cards


def test_a_hidden_check_changes_no_state_and_counts_as_work(desk: Workspace) -> None:
    """A check overturns what was adjudicated, opens a dispute, or is noticed because the count stands still."""
    cards = work(desk, "Ada")
    stored = [review for review in reviews(desk) if review.action is ReviewAction.GRADE]
    checks = [review for review in stored if review.hidden_check and review.revises_id is None]
    assert checks, "none of twelve turns at a fifth was a check: the draw is by hash, so this can only change with it"
    for review in checks:
        assert review.visibility is Visibility.BLIND
        state = state_of(desk, review.pair_id)
        assert (state.curated_grade, state.graders, state.disputed) == (3, 1, False)
    assert len({review.pair_id for review in checks}) == len(checks)
    assert reviewing.get_progress(desk, person="Ada").graded == len(cards) == 10 + len(checks)


def test_a_hidden_check_looks_like_any_blind_card(desk: Workspace) -> None:
    """A card that says it is a check is answered with more care than the others."""
    cards = work(desk, "Ada")
    checked = {review.pair_id for review in reviews(desk) if review.hidden_check}
    shown = [card for card in cards if card.pair.pair_id in checked]
    assert shown
    for card in shown:
        assert (card.pair.grade, card.pair.curated_grade, card.pair.history, card.reviews) == (None, None, (), ())
        assert "check" not in card.queue_reason.replace("spot check", "")
        assert (card.position, card.phase) == (0, "grade")


def test_a_check_can_be_undone_and_stays_one(desk: Workspace) -> None:
    """Undo of a check serves the pair as a real one, and the adjudicated grade gets a rival."""
    while not any(review.hidden_check for review in reviews(desk)):
        card = claim(desk)
        reviewing.grade(desk, card=card.card, person="Ada", grade=1)
    reviewing.undo(desk, person="Ada")
    again = claim(desk)
    shown = reviewing.grade(desk, card=again.card, person="Ada", grade=2)
    last = reviews(desk)[-1]
    assert (last.hidden_check, last.pair_id, last.grade) == (True, again.pair.pair_id, 2)
    assert shown is None or shown.card.phase == "revise"
    assert labels.get_pair(desk, pair_id=again.pair.pair_id).curated_grade == 3


def test_about_as_many_turns_are_checks_as_are_asked_for() -> None:
    """A setting of two in a hundred takes half of everybody's time."""
    for share, low, high in ((0.0, 0, 0), (0.02, 10, 35), (0.2, 165, 235)):
        turns = [
            is_check_turn(person_id=person, criterion=Criterion.RELEVANCE, share=share, last_review=0)
            for person in range(1, 1001)
        ]
        assert low <= sum(turns) <= high


def test_nobody_is_checked_on_what_they_graded_or_settled(desk: Workspace) -> None:
    """An adjudicator is asked about their own decision and agrees."""
    work(desk, "Judy")
    assert not [review for review in reviews(desk) if review.hidden_check]


def test_the_list_beside_a_hidden_check_tells_of_it_no_more_than_the_card(desk: Workspace) -> None:
    """The card looks like any other, and its own line in the list says that the pair was settled long ago."""
    states = []
    while (card := reviewing.claim(desk, person="Ada")) is not None:
        side = reviewing.list_query(desk, pair_id=card.pair.pair_id, person="Ada", blind=True)
        states += [(one.state, one.own_grade, one.curated_grade) for one in side if one.current]
        shown = reviewing.grade(desk, card=card.card, person="Ada", grade=1)
        if shown is not None:
            reviewing.keep(desk, card=shown.card.card, person="Ada")
    assert [review for review in reviews(desk) if review.hidden_check]
    assert set(states) == {("open", None, None)}


def test_checks_are_looked_for_among_few_of_many_settled_pairs(
    any_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year's settled pairs are all read for one card; or some of them are never served, or to who knows them."""
    monkeypatch.setattr(hidden_checks, "LOOKED", 2)
    workspace = with_settings(queued(any_workspace, topics=FEW), check_share=0.0)
    settled = [pair.pair_id for pair in reviewing.list_waiting(workspace)[:5]]
    for pair_id in settled:
        adjudicated(workspace, pair_id, grade=3)
    seen = claim(workspace, pair_id=settled[0]).pair.pair_id
    held = claim(workspace, "Grace", pair_id=settled[3]).pair.pair_id
    with workspace.sessions.read() as session:
        ada, judy = (person_named(session, name, now=workspace.now()).id for name in ("Ada", "Judy"))
        asked: dict[str, Any] = {"criterion": Criterion.RELEVANCE, "now": workspace.now()}
        found = {next_check(session, person_id=ada, last_review=turn, **asked) for turn in range(60)}
        assert found - {None} == set(settled) - {seen, held}
        assert {next_check(session, person_id=judy, last_review=turn, **asked) for turn in range(20)} == {None}
