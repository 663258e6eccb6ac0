"""The review desk: a button or key grades the card on screen and no other; hostile text stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.testing.v1 import AppTest

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.components.card import board_html
from app.services import labels, reviewing
from app.services.views import Card
from db.models import SeenPair

PERSON = "me"


def html_of(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.main.get("html"))


def card_on(app: AppTest) -> str:
    found = re.search(r'data-card="([^"]*)"', html_of(app))
    assert found is not None
    return found.group(1)


def turn_on(app: AppTest) -> int:
    found = re.search(r'data-turn="(\d+)"', html_of(app))
    assert found is not None
    return int(found.group(1))


def send(app: AppTest, event: str, value: dict[str, object]) -> AppTest:
    """What the browser's half of the key handler sends; AppTest has no browser."""
    component = app.main.get("bidi_component")[0].proto
    states = app._tree.get_widget_states()
    payload = json.dumps([{"event": event, "value": value}])
    states.widgets.add(id=_make_trigger_id(component.id, "events"), json_trigger_value=payload)
    app = app._run(states)
    assert not app.exception
    return app


def press(app: AppTest, key: str, *, card: str | None = None, turn: int | None = None, **rest: object) -> AppTest:
    """A key pressed while that card was on screen; by default the one that is."""
    value: dict[str, object] = {
        "card": card_on(app) if card is None else card,
        "key": key,
        "turn": turn_on(app) if turn is None else turn,
        "pressed_at": 0,
        **rest,
    }
    return send(app, "pressed", value)


def click(app: AppTest, label: str) -> AppTest:
    app = next(button for button in app.button if label in button.label).click().run()
    assert not app.exception
    return app


def refused_on(app: AppTest) -> bool:
    return "rl-refused" in html_of(app)


def rows_on(app: AppTest) -> dict[int, str]:
    """The rows of a list by pair, each with whether it takes a grade: yes, again or no."""
    found = re.findall(r'data-target="pair:(\d+)"[^>]*data-open="(\w+)"', html_of(app))
    return {int(pair): is_open for pair, is_open in found}


def open_card(workspace: Workspace) -> Card:
    card = reviewing.claim(workspace, person=PERSON, criterion=Criterion.RELEVANCE)
    assert card is not None
    return card


def test_a_grade_is_saved_and_the_next_card_shows(app, small: Workspace) -> None:
    """A grade that is lost between two cards is an hour of somebody's work."""
    screen = app("review")
    first = open_card(small)
    assert card_on(screen) == first.card
    press(screen, "2")
    assert card_on(screen) != first.card
    pair = labels.get_pair(small, pair_id=first.pair.pair_id, criterion=Criterion.RELEVANCE)
    assert pair.curated_grade == 2
    assert "1 graded today" in html_of(screen)


def test_seconds_and_note_are_kept_with_the_grade(app, small: Workspace) -> None:
    """Without the time nobody can say what a label costs."""
    screen = app("review")
    card = open_card(small)
    press(screen, "1", note=" only for iterables ")
    history = labels.get_pair(small, pair_id=card.pair.pair_id, criterion=Criterion.RELEVANCE).history
    assert any(entry.note == "only for iterables" for entry in history)


def test_a_card_answered_elsewhere_is_refused_and_the_next_one_stays_ungraded(app, small: Workspace) -> None:
    """A late press that falls on the next card is a wrong label nobody notices."""
    screen = app("review")
    first = open_card(small)
    reviewing.grade(small, card=first.card, person=PERSON, grade=3, seconds=1.0)
    press(screen, "0")
    assert refused_on(screen)
    assert "already graded" in html_of(screen)
    assert reviewing.get_progress(small, person=PERSON, criterion=Criterion.RELEVANCE).graded == 1
    assert labels.get_pair(small, pair_id=first.pair.pair_id, criterion=Criterion.RELEVANCE).curated_grade == 3
    assert card_on(screen) != first.card


def test_undo_brings_the_pair_back(app, small: Workspace) -> None:
    """Without undo a slip of the finger is final."""
    screen = app("review")
    first = open_card(small)
    press(screen, "0")
    press(screen, "u")
    assert "Taken back: 0 · unrelated" in html_of(screen)
    assert open_card(small).pair.pair_id == first.pair.pair_id
    assert reviewing.get_progress(small, person=PERSON, criterion=Criterion.RELEVANCE).graded == 0


