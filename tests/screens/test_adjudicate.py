"""The Adjudicate screen: nobody is named before the decision, each decision meets its own case, owners give roles."""

from __future__ import annotations

import json
import re

import pytest
import sqlalchemy as sa
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.testing.v1 import AppTest

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import adjudicating, labels, people
from db.enums import ReviewAction, Role
from db.models import Review
from disputed import say, with_role

PERSON = "me"


@pytest.fixture
def disputed(small: Workspace) -> Workspace:
    """Two disputed pairs and a flagged one; `me` counts as the owner, because nobody is one."""
    for pair_id in (2, 3):
        say(small, pair_id, "Ada <b>x</b>", 0, note="<img src=x onerror=alert(1)>")
        say(small, pair_id, "Bo", 3, note="it answers")
    say(small, 6, "Ada <b>x</b>", None, note="is this text complete?")
    return small


def html_of(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.main.get("html"))


def with_people(app: AppTest) -> AppTest:
    """The screen with the part about people and roles opened."""
    app.session_state["people.open"] = True
    app.run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    app = next(button for button in app.button if label in button.label).click().run()
    assert not app.exception
    return app


def notices(app: AppTest) -> str:
    return " ".join(one.value for one in (*app.success, *app.warning)).replace("\\", "")


def case_on(app: AppTest) -> str:
    found = re.search(r'data-card="([^"]+)"', html_of(app))
    assert found is not None
    return found.group(1)


def send_key(app: AppTest, key: str, *, turn: int) -> AppTest:
    """A key that the browser sends while that turn is on screen."""
    component = app.main.get("bidi_component")[0].proto
    states = app._tree.get_widget_states()
    value = {"card": case_on(app), "key": key, "turn": turn, "pressed_at": 0}
    payload = json.dumps([{"event": "pressed", "value": value}])
    states.widgets.add(id=_make_trigger_id(component.id, "events"), json_trigger_value=payload)
    app = app._run(states)
    assert not app.exception
    return app


def test_a_key_from_before_the_screen_changed_takes_back_no_second_decision(app, disputed: Workspace) -> None:
    """On a slow server an impatient second `u` would undo a decision that nobody meant."""
    screen = app("adjudicate")
    for turn, key in enumerate(("1", "2")):
        send_key(screen, key, turn=turn)
    assert "Decided" in notices(screen)
    send_key(screen, "u", turn=2)
    assert "Taken back" in notices(screen)
    send_key(screen, "u", turn=2)
    assert "before the screen had changed" in notices(screen)
    with disputed.sessions.read() as session:
        undone = session.scalars(sa.select(Review).where(Review.action == ReviewAction.UNDO)).all()
    assert len(undone) == 1


def test_labels_names_nobody_either_before_it_is_decided(disputed: Workspace) -> None:
    """The names that the case hides stand one screen further on, beside the filter for what people differ about."""

    def named() -> set[str]:
        return {entry.who for entry in labels.get_pair(disputed, pair_id=2).history}

    assert named() & {"a reviewer", "Bo"} == {"a reviewer"}
    case = adjudicating.open_case(disputed, person=PERSON, pair_id=2)
    assert case is not None
    adjudicating.decide(disputed, card=case.card, person=PERSON, grade=2)
    assert "Bo" in named()


def test_names_and_proposals_come_after_the_decision(app, disputed: Workspace) -> None:
    """Who said it decides in place of the text; or nobody ever learns who disagreed."""
    screen = app("adjudicate")
    assert "3 pairs of 2 questions · 2 disputed · 1 flagged" in html_of(screen)
    before = html_of(screen)
    assert "Reviewer A" in before
    assert "Ada" not in before
    assert "Bo<" not in before
    assert "local" not in before, "the judge is not named"
    assert "words of the query are in the passage" not in before, "nor is its reason given"
    assert "it answers" in before
    screen.text_input(key=f"adjudicate.note.{case_on(screen)}").set_value("the second sentence says so")
    screen = press(screen, "`2`")
    after = next(one.proto.body for one in screen.main.get("html") if "You decided" in one.proto.body)
    assert "Decided: 2" in notices(screen)
    assert "Ada &lt;b&gt;x&lt;/b&gt;" in after
    assert "words of the query are in the passage" in after
    assert "the second sentence says so" in after
    settled = adjudicating.get_last_settled(disputed, person=PERSON)
    assert settled is not None
    assert (settled.grade, settled.note) == (2, "the second sentence says so")
    with disputed.sessions.read() as session:
        taken = session.scalar(sa.select(Review.seconds).where(Review.action == ReviewAction.ADJUDICATE))
    assert taken is not None
    assert 0 < taken < 600, "how long it took is kept"
    assert labels.get_pair(disputed, pair_id=settled.pair.pair_id).curated_grade == 2


