"""The served application and a real browser on it, for benches: what a key press and a click take, by the page's clock.

A time runs from the browser's event to the first frame in which what was asked for stands on screen. Nothing is judged
here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.chromium import BrowserMissing, launch

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 1280, 720
_STARTS_WITHIN = 120.0
_PATIENCE_MS = 30_000
_WATCH = """() => {
  const heard = { pressed: null, card: null, turn: null, cardShown: null, turnShown: null };
  window.relabelBench = heard;
  const look = () => document.querySelector("[data-card]")?.dataset;
  const painted = (then) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => then(performance.now());
    channel.port2.postMessage(0);
  });
  window.addEventListener("keydown", (event) => {
    if (event.repeat) return;
    Object.assign(heard, { pressed: event.timeStamp, cardShown: null, turnShown: null });
    Object.assign(heard, { card: look()?.card, turn: look()?.turn });
  }, true);
  let asked = { card: null, turn: null };
  new MutationObserver(() => {
    const now = look();
    if (heard.pressed === null || now === undefined) return;
    if (now.card !== heard.card && now.card !== "" && heard.cardShown === null && asked.card !== heard.pressed) {
      asked.card = heard.pressed;
      painted((at) => { heard.cardShown = at; });
    }
    if (now.turn !== heard.turn && heard.turnShown === null && asked.turn !== heard.pressed) {
      asked.turn = heard.pressed;
      painted((at) => { heard.turnShown = at; });
    }
  }).observe(document.documentElement, { subtree: true, childList: true, attributes: true });
}"""
_OPENED = """(title) => new Promise((resolve, reject) => {
  const links = [...document.querySelectorAll("[data-testid=stSidebarNav] a")];
  const link = links.find((a) => a.textContent.trim().endsWith(title)); // an icon's name comes before it
  if (link === undefined) return reject(new Error(`no link to ${title}`));
  const begun = performance.now();
  let drawn = null;
  const look = () => {
    const here = document.querySelector("h1")?.textContent.trim() === title;
    const still = document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "notRunning";
    const ready = here && still && document.querySelector("[data-stale=true]") === null;
    if (!ready) drawn = null;
    else if (drawn === null) drawn = performance.now();
    else if (performance.now() - drawn > 100) return resolve(drawn - begun);
    if (performance.now() - begun > 30000) return reject(new Error(`${title} did not open`));
    requestAnimationFrame(look);
  };
  link.click();
  requestAnimationFrame(look);
})"""


@dataclass(frozen=True, slots=True)
class Press:
    """One key press; `ms` until another card stood there, or, with `revealed`, the same one with its proposal."""

    ms: float
    revealed: bool


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of `relabel serve` on that workspace, with its worker; ended with all its processes.

    Raises:
        RuntimeError: it ends by itself or does not answer within two minutes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve", "--workspace", str(folder), "--port", str(port)],
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "OPENAI_API_KEY")},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + _STARTS_WITHIN
            while not _answers(address):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"relabel serve does not answer:\n{log.read().decode(errors='replace')}")
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
        return True
    return False


@contextmanager
def page_in_chromium() -> Iterator[Any]:
    """A page of 1280 x 720 in a Chromium of its own.

    Raises:
        BrowserMissing: there is none.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as exc:
        raise BrowserMissing("Playwright is not installed: pip install -e .[test]") from exc
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(_PATIENCE_MS)
        try:
            yield page
        finally:
            browser.close()


def open_desk(page: Any, address: str, *, person: str) -> float:
    """Opens the Review screen for that person with a card on it; milliseconds from the address to the card."""
    begun = time.perf_counter()
    page.goto(f"{address}/review?person={person}")
    page.locator("[data-card]:not([data-card=''])").first.wait_for()
    taken = (time.perf_counter() - begun) * 1000
    page.locator("[data-ready=yes]").first.wait_for()  # keys count from then on
    settle(page)
    page.evaluate(_WATCH)
    return taken


def settle(page: Any) -> None:
    """Until the script has run to its end and drawn everything."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_function("() => !document.querySelector('[data-stale=true]')")


def press(page: Any, key: str, *, pause_ms: float) -> Press:
    """Presses a key on the open card, waits for what comes of it, and rests as a reader does."""
    page.keyboard.press(key)
    page.wait_for_function("() => relabelBench.cardShown !== null || relabelBench.turnShown !== null")
    settle(page)
    page.locator("[data-ready=yes]").first.wait_for()  # sooner, a press is taken for the second of a double one
    page.wait_for_timeout(pause_ms)
    heard = page.evaluate("() => ({ ...relabelBench })")
    revealed = heard["cardShown"] is None
    return Press((heard["turnShown"] if revealed else heard["cardShown"]) - heard["pressed"], revealed)


def open_screen(page: Any, title: str) -> float:
    """Milliseconds from the click on a screen's link in the sidebar until that screen is drawn to its end."""
    return float(page.evaluate(_OPENED, title))
