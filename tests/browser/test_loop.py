"""The loop in a real browser, on the real application and its worker: review, retrain, promote, roll back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from app.bootstrap import Workspace
from app.services import labels, reviewing, runs
from app.services.promotion import get_live_view
from app.services.views import PairView
from db.enums import RunStatus

ADA = "Ada"
RUN_TAKES = 240_000  # milliseconds, on a slow machine
Open = Callable[[], Any]


def pair_on(desk: Any, workspace: Workspace) -> PairView:
    """The pair of the card on screen, which must be the one that the server holds open for this person."""
    card = reviewing.claim(workspace, person=ADA)
    assert card is not None
    desk.page.locator(f'[data-card="{card.card}"]').wait_for()
    assert card.pair.passage_text[:60].split()[0] in desk.text()
    return card.pair


def press(desk: Any, key: str) -> None:
    """Press a key and wait until another card, or the same one after an undo, is on screen."""
    desk.page.wait_for_selector("[data-ready=yes]")
    before = identity(desk)
    desk.page.keyboard.press(key)
    wait_for_another(desk, before)


def identity(desk: Any) -> str:
    return str(
        desk.page.evaluate(
            "() => { const d = document.querySelector('[data-card]').dataset; return `${d.card} ${d.turn}` }"
        )
    )


_TWICE = """keys => keys.forEach((key, at) => setTimeout(() => document.body.dispatchEvent(
    new KeyboardEvent("keydown", { key, code: "Digit" + key, bubbles: true, composed: true })), 90 * at))"""
"""Two presses as a finger that bounces gives them, timed in the page itself."""


def wait_for_another(desk: Any, before: str) -> None:
    desk.page.wait_for_function(
        "before => { const d = document.querySelector('[data-card]')?.dataset; "
        "return d && `${d.card} ${d.turn}` !== before }",
        arg=before,
    )


def grades_of(workspace: Workspace, pair: PairView) -> list[str]:
    """What this person did with a pair, oldest first, as its history says."""
    return [entry.what for entry in labels.get_pair(workspace, pair_id=pair.pair_id).history if entry.who == ADA]


def graded(workspace: Workspace) -> int:
    return reviewing.get_progress(workspace, person=ADA).graded


def test_each_key_press_saves_one_review_of_the_card_on_screen(application: Any, desk: Open) -> None:
    """A grade that is lost, doubled or given to the next card is a wrong label that nobody sees."""
    workspace, ada = application.workspace, desk()
    ada.open("review")
    done: list[PairView] = []
    for grade in (0, 1, 2, 3):
        pair = pair_on(ada, workspace)
        press(ada, str(grade))
        assert grades_of(workspace, pair) == [f"graded {grade} (saw the suggestion)"]
        done.append(pair)
        assert graded(workspace) == len(done)
    assert len({pair.pair_id for pair in done}) == 4

    skipped = pair_on(ada, workspace)
    press(ada, "s")
    assert pair_on(ada, workspace).pair_id != skipped.pair_id
    press(ada, "u")
    assert pair_on(ada, workspace).pair_id == skipped.pair_id
    assert grades_of(workspace, skipped) == ["skip", "took back the review before"]
    press(ada, "u")
    assert pair_on(ada, workspace).pair_id == done[-1].pair_id
    assert graded(workspace) == 3
    press(ada, "2")
    assert labels.get_pair(workspace, pair_id=done[-1].pair_id).curated_grade == 2

    ada.page.wait_for_selector("[data-ready=yes]")
    before = identity(ada)
    for _ in range(20):  # held for most of a second; after the first, Playwright sends these as auto-repeat
        ada.page.keyboard.down("1")
        ada.page.wait_for_timeout(40)
    ada.page.keyboard.up("1")
    wait_for_another(ada, before)
    assert graded(workspace) == 5
    for _ in range(3):
        pair = pair_on(ada, workspace)
        ada.page.wait_for_selector("[data-ready=yes]")
        before = identity(ada)
        ada.page.evaluate(_TWICE, ["0", "3"])
        wait_for_another(ada, before)
        ada.page.wait_for_timeout(200)  # the second press has come by then
        assert grades_of(workspace, pair) == ["graded 0 (saw the suggestion)"]
    assert graded(workspace) == 8

    ada.page.reload()
    pair_on(ada, workspace)
    assert "8 graded today" in ada.text()
    ada.page.goto(f"{application.address}/labels?reviewed=yes")
    ada.page.get_by_text("1 to 8 of 8 pairs").wait_for()
    ada.page.goto(f"{application.address}/labels?pair={done[0].pair_id}")
    ada.page.get_by_text("graded 0 (saw the suggestion)").wait_for()


def start_run(desk: Any) -> None:
    desk.page.get_by_role("button", name="Retrain").click()
    desk.page.get_by_role("button", name="Cancel this run").wait_for()


@pytest.mark.timeout(600)
def test_one_click_retrains_and_an_owner_promotes_and_rolls_back(application: Any, desk: Open) -> None:
    """The whole loop; a part that works alone and not in the chain is found here."""
    workspace, ada, late = application.workspace, desk(), desk()
    first = get_live_view(workspace)
    assert first is not None
    ada.open("review")
    for grade in (3, 0, 3, 1, 2, 3):
        press(ada, str(grade))
    ada.go("Train")
    assert "6 from people" in ada.text()
    late.open("train")
    start_run(ada)
    ada.page.get_by_text(re.compile("Run 1, .*label set")).wait_for()
    late.page.get_by_role("button", name="Retrain").click()  # this page does not know of the run yet
    late.page.get_by_text(re.compile("Run 1, .*label set")).wait_for()
    assert len(runs.list_runs(workspace)) == 1
    ada.page.close()

    back = desk()
    back.open("train")
    back.page.get_by_text(re.compile("Run 1, .*label set|Run 1 finished")).first.wait_for()
    back.page.get_by_role("heading", name="Run 1 finished").wait_for(timeout=RUN_TAKES)
    back.settle()
    run = runs.get_run(workspace, run_id=1)
    assert run.model is not None
    assert run.evaluation is not None
    shown = back.text()
    assert "nDCG@10" in shown
    assert "95 % interval" in shown
    assert f"{run.evaluation.n_queries} held-out questions" in shown
    assert "Questions that got better" in shown
    assert "The gate does not pass this model" in shown  # 19 questions are too few to prove anything
    late.page.get_by_role("heading", name="Run 1 finished").wait_for()

    back.page.get_by_label("Reason to promote it all the same").fill("To see it live in the demo.")
    back.page.get_by_role("button", name="Promote against the gate").click()
    back.page.get_by_text("The new model is live.").wait_for()
    back.go("Overview")
    back.page.get_by_text(f"Held-out nDCG@10 of {run.model.name}").wait_for()
    live = get_live_view(workspace)
    assert live is not None
    assert live.id == run.model.id

    back.go("Train")
    assert "To see it live in the demo." in back.text()
    back.page.get_by_role("button", name="Roll back").click()
    back.page.get_by_role("textbox", name="Reason", exact=True).fill("The trial is over.")
    back.page.get_by_test_id("stFormSubmitButton").get_by_role("button", name="Roll back").click()
    back.page.get_by_text("Rolled back: the model before it is live again.").wait_for()
    back.go("Overview")
    back.page.get_by_text(f"Held-out nDCG@10 of {first.name}").wait_for()

    back.go("Train")
    start_run(back)
    back.page.get_by_role("heading", name="Retraining").wait_for()
    back.page.get_by_role("button", name="Cancel this run").click()
    back.page.get_by_role("heading", name="Run 2 was cancelled").wait_for(timeout=RUN_TAKES)
    assert runs.get_run(workspace, run_id=2).status is RunStatus.CANCELLED
    assert back.page.get_by_role("button", name="Retrain").is_enabled()


def test_every_screen_opens_without_an_error(application: Any, desk: Open) -> None:
    """A screen that breaks only in a real browser is found by the first user otherwise."""
    ada = desk()
    ada.open()
    for title in ("Labels", "Review", "Train", "Data", "Search", "Overview"):
        ada.go(title)
        ada.check()
    pair = labels.list_labels(application.workspace, limit=1).rows[0]
    ada.open(f"labels?pair={pair.pair_id}")
    assert pair.query in ada.text()
    ada.open("search")
    ada.page.get_by_label("Question").fill("merge two sorted streams lazily")
    ada.page.get_by_role("button", name="Search").click()
    ada.page.get_by_role("listitem").first.wait_for()
