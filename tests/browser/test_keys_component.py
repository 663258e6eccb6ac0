"""The key handler in a real browser: fast, held, repeated and foreign keys never grade a card that was not meant."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
_PRESSED_ON_ARRIVAL = """key => {
    window.pressedOnArrival = 0;
    const press = () => {
        window.pressedOnArrival += 1;
        const options = { key, code: "Digit" + key, bubbles: true, composed: true };
        document.body.dispatchEvent(new KeyboardEvent("keydown", options));
    };
    new MutationObserver((_, observer) => {
        if (document.querySelector("[data-card=card-1][data-settled=yes]") === null) return;
        observer.disconnect();
        press();
        setTimeout(press, 60);
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""
"""Presses the key as soon as the second card is there, and once more 60 ms later."""
ROOT = HERE.parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The desk of `keys_app.py`, served by Streamlit."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(HERE / "keys_app.py"), "--server.headless", "true"]
    with (tmp_path_factory.mktemp("keys") / "streamlit.log").open("wb") as log:
        server = subprocess.Popen([*command, "--server.port", str(port)], cwd=ROOT, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
            break
        except OSError:
            assert server.poll() is None, "Streamlit ended before it answered"
            assert time.monotonic() < deadline, "Streamlit did not answer within a minute"
            time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(timeout=20)


@pytest.fixture
def open_page(address: str, browser: Any) -> Iterator[Any]:
    """Opens fresh browser pages on the desk, their handlers ready."""
    pages = []

    def open_with(query: str = "") -> Any:
        opened = browser.new_page()
        pages.append(opened)
        opened.goto(address + query)
        opened.wait_for_selector("[data-ready=yes]")  # the handler has looked at the card
        return opened

    yield open_with
    for opened in pages:
        opened.close()


@pytest.fixture
def page(open_page: Any) -> Any:
    """A fresh browser page on the desk."""
    return open_page()


def log_of(page, *, at_least: int = 1) -> list[str]:
    """What the server dealt with: waits for that many entries, then until it has gone quiet."""
    page.wait_for_function(
        "n => { const log = (document.querySelector('code')?.innerText ?? 'nothing').trim();"
        " return n === 0 || (log !== 'nothing' && log.split('\\n').length >= n) }",
        arg=at_least,
    )
    before = ""
    while (now := page.locator("code").inner_text()) != before:
        before = now
        page.wait_for_timeout(600)
    return [] if now.strip() == "nothing" else now.strip().splitlines()


@pytest.mark.parametrize("gap", [20, 80, 200])
def test_however_fast_the_keys_come_each_card_is_graded_once_and_in_order(page, gap: int) -> None:
    """A press that slips to the next card is a wrong label that nobody sees."""
    for number in range(10):
        page.keyboard.press(str(number % 4))
        page.wait_for_timeout(gap)
    log = log_of(page)
    assert log
    assert [entry.split()[:2] for entry in log] == [["graded", f"card-{number}"] for number in range(len(log))]


def test_a_second_press_just_after_the_next_card_came_is_not_for_it(page) -> None:
    """A bouncing finger grades the card behind the one it read, now that the next card is there at once."""
    page.evaluate(_PRESSED_ON_ARRIVAL, "3")
    page.keyboard.press("2")
    assert log_of(page) == ["graded card-0 2"]
    assert page.evaluate("() => window.pressedOnArrival") == 2
    page.keyboard.press("1")
    assert log_of(page, at_least=2) == ["graded card-0 2", "graded card-1 1"]


def test_a_held_key_grades_one_card(page) -> None:
    """A key held for half a second once graded six cards."""
    for _ in range(15):
        page.keyboard.down("2")  # after the first, Playwright sends these as auto-repeat
        page.wait_for_timeout(40)
    page.keyboard.up("2")
    assert log_of(page) == ["graded card-0 2"]


def test_keys_that_are_not_ours_do_nothing(page) -> None:
    """A shortcut of the browser, or a number typed into a note, must not grade."""
    for key in ("Control+1", "Alt+2", "Meta+3", "4", "9", "c", "r"):
        page.keyboard.press(key)
    page.get_by_label("note").click()
    page.keyboard.type("3 of 0")
    page.keyboard.press("Tab")
    assert log_of(page, at_least=0) == []


def test_a_press_that_leaves_the_same_card_lets_keys_count_again(page) -> None:
    """An undo with nothing to undo must not leave a dead keyboard."""
    page.keyboard.press("u")
    assert log_of(page) == ["undo"]
    page.keyboard.press("1")
    assert log_of(page, at_least=2) == ["undo", "graded card-0 1"]


def test_a_double_click_grades_one_card(page) -> None:
    """The second click falls where the next card's button stands."""
    page.get_by_role("button", name="grade").dblclick()
    assert log_of(page) == ["graded card-0 button"]


def test_a_key_that_falls_into_a_reveal_does_not_revise(open_page) -> None:
    """A hand that is already on its way to the next card would overwrite a blind grade unseen."""
    page = open_page("?reveals=1")
    page.keyboard.press("1")
    page.wait_for_selector('[data-phase="revise"]')
    page.keyboard.press("3")
    assert log_of(page) == ["graded card-0 1"]
    page.keyboard.press("Enter")
    assert log_of(page, at_least=2)[1:] == ["graded card-0-revealed keep"]
    page.keyboard.press("Enter")  # nothing is revealed now, so Enter means nothing
    page.keyboard.press("2")
    assert log_of(page, at_least=3)[2:] == ["graded card-1 2"]
    page.keyboard.press("Space")
    assert log_of(page, at_least=4)[3:] == ["graded card-1-revealed keep"]


def test_arrows_choose_the_row_that_a_grade_goes_to(page) -> None:
    """A grade meant for a row of the list must not fall on the card beside it, nor the other way round."""
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("3")
    assert log_of(page) == ["row pair:2 3"]
    assert page.evaluate("() => document.activeElement.dataset.target") == "pair:2"  # still open, so it stays there
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    assert log_of(page, at_least=2) == ["row pair:2 3", "graded card-0 0"]


def test_picked_rows_are_graded_at_once_and_only_they(open_page) -> None:
    """One key for many is only safe if it is clear which many."""
    page = open_page("?several=1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("2")
    assert log_of(page) == ["picked 1,3 2"]


def test_a_flag_needs_a_note_and_a_note_types_no_grade(page) -> None:
    """A flag without a word helps nobody; a 3 in a note is no grade."""
    page.keyboard.press("f")
    page.keyboard.press("Enter")
    page.keyboard.press("f")
    page.keyboard.type("see page 3, u?")
    page.keyboard.press("Enter")
    assert log_of(page) == ["graded card-0 flag: see page 3, u?"]


def test_a_flag_that_was_begun_and_left_is_no_flag(page) -> None:
    """Who clicks into the field later writes a note, and its Enter took the pair from everybody."""
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    page.locator("[data-note]").click()
    page.keyboard.type("only a note")
    page.keyboard.press("Enter")
    assert log_of(page, at_least=0) == []
    page.keyboard.press("1")
    assert log_of(page) == ["graded card-0 1"]


def test_a_note_outlives_a_press_that_leaves_the_card(page) -> None:
    """Words that are gone after an undo are not typed twice."""
    page.keyboard.press("n")
    page.keyboard.type("unsure")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    assert log_of(page) == ["undo"]
    assert page.evaluate("() => document.querySelector('[data-note]').value") == "unsure"


def test_one_hand_is_enough(page) -> None:
    """The key left of 1 is a 0 on every keyboard, z undoes and the search needs no mouse."""
    page.keyboard.press("Backquote")
    assert log_of(page) == ["graded card-0 0"]
    page.keyboard.press("z")
    assert log_of(page, at_least=2)[1:] == ["undo"]
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.tagName") == "INPUT"
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    assert log_of(page, at_least=3)[2:] == ["graded card-1 1"]


def type_key(page, **event: object) -> None:
    """A key as another keyboard or an input method sends it, which Playwright cannot type."""
    page.evaluate(
        "event => document.body.dispatchEvent(new KeyboardEvent('keydown',"
        " { bubbles: true, composed: true, cancelable: true, ...event }))",
        event,
    )


@pytest.mark.parametrize(
    ("event", "what"),
    [
        ({"key": "é", "code": "Digit2"}, "graded card-0 2"),  # French: digits need Shift
        ({"key": "2", "code": "Digit2", "shiftKey": True}, "graded card-0 2"),
        ({"key": "٢", "code": "Digit2"}, "graded card-0 2"),  # Arabic
        ({"key": "2", "code": "Numpad2"}, "graded card-0 2"),
        ({"key": "^", "code": "Backquote"}, "graded card-0 0"),
        ({"key": "Dead", "code": "Backquote"}, "graded card-0 0"),
        ({"key": "г", "code": "KeyU"}, "undo"),  # Russian
        ({"key": "U", "code": "KeyU"}, "undo"),  # capitals are locked
    ],
)
def test_other_keyboards_have_the_same_keys(page, event: dict[str, object], what: str) -> None:
    """A desk that is silent on a French or Arabic keyboard is no desk for half of the reviewers."""
    type_key(page, **event)
    assert log_of(page) == [what]


def test_what_switches_scripts_or_composes_letters_grades_nothing(page) -> None:
    """On a Japanese keyboard the key left of 1 switches the input method, and was a grade of 0."""
    for key in ("ZenkakuHankaku", "Hankaku", "Process"):
        type_key(page, key=key, code="Backquote")
    type_key(page, key="2", code="Digit2", keyCode=229)
    type_key(page, key="2", code="Digit2", isComposing=True)
    type_key(page, key="²", code="Digit2", modifierAltGraph=True)
    type_key(page, key="~", code="Backquote", shiftKey=True)
    type_key(page, key='"', code="Digit2", shiftKey=True)
    assert log_of(page, at_least=0) == []
    page.keyboard.press("f")
    page.keyboard.type("ページ")
    page.evaluate(
        "() => document.activeElement.dispatchEvent(new KeyboardEvent('keydown',"
        " { key: 'Enter', code: 'Enter', keyCode: 229, bubbles: true, composed: true }))"
    )  # Safari: the Enter that ends a composition
    assert log_of(page, at_least=0) == []
    page.keyboard.press("Enter")
    assert log_of(page) == ["graded card-0 flag: ページ"]


def test_a_link_to_a_pair_keeps_who_follows_it_and_names_nobody_to_whom_it_is_sent(open_page) -> None:
    """Whoever looked at a pair's history came back as another person, and graded in that name."""
    page = open_page("?person=Bo%20%26%20Co")
    page.evaluate(
        "() => { document.querySelector('[data-card]').insertAdjacentHTML('beforeend',"
        ' \'<a href="review?pair=7" data-pair-link target="_blank">Pair 7</a>\') }'
    )
    with page.expect_popup() as opened:
        page.get_by_text("Pair 7").click()
    assert opened.value.url.endswith("review?pair=7&person=Bo%20%26%20Co")
    opened.value.close()
    assert page.get_by_text("Pair 7").get_attribute("href") == "review?pair=7"


def test_a_grade_for_a_row_never_falls_on_the_card_while_the_rows_are_on_their_way(open_page) -> None:
    """Who grades row after row would grade the card beside them, unread."""
    page = open_page("?late=1")
    page.wait_for_selector("[data-target]")
    page.keyboard.press("ArrowDown")
    for turn, grade in ((1, "1"), (2, "3")):
        page.wait_for_selector("[data-target]")
        page.keyboard.press(grade)
        page.wait_for_selector(f"[data-turn='{turn}'][data-ready=yes]")
        page.keyboard.press("2")  # the card is there again, its rows are not
    page.wait_for_selector("[data-target]")
    entries = log_of(page, at_least=2)
    assert entries[0] == "row pair:1 1"
    assert [entry.split()[0] for entry in entries] == ["row"] * len(entries)


def test_the_buttons_of_the_rows_go_to_the_row_that_is_pointed_at(open_page) -> None:
    """One group of buttons serves all rows; in the wrong row it grades a passage that nobody pointed at."""
    page = open_page("?late=1")
    page.wait_for_selector("[data-target]")
    for number in (1, 2):
        page.locator(f"[data-target='pair:{number}']").hover()
    page.get_by_role("button", name="two").click()
    assert log_of(page) == ["row pair:2 2"]


def test_a_long_passage_opens_at_its_evidence(page) -> None:
    """Evidence that has to be looked for costs more time than the grade."""
    seen = page.evaluate(
        "() => { const text = document.querySelector('[data-read]').getBoundingClientRect();"
        " const mark = document.querySelector('mark').getBoundingClientRect();"
        " return mark.top >= text.top && mark.bottom <= text.bottom }"
    )
    assert seen


def test_a_card_is_held_while_somebody_works_on_it_and_not_for_ever(open_page) -> None:
    """A lease that runs out under a reader loses their work; one that never does starves everybody else."""
    page = open_page("?renews=1")
    page.mouse.move(100, 100)
    assert log_of(page)[0] == "alive card-0"
    page.wait_for_timeout(4000)  # longer than somebody may be idle
    before = len(log_of(page))
    page.wait_for_timeout(2500)
    assert len(log_of(page)) == before
