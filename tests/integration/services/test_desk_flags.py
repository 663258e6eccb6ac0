"""Flags with a note: out of everybody's queue until an adjudicator settles it; one step of undo like any other."""

from __future__ import annotations

import pytest

from app.bootstrap import Workspace
from app.errors import InputInvalid
from app.services import reviewing
from builders import queued
from db.enums import ReviewAction
from desks import BLIND, FEW, adjudicated, claim, entry_of, reviews, state_of, wanting


@pytest.fixture
def desk(any_workspace: Workspace) -> Workspace:
    """Two train questions with six rejected pairs each."""
    return queued(any_workspace, topics=FEW)


def test_a_flagged_pair_is_served_to_nobody_until_it_is_settled(desk: Workspace) -> None:
    """A broken passage is shown to one reviewer after the other."""
    card = claim(desk)
    reviewing.flag(desk, card=card.card, person="Ada", note=" the passage is cut off ")
    (stored,) = reviews(desk)
    assert (stored.action, stored.note, stored.grade) == (ReviewAction.FLAG, "the passage is cut off", None)
    assert state_of(desk, card.pair.pair_id).flagged
    for person in ("Ada", "Grace"):
        assert claim(desk, person).pair.pair_id != card.pair.pair_id
    progress = reviewing.get_progress(desk, person="Ada")
    assert (progress.waiting, progress.flagged, progress.graded) == (11, 1, 0)
    adjudicated(desk, card.pair.pair_id, grade=2)
    state = state_of(desk, card.pair.pair_id)
    assert (state.flagged, state.curated_grade, entry_of(desk, card.pair.pair_id).open) == (False, 2, 0)


def test_a_flag_needs_a_note_and_can_be_taken_back(desk: Workspace) -> None:
    """An adjudicator is left to guess, or one wrong key takes a pair from everybody for good."""
    card = claim(desk)
    with pytest.raises(InputInvalid):
        reviewing.flag(desk, card=card.card, person="Ada", note="  ")
    assert claim(desk).card == card.card
    reviewing.flag(desk, card=card.card, person="Ada", note="two questions in one")
    undone = reviewing.undo(desk, person="Ada")
    assert undone is not None
    assert (undone.action, undone.pair_id) == ("flag", card.pair.pair_id)
    assert not state_of(desk, card.pair.pair_id).flagged
    assert claim(desk).pair.pair_id == card.pair.pair_id
    assert reviewing.get_progress(desk, person="Ada").waiting == 12


def test_a_grade_of_somebody_who_had_it_open_settles_no_flag(any_workspace: Workspace) -> None:
    """The second of two people grades a pair a moment after the flag, and nobody ever reads the note."""
    workspace = wanting(any_workspace, 2)
    ada, grace = claim(workspace, "Ada"), claim(workspace, "Grace")
    assert ada.pair.pair_id == grace.pair.pair_id
    reviewing.flag(workspace, card=ada.card, person="Ada", note="wrong language")
    reviewing.grade(workspace, card=grace.card, person="Grace", grade=1)
    state = state_of(workspace, ada.pair.pair_id)
    assert (state.flagged, state.graders, entry_of(workspace, ada.pair.pair_id).open) == (True, 1, 0)


def test_a_pair_can_be_flagged_after_the_reveal(desk: Workspace) -> None:
    """The proposal shows what is wrong with the pair, and there is no key to say it."""
    card = claim(desk, desk=BLIND)
    shown = reviewing.grade(desk, card=card.card, person="Ada", grade=0)
    assert shown is not None
    reviewing.flag(desk, card=shown.card.card, person="Ada", note="the evidence is not in the passage")
    state = state_of(desk, card.pair.pair_id)
    assert (state.flagged, state.curated_grade) == (True, 0)
