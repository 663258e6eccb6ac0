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
def page(address: str, browser: Any) -> Iterator[Any]:
    """A fresh browser page on the desk, its handler ready."""
    opened = browser.new_page()
    opened.goto(address)
    opened.wait_for_selector("[data-card]")
    opened.wait_for_timeout(1500)
    yield opened
    opened.close()


def log_of(page, *, at_least: int = 1) -> list[str]:
    """What the server dealt with: waits for that many entries, then until it has gone quiet."""
    page.wait_for_function(
        "n => { const log = document.querySelector('code').innerText.trim();"
        " return n === 0 || (log !== 'nothing' && log.split('\\n').length >= n) }",
        arg=at_least,
    )
    before = ""
    while (now := page.locator("code").inner_text()) != before:
        before = now
        page.wait_for_timeout(600)
    return [] if now.strip() == "nothing" else now.strip().splitlines()


@pytest.mark.parametrize("gap", [20, 80, 400])
def test_however_fast_the_keys_come_each_card_is_graded_once_and_in_order(page, gap: int) -> None:
    """A press that slips to the next card is a wrong label that nobody sees."""
    for number in range(10):
        page.keyboard.press(str(number % 4))
        page.wait_for_timeout(gap)
    log = log_of(page)
    assert log
    assert [entry.split()[:2] for entry in log] == [["graded", f"card-{number}"] for number in range(len(log))]


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
