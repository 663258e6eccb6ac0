"""Adjudicate, Work and People in a real browser: nobody is named too early, and nobody does what is not theirs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace, open_workspace
from builders import TOPICS, pair_ids, passage_ids, query_id
from db.enums import ReviewAction, Role
from db.models import Review
from disputed import say, with_role
from small_desk import make_small_desk
from worked import all_pairs, said, say_all

ADALBERT, BODIL = "Adalbert Quill", "Bodil Reed"
OLGA, GRACE = "Olga", "Grace"
FIRST, SECOND, THIRD = TOPICS[0], TOPICS[1], TOPICS[2]
JUDGE = "scripted"
Open = Callable[[], Any]
# The page without what is folded away: the last decision, which names whom it was about.
_OPEN_CASE = """() => {
    const page = document.body.cloneNode(true);
    page.querySelectorAll("details").forEach(one => one.remove());
    return page.innerHTML;
}"""
_CARD = "() => { const d = document.querySelector('[data-card]')?.dataset; return d && `${d.card} ${d.turn}` }"


def pair_of(workspace: Workspace, topic: Any) -> int:
    return pair_ids(workspace)[query_id(topic), passage_ids(topic)[0]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the demo: two disputes, a flag, 24 timed labels, an adjudicator and an owner."""
    folder = make_small_desk(tmp_path_factory.mktemp("desk") / "workspace")
    workspace = open_workspace(folder)
    with_role(workspace, OLGA, Role.ADJUDICATOR)
    with_role(workspace, GRACE, Role.OWNER)
    for topic in (FIRST, SECOND):
        say(workspace, pair_of(workspace, topic), ADALBERT, 0, note="off the point")
        say(workspace, pair_of(workspace, topic), BODIL, 3, note="it answers")
    say(workspace, pair_of(workspace, THIRD), BODIL, None, note="is the photo part of it?")
    quiet = [pair for key, pair in all_pairs(workspace).items() if key[0] not in {query_id(t) for t in TOPICS[:3]}]
    now = datetime.now(UTC)
    say_all(workspace, [said(pair, ADALBERT, 1, seconds=12.0, created_at=now) for pair in quiet[:24]])
    workspace.close()
    return folder


@pytest.fixture(scope="module")
def application(shared_application: Any) -> Any:
    """One server for this file; each test has pairs of its own."""
    return shared_application


@pytest.fixture
def screen(desk: Open) -> Callable[[str], Any]:
    """Opens an address of the application, drawn to its end."""

    def open_screen(address: str) -> Any:
        opened = desk()
        opened.open(address)
        return opened

    return open_screen


def press(desk: Any, key: str) -> None:
    """Presses a key and waits until the server has dealt with it and the screen shows that."""
    desk.page.wait_for_selector("[data-ready=yes]")
    before = desk.page.evaluate(_CARD)
    desk.page.keyboard.press(key)
    desk.page.wait_for_function(f"before => ({_CARD})() !== before", arg=before)
    desk.settle()


def decisions(workspace: Workspace) -> list[tuple[int, int | None]]:
    with workspace.sessions.read() as session:
        rows = session.scalars(
            sa.select(Review).where(Review.action == ReviewAction.ADJUDICATE).order_by(Review.id)
        ).all()
        return [(row.pair_id, row.grade) for row in rows]


def test_nobody_is_named_anywhere_on_the_page_until_the_case_is_decided(application: Any, screen: Any) -> None:
    """Who said it decides in place of the text, when a look at the page's source is enough to know."""
    workspace, first = application.workspace, pair_of(application.workspace, FIRST)
    olga = screen(f"adjudicate?person={OLGA}&pair={first}")

    def case_is_hidden() -> None:
        page = olga.page.content()
        assert "off the point" in page, "the case is there"
        for hidden in (ADALBERT, BODIL, JUDGE):
            assert hidden not in page

    case_is_hidden()
    press(olga, "2")
    olga.page.get_by_text("Decided: 2").wait_for()
    shown = olga.page.content()
    assert ADALBERT in shown
    assert BODIL in shown
    assert JUDGE in shown
    assert decisions(workspace) == [(first, 2)]

    press(olga, "u")
    olga.page.get_by_text("Taken back").wait_for()
    case_is_hidden()
    press(olga, "1")
    olga.page.get_by_text("Decided: 1").wait_for()
    assert decisions(workspace) == [(first, 2), (first, 1)]


def test_a_flag_is_sent_back_with_an_answer_that_its_author_finds(application: Any, screen: Any) -> None:
    """Who asks about a pair never learns what came of it, and asks no more."""
    flagged = pair_of(application.workspace, THIRD)
    olga = screen(f"adjudicate?person={OLGA}&pair={flagged}")
    assert BODIL not in olga.page.evaluate(_OPEN_CASE)
    olga.page.get_by_role("textbox", name="Note", exact=True).fill("Yes, judge it with the photo.")
    olga.page.keyboard.press("Tab")
    olga.settle()
    olga.page.get_by_role("button", name="Back to the queue, no grade").click()
    olga.page.get_by_text("is settled without a grade").wait_for()

    bodil = screen(f"work?person={BODIL}")
    found = bodil.text()
    assert "is the photo part of it?" in found
    assert "settled without a grade: “Yes, judge it with the photo.”" in found
    assert OLGA not in found


def test_my_work_is_ones_own_and_says_from_how_many(screen: Any) -> None:
    """A pace from three cards, or a list of colleagues' pace that is open to all of them."""
    adalbert = screen(f"work?person={ADALBERT}")
    found = adalbert.text()
    assert "300" in found, "24 labels of 12 s each"
    assert "n = 24 in 0.1 h" in found
    assert ", 26 in all" in found, "and the two disputed ones, which have no time"
    page = adalbert.page.content()
    for other in (BODIL, OLGA, "Whose work"):
        assert other not in page

    grace = screen(f"work?person={GRACE}")
    assert "Whose work" in grace.page.content()
    assert BODIL in grace.text()


def test_a_reviewer_opens_no_case_and_no_ones_rights(application: Any, screen: Any) -> None:
    """Anybody settles their own dispute, gives roles, or takes a colleague's labels out of use."""
    workspace, second = application.workspace, pair_of(application.workspace, SECOND)
    before = decisions(workspace)
    bodil = screen(f"adjudicate?person={BODIL}&pair={second}")
    assert bodil.page.locator("[data-card]").count() == 0
    assert f"They are: {GRACE}, {OLGA}." in bodil.text()
    assert "off the point" not in bodil.page.content()
    bodil.page.keyboard.press("3")
    bodil.page.get_by_text("People and roles").click()
    bodil.page.get_by_text("Only an owner gives roles").wait_for()
    assert bodil.page.get_by_role("button", name="Give this role").count() == 0
    assert "Last seen" not in bodil.text()
    assert decisions(workspace) == before

    bodil.go("Lineage")
    bodil.page.get_by_role("radio", name="A judge or reviewer").click()
    bodil.page.get_by_text("Only an owner of the workspace may do this.").wait_for()
    assert bodil.page.get_by_role("button", name="Revoke").count() == 0

    grace = screen(f"adjudicate?person={GRACE}")
    grace.page.get_by_text("People and roles").click()
    grace.page.get_by_role("button", name="Give this role").wait_for()
    assert "Last seen" in grace.text()
