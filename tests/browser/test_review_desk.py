"""A reviewer's day in a real browser: thirty cards by keyboard alone, and two people who never meet on one pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import reviewing
from db.models import PairState, Review
from small_desk import make_small_desk

ADA = "Ada"
Open = Callable[[], Any]
_CARD = "() => { const d = document.querySelector('[data-card]')?.dataset; return d && `${d.card} ${d.turn}` }"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the demo: a small queue without a model."""
    return make_small_desk(tmp_path_factory.mktemp("desk") / "workspace")


@pytest.fixture
def review(desk: Open) -> Callable[..., Any]:
    """Opens the review screen for a person, once keys count."""

    def open_review(person: str = ADA, *, query: str = "") -> Any:
        opened = desk()
        opened.open(f"review?person={person}{query}")
        opened.page.wait_for_selector("[data-ready=yes]")
        return opened

    return open_review


def card_on(desk: Any) -> str:
    return str(desk.page.evaluate("() => document.querySelector('[data-card]').dataset.card"))


def phase_of(desk: Any) -> str:
    return str(desk.page.evaluate("() => document.querySelector('[data-card]').dataset.phase"))


def press(desk: Any, key: str) -> None:
    """Presses a key and waits until the server has dealt with it and the screen shows that."""
    before = desk.page.evaluate(_CARD)
    desk.page.keyboard.press(key)
    desk.page.wait_for_function(
        f"before => {{ const now = ({_CARD})(); return now && now !== before"
        " && document.querySelector('[data-card]').dataset.ready === 'yes' }",
        arg=before,
    )


def pair_on(workspace: Workspace, desk: Any, *, person: str = ADA) -> int:
    """The pair of the card on screen, which is the one the server holds open for this person."""
    card = reviewing.claim(workspace, person=person)
    assert card is not None
    assert card.card == card_on(desk)
    return card.pair.pair_id


def reviews_of(workspace: Workspace, pair_id: int) -> list[tuple[str, int | None, str]]:
    """What was stored of a pair, oldest first: the act, the grade, and whether it was blind."""
    with workspace.sessions.read() as session:
        rows = session.scalars(sa.select(Review).where(Review.pair_id == pair_id).order_by(Review.id))
        return [(str(row.action), row.grade, str(row.visibility)) for row in rows]


def curated(workspace: Workspace, pair_id: int) -> int | None:
    with workspace.sessions.read() as session:
        return session.get_one(PairState, (pair_id, Criterion.RELEVANCE)).curated_grade


def test_thirty_cards_by_keyboard_alone(application: Any, review: Callable[..., Any]) -> None:
    """Whoever has to reach for the mouse at every tenth card grades half as many."""
    workspace, ada = application.workspace, review()
    done: list[tuple[int, int]] = []
    for number in range(30):
        pair_id = pair_on(workspace, ada)
        press(ada, str(number % 4))
        done.append((pair_id, number % 4))
    assert len({pair_id for pair_id, _ in done}) == 30
    assert reviewing.get_progress(workspace, person=ADA).graded == 30
    for pair_id, grade in done:
        assert curated(workspace, pair_id) == grade

    for pair_id, _ in reversed(done[-3:]):  # three steps back, one after the other
        press(ada, "u")
        assert pair_on(workspace, ada) == pair_id
    assert reviewing.get_progress(workspace, person=ADA).graded == 27

    skipped = pair_on(workspace, ada)
    press(ada, "s")
    assert pair_on(workspace, ada) != skipped

    flagged = pair_on(workspace, ada)
    ada.page.keyboard.press("f")
    ada.page.keyboard.type("3 words missing")
    before = card_on(ada)
    ada.page.keyboard.press("Enter")
    ada.page.wait_for_function("b => document.querySelector('[data-card]').dataset.card !== b", arg=before)
    ada.page.wait_for_selector("[data-ready=yes]")
    assert reviews_of(workspace, flagged)[-1] == ("flag", None, "shown")

    ada.page.keyboard.press("/")
    ada.page.keyboard.press("Escape")
    press(ada, "l")
    assert phase_of(ada) == "list"
    press(ada, "l")
    press(ada, "a")
    assert ada.page.locator(".rl-around").count() == 2