def test_what_people_wrote_is_shown_as_text(app, disputed: Workspace) -> None:
    """A note runs as a script in the browser of whoever has the most rights."""
    screen = app("adjudicate")
    for _ in range(2):
        shown = html_of(screen)
        assert "<img" not in shown
        assert "Ada <b>" not in shown
        screen = press(screen, "`1`")
    assert "&lt;img src=x onerror=alert(1)&gt;" in html_of(screen)


def test_each_click_decides_the_case_on_screen_and_the_next_comes(app, disputed: Workspace) -> None:
    """The decision meant for one pair lands on another."""
    screen = app("adjudicate")
    seen = []
    while "data-card" in html_of(screen):
        card = case_on(screen)
        pair_id = adjudicating.pair_of(card)
        seen.append(pair_id)
        screen = press(screen, "`1`")
        assert labels.get_pair(disputed, pair_id=pair_id).curated_grade == 1
    assert sorted(seen) == [2, 3, 6]
    assert "Nothing to settle" in html_of(screen)
    screen = press(screen, "Undo my last decision")
    assert adjudicating.pair_of(case_on(screen)) == seen[-1]


def test_a_flag_goes_back_to_the_queue(app, disputed: Workspace) -> None:
    """A question about a pair can only be answered with a grade."""
    screen = app("adjudicate")
    assert not any("Back to the queue" in button.label for button in screen.button), "not for a dispute"
    screen = press(press(screen, "`1`"), "`1`")
    assert "is this text complete?" in html_of(screen)
    screen = press(screen, "Back to the queue")
    assert "settled without a grade" in notices(screen)
    assert adjudicating.list_cases(disputed, person=PERSON).total == 0
    assert labels.get_pair(disputed, pair_id=6).curated_grade is None


def test_a_case_put_off_comes_again_after_the_others(app, disputed: Workspace) -> None:
    """A hard case blocks the desk, or disappears."""
    screen = app("adjudicate")
    seen = []
    for _ in range(4):
        seen.append(adjudicating.pair_of(case_on(screen)))
        screen = press(screen, "Later")
    assert sorted(seen[:3]) == [2, 3, 6]
    assert seen[3] == seen[0]


def test_a_decision_on_a_case_that_changed_is_refused_and_shown_anew(app, disputed: Workspace) -> None:
    """An opinion given a second ago is overruled unread."""
    screen = app("adjudicate")
    pair_id = adjudicating.pair_of(case_on(screen))
    say(disputed, pair_id, "Cy", 2, note="read this first")
    screen = press(screen, "`0`")
    assert "meanwhile" in notices(screen)
    assert "read this first" in html_of(screen)
    assert adjudicating.pair_of(case_on(screen)) == pair_id
    press(screen, "`2`")
    assert labels.get_pair(disputed, pair_id=pair_id).curated_grade == 2


def test_a_reviewer_sees_how_much_waits_and_decides_nothing(app, disputed: Workspace) -> None:
    """Anybody overrules their colleagues; or a reviewer finds an error in place of an explanation."""
    with_role(disputed, "Olga", Role.OWNER)
    screen = app("adjudicate")
    assert "data-card" not in html_of(screen)
    assert not any("`1`" in button.label for button in screen.button)
    assert any("They are: Olga" in one.value.replace("\\", "") for one in screen.info)
    assert "2 disputed" in html_of(screen)
    screen = with_people(screen)
    assert not [button for button in screen.button if button.label == "Give this role"]
    assert "Last seen" not in html_of(screen), "who did how much is for owners"


def test_an_owner_gives_a_role_on_the_screen(app, disputed: Workspace) -> None:
    """Roles can only be given by somebody with a terminal on the server."""
    screen = with_people(app("adjudicate"))
    screen.selectbox(key="people.name").set_value("Bo")
    screen.selectbox(key="people.new_role").set_value("adjudicator")
    screen = press(screen, "Give this role")
    assert "Bo is an adjudicator now" in notices(screen)
    assert {one.name: one.role for one in people.list_people(disputed)}["Bo"] is Role.ADJUDICATOR
    assert "Roles given, newest first" in html_of(screen)


def test_the_only_owner_stays_one(app, disputed: Workspace) -> None:
    """Nobody is left who may give roles."""
    people.claim_ownership(disputed, name=PERSON)
    screen = with_people(app("adjudicate"))
    screen.selectbox(key="people.name").set_value(PERSON)
    screen.selectbox(key="people.new_role").set_value("reviewer")
    screen = press(screen, "Give this role")
    assert "only owner" in notices(screen)


def test_an_empty_workspace_says_how_cases_come_to_be(app, empty: Workspace) -> None:
    """A newcomer who opens the screen finds an error, or a blank page."""
    screen = app("adjudicate")
    assert "Nothing to settle" in html_of(screen)
    assert "overlap" in html_of(screen)
    assert adjudicating.list_cases(empty, person=PERSON, criterion=Criterion.RELEVANCE).total == 0
