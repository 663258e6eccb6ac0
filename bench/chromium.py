"""Which Chromium is driven and how, for benches, browser tests and the pictures of the documentation alike."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class BrowserMissing(RuntimeError):
    """There is no Chromium, or Playwright is not installed; the message says how to get it."""


def launch(playwright: Any) -> Any:
    """A started Chromium: the first of `NAMES` on the path, else Playwright's own.

    Raises:
        BrowserMissing: there is neither.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and not Path(playwright.chromium.executable_path).exists():
        raise BrowserMissing("no Chromium: install it with apt, or run: playwright install chromium")
    return playwright.chromium.launch(executable_path=found, args=list(FLAGS))
