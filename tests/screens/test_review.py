"""The review desk: a button or key grades the card on screen and no other; hostile text stays text."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import labels, reviewing
from app.services.views import Card

PERSON = "me"


def html_of(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.main.get("html"))


def card_on(app: AppTest) -> str:
    found = re.search(r'data-card="([^"]+)"', html_of(app))
    assert found is not None
    return found.group(1)


def press(app: AppTest, label: str) -> AppTest:
    app = next(button for button in app.button if label in button.label).click().run()
    assert not app.exception
    return app


def open_card(workspace: Workspace) -> Card:
    card = reviewing.claim(workspace, person=PERSON, criterion=Criterion.RELEVANCE)
    assert card is not None
    return card


def test_a_grade_is_saved_and_the_next_card_shows(app, small: Workspace) -> None:
    """A grade that is lost between two cards is an hour of somebody's work."""
    screen = app("review")
    first = open_card(small)
    assert card_on(screen) == first.card
    press(screen, "partly answers")
    assert card_on(screen) != first.card
    pair = labels.get_pair(small, pair_id=first.pair.pair_id, criterion=Criterion.RELEVANCE)
    assert pair.curated_grade == 2
    assert "1 graded today" in html_of(screen)


def test_seconds_and_note_are_kept_with_the_grade(app, small: Workspace) -> None:
    """Without the time nobody can say what a label costs."""
    screen = app("review")
    card = open_card(small)
    screen.text_input(key=f"review.note.{card.card}").set_value("only for iterables")
    press(screen, "related")
    history = labels.get_pair(small, pair_id=card.pair.pair_id, criterion=Criterion.RELEVANCE).history
    assert any(entry.note == "only for iterables" for entry in history)


def test_a_card_answered_elsewhere_is_refused_and_the_next_one_stays_ungraded(app, small: Workspace) -> None:
    """A late press that falls on the next card is a wrong label nobody notices."""
    screen = app("review")
    first = open_card(small)
    reviewing.grade(small, card=first.card, person=PERSON, grade=3, seconds=1.0)
    press(screen, "unrelated")
    assert screen.warning
    assert "already graded" in screen.warning[0].value
    assert reviewing.get_progress(small, person=PERSON, criterion=Criterion.RELEVANCE).graded == 1
    assert labels.get_pair(small, pair_id=first.pair.pair_id, criterion=Criterion.RELEVANCE).curated_grade == 3
    assert card_on(screen) != first.card


def test_undo_brings_the_pair_back(app, small: Workspace) -> None:
    """Without undo a slip of the finger is final."""
    screen = app("review")
    first = open_card(small)
    press(screen, "`0`")
    press(screen, "Undo")
    assert screen.success
    assert open_card(small).pair.pair_id == first.pair.pair_id
    assert reviewing.get_progress(small, person=PERSON, criterion=Criterion.RELEVANCE).graded == 0


def test_skip_serves_another_pair(app, small: Workspace) -> None:
    """A pair somebody cannot judge must not block their queue."""
    screen = app("review")
    first = open_card(small)
    press(screen, "Skip")
    assert open_card(small).pair.pair_id != first.pair.pair_id


def test_hostile_text_is_never_markup(app, small: Workspace) -> None:
    """A passage that runs in a reviewer's browser can grade in their name."""
    screen = app("review")
    seen = html_of(screen)
    while "data-card" in html_of(screen):
        seen += html_of(screen)
        press(screen, "`0`")
    assert "<mark>&lt;script&gt;</mark>window.hacked=1&lt;/script&gt; &amp; &lt;img src=x" in seen
    assert "&lt;b&gt;run&lt;/b&gt; a command" in seen
    assert "<script>" not in seen
    assert "<img" not in seen
    assert "<i>hostile" not in seen


def test_an_empty_queue_says_what_to_do_next(app, empty: Workspace) -> None:
    """An empty screen reads as broken."""
    screen = app("review")
    assert "The queue is empty" in html_of(screen)
    for word in ("not accepted", "spot-checks", "calibrates judges", "held out"):
        assert word in html_of(screen)
    assert "Overview" in screen.get("page_link")[0].label


def test_help_opens_on_request(app, small: Workspace) -> None:
    """Nobody finds keys that are written nowhere."""
    screen = press(app("review"), "Help")
    assert "rl-keys" in " ".join(element.proto.body for element in screen.get("html"))


@pytest.mark.parametrize("pair", ["unknown", "held by somebody else"])
def test_a_pair_that_cannot_be_opened_leaves_a_way_back(app, small: Workspace, pair: str) -> None:
    """A dead end in the middle of the queue stops the day's work."""
    from app import state

    held = reviewing.claim(small, person="somebody else", criterion=Criterion.RELEVANCE)
    assert held is not None
    screen = app("review")
    screen.session_state[state.WANTED_PAIR] = 10**9 if pair == "unknown" else held.pair.pair_id
    screen.run()
    assert screen.error
    press(screen, "Back to the queue")
    assert not screen.error
    assert card_on(screen)
