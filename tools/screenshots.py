"""Makes docs/images anew from the running application: python tools/screenshots.py [WORKSPACE]

WORKSPACE is a demo workspace whose audits were simulated (`relabel demo --simulate-audits`); without one it is made,
which takes some minutes. The screenshots are taken from a copy: nothing is changed in the workspace itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1280, "height": 800}
MOST_BYTES = 200_000
QUESTION = "merge two sorted streams lazily"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def settled(page: Page) -> None:
    """Waits until the screen is drawn to its end and nothing on it is from the run before."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_function("() => !document.querySelector('[data-stale=true]')")
    page.wait_for_timeout(1_000)  # fonts and the canvas of the table


def open_one_accepted(page: Page) -> None:
    page.get_by_role("radio", name="Accepted").click()
    settled(page)
    page.get_by_test_id("stDataFrame").click(position={"x": 17, "y": 53})
    settled(page)
    page.mouse.move(640, 790)


def ask(page: Page) -> None:
    page.get_by_label("Question").fill(QUESTION)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("heading", name="Live model").wait_for()
    page.mouse.move(640, 790)


SCREENS: dict[str, Callable[[Page], None] | None] = {
    "overview": None,
    "labels": open_one_accepted,
    "review": None,
    "judges": None,
    "train": None,
    "search": ask,
    "data": None,
}


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """The application on that workspace; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.cli", "serve", "--workspace", str(workspace), "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                break
            if server.poll() is not None:
                raise SystemExit("relabel serve ended before it answered")
            time.sleep(0.3)
        yield address
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def shrink(image: Path) -> int:
    """Saves the image with as many colours as fit below the limit; returns its size in bytes."""
    original = Image.open(image).convert("RGB")
    for colours in (256, 128, 64, 32):
        original.quantize(colours, dither=Image.Dither.NONE).save(image, optimize=True)
        if image.stat().st_size < MOST_BYTES:
            return image.stat().st_size
    raise SystemExit(f"{image.name} is still {image.stat().st_size:,} bytes with 32 colours")


def take(address: str) -> None:
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(parents=True, exist_ok=True)
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        page.set_default_timeout(120_000)
        for name, prepare in SCREENS.items():
            page.goto(f"{address}/{'' if name == 'overview' else name}")
            settled(page)
            if prepare is not None:
                prepare(page)
                settled(page)
            if page.get_by_test_id("stException").count():
                raise SystemExit(f"the {name} screen shows an exception")
            file = IMAGES / f"{name}.png"
            page.screenshot(path=file, animations="disabled", caret="hide")
            print(f"{file.relative_to(ROOT)}  {shrink(file):,} bytes")  # noqa: T201
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", nargs="?", type=Path, help="a demo workspace with simulated audits")
    given: Path | None = parser.parse_args().workspace
    with tempfile.TemporaryDirectory(prefix="relabel-screenshots-") as folder:
        copy = Path(folder) / "workspace"
        if given is None:
            command = [sys.executable, "-m", "app.cli", "demo", "--workspace", str(copy), "--simulate-audits"]
            subprocess.run(command, cwd=ROOT, check=True)
        else:
            shutil.copytree(given, copy, ignore=shutil.ignore_patterns("*.lock"))
        with served(copy) as address:
            take(address)


if __name__ == "__main__":
    main()
