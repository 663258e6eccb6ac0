"""Makes docs/images anew from the running application: python tools/screenshots.py [WORKSPACE] [--only judged]

WORKSPACE is a demo workspace whose audits were simulated (`relabel demo --simulate-audits`); without one it is made,
which takes some minutes. The screenshots are taken from a copy: nothing is changed in the workspace itself. The screens
about LLM judges are taken on a workspace whose judges, questions and reviews are simulated, for no LLM is asked here.
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
    from playwright.sync_api import Page, ViewportSize

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


def press(page: Page, key: str, until: str) -> None:
    """A key of the review desk, once it listens, and what it brings."""
    page.locator("[data-settled=yes]").wait_for()
    page.keyboard.press(key)
    page.locator(until).first.wait_for()
    settled(page)


def grade_blind(page: Page) -> None:
    page.locator("label", has_text="Blind first").click()
    settled(page)
    page.keyboard.press("s")  # the card that was open had shown its proposal
    page.locator(".rl-blind").wait_for()
    press(page, "2", '[data-phase="revise"]')


def pick_three(page: Page) -> None:
    press(page, "b", '[data-mode="several"]')
    for number in (2, 1, 0):
        page.locator("[data-pick]").nth(number).check()


Prepare = Callable[["Page"], None] | None
DEMO: dict[str, Prepare] = {
    "overview": None,
    "labels": open_one_accepted,
    "review": None,
    "review-list": pick_three,
    "review-revealed": grade_blind,
    "train": None,
    "search": ask,
    "data": None,
}
JUDGED: dict[str, Prepare] = {"labelling": None}
TALL_JUDGED: dict[str, Prepare] = {"judges": None, "calibration": None}
TALL = {"width": 1280, "height": 1180}


def make_judged(path: Path) -> None:
    """A workspace with two simulated judges, blind reviews to compare them on, and a certificate for the better one."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import simulated
    from app.bootstrap import open_workspace
    from app.services import calibrating, certifying, labelling, routing
    from app.services.creating import create_workspace

    create_workspace(path, name="Simulated judges")
    workspace = open_workspace(path)
    world = simulated.simulated(
        workspace, n_train=200, n_calibrate=25, confidences=(0.6, 0.75, 0.9, 0.98, 0.99), share_relevant=0.3
    )
    second = simulated.simulated_again(world, confidences=(0.5, 0.6, 0.7, 0.9), seed=6)
    labelling.label(workspace, simulated.judge_of(second, name="small model/pointwise"))
    labelling.label(workspace, simulated.judge_of(world, name="large model/pointwise"))
    simulated.reviewed(world)
    judge_id = calibrating.find_judge(workspace, "large model/pointwise")
    calibrating.calibrate(workspace, judge_id=judge_id)
    routing.route(workspace)
    batch = certifying.freeze(workspace, judge_id=judge_id, n=300, person="Ada")
    world.person("Ada", at_most=300)
    certifying.issue(workspace, batch_id=batch.id)
    workspace.close()


@contextmanager
def served(workspace: Path, **environment: str) -> Iterator[str]:
    """The application on that workspace; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.cli", "serve", "--workspace", str(workspace), "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **environment}
    )
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


def take(address: str, screens: dict[str, Prepare], size: ViewportSize) -> None:
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(parents=True, exist_ok=True)
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport=size, color_scheme="light", reduced_motion="reduce")
        page.set_default_timeout(120_000)
        for name, prepare in screens.items():
            page.goto(f"{address}/{'' if name == 'overview' else name.partition('-')[0]}")
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
    parser.add_argument("--only", choices=["demo", "judged"], help="one of the two workspaces")
    options = parser.parse_args()
    given: Path | None = options.workspace
    with tempfile.TemporaryDirectory(prefix="relabel-screenshots-") as folder:
        if options.only != "demo":
            judged = Path(folder) / "judged"
            make_judged(judged)
            # Named as the receiver of the texts in the plan that is shown; nothing is sent.
            with served(judged, OPENAI_BASE_URL="http://127.0.0.1:11434/v1") as address:
                take(address, JUDGED, SIZE)
                take(address, TALL_JUDGED, TALL)
        if options.only == "judged":
            return
        copy = Path(folder) / "workspace"
        if given is None:
            command = [sys.executable, "-m", "app.cli", "demo", "--workspace", str(copy), "--simulate-audits"]
            subprocess.run(command, cwd=ROOT, check=True)
        else:
            shutil.copytree(given, copy, ignore=shutil.ignore_patterns("*.lock"))
        with served(copy) as address:
            take(address, DEMO, SIZE)


if __name__ == "__main__":
    main()