def test_blind_first_reveals_then_keeps_or_revises(application: Any, review: Callable[..., Any]) -> None:
    """A key meant for the next card must not revise the one that was just revealed."""
    workspace, ada = application.workspace, review()
    ada.page.locator("label", has_text="Blind first").click()
    press(ada, "s")
    pair_id = pair_shown(ada)
    assert "Judged blind" in ada.text()
    press(ada, "1")
    assert phase_of(ada) == "revise"
    press_after_reading(ada, "Enter")
    assert phase_of(ada) == "grade"
    assert reviews_of(workspace, pair_id) == [("grade", 1, "blind"), ("grade", 1, "shown")]

    pair_id = pair_shown(ada)
    press(ada, "0")
    press_after_reading(ada, "3")
    assert reviews_of(workspace, pair_id) == [("grade", 0, "blind"), ("grade", 3, "shown")]
    assert curated(workspace, pair_id) == 3


def pair_shown(desk: Any) -> int:
    """The pair as its own address on the card names it."""
    found = desk.page.evaluate("() => document.querySelector('.rl-foot a[href^=review]').innerText")
    return int(str(found).removeprefix("Pair "))


def press_after_reading(desk: Any, key: str) -> None:
    desk.page.wait_for_timeout(300)  # nobody reads faster, and the desk counts no key before
    press(desk, key)


def test_a_server_killed_under_an_open_desk_loses_nothing_and_the_desk_comes_back(
    application: Any, review: Callable[..., Any]
) -> None:
    """An expert whose morning is gone does not come back."""
    workspace, ada = application.workspace, review()
    done = []
    for grade in (3, 0, 1):
        done.append((pair_on(workspace, ada), grade))
        press(ada, str(grade))
    on_its_way = pair_on(workspace, ada)
    ada.page.keyboard.press("2")
    application.kill()
    ada.page.get_by_text("No connection. What you graded is saved").wait_for()
    ada.page.keyboard.press("0")  # nobody hears it
    application.start()
    ada.page.wait_for_selector("[data-offline]", state="detached")
    card = reviewing.claim(workspace, person=ADA)
    assert card is not None
    ada.page.wait_for_selector(f"[data-card='{card.card}'][data-turn='0'][data-ready=yes]")  # drawn by the new server
    ada.settle()
    for pair_id, grade in done:
        assert reviews_of(workspace, pair_id) == [("grade", grade, "shown")]
    stored = reviews_of(workspace, on_its_way)  # once or not at all, by whether it came before the end
    assert stored == ([] if card.pair.pair_id == on_its_way else [("grade", 2, "shown")])
    press(ada, "1")
    assert ("grade", 1, "shown") in reviews_of(workspace, card.pair.pair_id)
    assert reviewing.get_progress(workspace, person=ADA).graded == len(done) + len(stored) + 1
    ada.errors.clear()  # the browser's complaints about the lost server


def test_two_people_never_see_the_same_pair(application: Any, review: Callable[..., Any]) -> None:
    """Two people on one pair is half of the work thrown away."""
    workspace, ada, bo = application.workspace, review(), review("Bo")
    seen: dict[str, list[int]] = {ADA: [], "Bo": []}
    for number in range(8):
        for name, desk in ((ADA, ada), ("Bo", bo)):
            seen[name].append(pair_on(workspace, desk, person=name))
        assert seen[ADA][-1] != seen["Bo"][-1]
        before = [desk.page.evaluate(_CARD) for desk in (ada, bo)]
        for desk in (ada, bo):  # at once, not one after the other
            desk.page.keyboard.press(str(number % 4))
        for desk, was in zip((ada, bo), before, strict=True):
            desk.page.wait_for_function(f"was => {{ const now = ({_CARD})(); return now && now !== was }}", arg=was)
            desk.page.wait_for_selector("[data-ready=yes]")
    assert not set(seen[ADA]) & set(seen["Bo"])
    assert reviewing.get_progress(workspace, person=ADA).graded == 8
    assert reviewing.get_progress(workspace, person="Bo").graded == 8