def test_skip_serves_another_pair(app, small: Workspace) -> None:
    """A pair somebody cannot judge must not block their queue."""
    screen = app("review")
    first = open_card(small)
    press(screen, "s")
    assert open_card(small).pair.pair_id != first.pair.pair_id


def test_hostile_text_is_never_markup(app, small: Workspace) -> None:
    """A passage that runs in a reviewer's browser can grade in their name."""
    screen = app("review")
    seen = html_of(screen)
    while card_on(screen):
        seen += html_of(screen)
        press(screen, "0")
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
    screen = press(app("review"), "?")
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
    click(screen, "Back to the queue")
    assert not screen.error
    assert card_on(screen)


def test_a_press_from_before_the_screen_changed_is_refused(app, small: Workspace) -> None:
    """On a slow server a second press would revise a blind grade that its owner never saw revealed."""
    screen = app("review")
    card, turn = card_on(screen), turn_on(screen)
    press(screen, "a")
    press(screen, "3", card=card, turn=turn)
    assert refused_on(screen)
    assert reviewing.get_progress(small, person=PERSON).graded == 0
    press(screen, "3")
    assert reviewing.get_progress(small, person=PERSON).graded == 1


def test_where_several_are_asked_the_card_links_to_no_history(app, small: Workspace) -> None:
    """One click names who graded the pair before, and how: then the second grade is no grade of its own."""
    card, scale = open_card(small), reviewing.get_scale(small)
    progress = reviewing.get_progress(small, person=PERSON)
    for wanted, phase, linked in ((1, "grade", True), (2, "grade", False), (2, "revise", True)):
        drawn = board_html(replace(card, wanted=wanted, phase=phase), scale=scale, turn=0, progress=progress)
        assert ("labels?pair=" in drawn) == linked, (wanted, phase)


def test_blind_first_hides_the_proposal_then_shows_it_to_be_kept_or_revised(app, small: Workspace) -> None:
    """A grade given with the proposal in view measures nothing; one given blind without it teaches nobody."""
    screen = app("review")
    screen.toggle(key="review.desk.blind").set_value(True).run()
    card_before = card_on(screen)
    press(screen, "s")  # the card that was open had shown its proposal
    assert card_on(screen) != card_before
    assert "Judged blind" in html_of(screen)
    assert "Proposed grade" not in html_of(screen)
    press(screen, "3")
    assert 'data-phase="revise"' in html_of(screen)
    assert "You</span>" in html_of(screen)
    assert "Keep 3<" in html_of(screen)
    press(screen, "keep")
    assert 'data-phase="grade"' in html_of(screen)
    press(screen, "0")
    press(screen, "2")
    assert 'data-phase="grade"' in html_of(screen)
    assert reviewing.get_progress(small, person=PERSON).graded == 2


def test_a_flag_takes_a_note_and_undo_takes_it_back(app, small: Workspace) -> None:
    """A broken pair that is skipped by everybody is never mended."""
    screen = app("review")
    first = open_card(small)
    press(screen, "f", note="the passage is cut off")
    assert "Flagged" in html_of(screen)
    assert open_card(small).pair.pair_id != first.pair.pair_id
    press(screen, "f", note="  ")
    assert refused_on(screen)
    press(screen, "u")
    assert open_card(small).pair.pair_id == first.pair.pair_id


def test_a_row_of_the_list_is_graded_in_place_and_the_card_stays(app, small: Workspace) -> None:
    """Losing the card one reads by grading another is losing one's place."""
    screen = app("review")
    card = card_on(screen)
    pair_id = next(pair for pair, is_open in rows_on(screen).items() if is_open == "yes")
    press(screen, "2", card=f"pair:{pair_id}")
    assert card_on(screen) == card
    assert rows_on(screen)[pair_id] == "again"
    assert labels.get_pair(small, pair_id=pair_id).curated_grade == 2
    press(screen, "1", card=f"pair:{pair_id}")
    assert labels.get_pair(small, pair_id=pair_id).curated_grade == 1


def seen_by_somebody(workspace: Workspace) -> set[int]:
    with workspace.sessions.read() as session:
        return set(session.scalars(sa.select(SeenPair.pair_id)))


@pytest.mark.parametrize("view", ["beside the card", "whole query"])
def test_proposals_of_other_passages_are_shown_and_seen_only_once_asked_for(app, small: Workspace, view: str) -> None:
    """A list that tells what was proposed uses up whoever could have judged its pairs blind."""
    screen = app("review")
    if view == "whole query":
        press(screen, "l")
    others = set(rows_on(screen)) - {open_card(small).pair.pair_id}
    assert others
    assert not others & seen_by_somebody(small)
    shown = html_of(screen).count("proposed <i")
    assert shown == (view == "whole query")  # that of the card, which was in view before
    press(screen, "p")
    assert html_of(screen).count("proposed <i") > shown
    assert "Hide proposals" in html_of(screen)
    assert others & seen_by_somebody(small)
    screen.toggle(key="review.desk.blind").set_value(True).run()
    assert "proposals</span>" not in html_of(screen)


def test_a_whole_query_is_judged_on_one_screen(app, small: Workspace) -> None:
    """Passages that are judged side by side are judged alike."""
    screen = press(app("review"), "l")
    open_pairs = [pair for pair, is_open in rows_on(screen).items() if is_open == "yes"]
    assert len(open_pairs) == 4  # that of the card and the accepted one among them
    for pair_id in open_pairs:
        press(screen, "1", card=f"pair:{pair_id}")
    assert "yes" not in rows_on(screen).values()
    assert reviewing.get_progress(small, person=PERSON).graded == 4
    press(screen, "l")
    assert card_on(screen)


def test_picked_passages_get_one_grade_and_one_undo_takes_all_of_it_back(app, small: Workspace) -> None:
    """Bulk work that cannot be taken back at once is a morning of undoing."""
    screen = press(app("review"), "b")
    assert 'data-mode="several"' in html_of(screen)
    open_pairs = [pair for pair, is_open in rows_on(screen).items() if is_open == "yes"]
    press(screen, "0", card="several", pairs=open_pairs)
    assert "4 passages graded 0 · unrelated" in html_of(screen)
    assert [labels.get_pair(small, pair_id=pair).curated_grade for pair in open_pairs] == [0, 0, 0, 0]
    press(screen, "u")
    assert reviewing.get_progress(small, person=PERSON).graded == 0
    press(screen, "0", card="several", pairs=[])
    assert refused_on(screen)


def test_a_link_opens_one_pair_and_gives_way_to_the_queue(app, small: Workspace) -> None:
    """A pair that cannot be sent to a colleague is described in a mail instead."""
    waiting = reviewing.list_waiting(small)[-1]
    screen = app("review")
    screen.query_params["pair"] = str(waiting.pair_id)
    screen.run()
    assert f"Pair {waiting.pair_id}</a>" in html_of(screen)
    press(screen, "1")
    assert labels.get_pair(small, pair_id=waiting.pair_id).curated_grade == 1
    assert "pair" not in screen.query_params
    assert f"Pair {waiting.pair_id}</a>" not in html_of(screen)


def test_a_search_narrows_the_queue_and_can_be_taken_away(app, small: Workspace) -> None:
    """A filter that leaves nothing must not look like an empty queue."""
    screen = app("review")
    screen.text_input(key="review.desk.text").set_value("tolerance").run()
    assert "compare floats with a tolerance" in html_of(screen)
    screen.text_input(key="review.desk.text").set_value("nothing has these words").run()
    assert "Nothing waits that fits" in html_of(screen)
    click(screen, "Clear all filters")
    assert card_on(screen)
    assert screen.text_input(key="review.desk.text").value == ""


def test_a_card_that_lay_open_too_long_is_said_to_be_lost(app, small: Workspace) -> None:
    """Without a word the text changes under the reader's eyes."""
    screen = app("review")
    first = open_card(small)
    later = replace(small, now=lambda: small.now() + timedelta(hours=1))
    taken = reviewing.claim(later, person="somebody else", pair_id=first.pair.pair_id)
    assert taken is not None
    send(screen, "alive", {"card": first.card})
    assert "lay open too long" in html_of(screen)
    assert card_on(screen) != first.card


def test_a_card_is_held_on_to_while_its_reader_is_there(app, small: Workspace) -> None:
    """Ten minutes are short for a long passage."""
    screen = app("review")
    send(screen, "alive", {"card": card_on(screen)})
    assert not refused_on(screen)


def test_guidelines_stand_on_every_card(app, small: Workspace) -> None:
    """Rules that are in another window are not followed."""
    settings = small.settings.workspace / "relabel.toml"
    settings.write_text('name = "x"\nguidelines = "Judge <the> passage, not its author."\n', encoding="utf-8")
    assert "Judge &lt;the&gt; passage, not its author." in html_of(app("review"))
