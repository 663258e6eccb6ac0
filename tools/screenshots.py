"""Makes docs/images anew from the running application: python tools/screenshots.py [NAME …] [--dark --to FOLDER]

Every screen is taken, or those named. The workspaces are made first (tools/screenshot_workspaces.py), which takes some
minutes; `--keep FOLDER` keeps them there, or takes those that are there. Pictures are taken of copies, so that each run
begins with the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tools")]

from screenshot_workspaces import ADJUDICATOR, OWNER, make_judged, make_team  # noqa: E402

from bench.chromium import launch  # noqa: E402
from bench.desk_browser import serving, settle  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = ROOT / "docs" / "images"
WIDTH = 1280
MOST_BYTES = 200_000
QUESTION = "merge two sorted streams lazily"
NOWHERE = "http://127.0.0.1:11434/v1"
"""Named as the receiver of the texts in the plan that is shown; nothing is sent."""
WORKSPACES = {"team": make_team, "judged": make_judged}


def settled(page: Page) -> None:
    """Waits until the screen is drawn to its end and nothing on it is from the run before."""
    settle(page)
    page.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')")
    page.wait_for_timeout(1_000)  # fonts and the canvas of the table
    page.mouse.move(WIDTH / 2, 5)


def open_one_accepted(page: Page) -> None:
    page.get_by_role("radio", name="Accepted").click()
    settled(page)
    page.get_by_test_id("stDataFrame").click(position={"x": 17, "y": 53})


def ask(page: Page) -> None:
    page.get_by_label("Question").fill(QUESTION)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("heading", name="Live model").wait_for()


def press(page: Page, key: str, until: str) -> None:
    """A key of the review desk, once it listens, and what it brings."""
    page.locator("[data-ready=yes]").wait_for()
    page.keyboard.press(key)
    page.locator(until).first.wait_for()
    settled(page)


def grade_blind(page: Page) -> None:
    page.locator("label", has_text="Blind first").click()
    settled(page)
    if not page.locator(".rl-blind").count():
        page.keyboard.press("s")  # the card that was open had shown its proposal
    page.locator(".rl-blind").wait_for()
    press(page, "2", '[data-phase="revise"]')


def pick_three(page: Page) -> None:
    press(page, "l", '[data-phase="list"]')
    press(page, "b", '[data-mode="several"]')
    for _ in range(3):
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
    for _ in range(3):
        page.keyboard.press("ArrowUp")


def decide(page: Page) -> None:
    page.locator(".rl-voices").first.wait_for()
    page.get_by_role("button", name="partly", exact=False).click()
    page.get_by_text("Your last decision").wait_for()


def open_people(page: Page) -> None:
    page.get_by_text("People and roles").click()
    page.get_by_role("button", name="Give this role").wait_for()


def pick_newest_model(page: Page) -> None:
    page.get_by_role("combobox", name="Model").click()
    page.get_by_role("option").filter(has_text="run").first.click()


def part(name: str) -> Callable[[Page], None]:
    def choose(page: Page) -> None:
        page.get_by_role("radio", name=name).click()

    return choose


def down_to(heading: str) -> Callable[[Page], None]:
    def scroll(page: Page) -> None:
        page.get_by_role("heading", name=heading, exact=True).evaluate("one => one.scrollIntoView()")

    return scroll


@dataclass(frozen=True)
class Picture:
    """A screen as one person sees it; `prepare` does on it what the picture is to show.

    `only`: a CSS selector of the part that is shown alone.
    """

    screen: str
    prepare: Callable[[Page], None] | None = None
    person: str = OWNER
    workspace: str = "team"
    height: int = 800
    only: str = ""


TALL = 1180
# The order counts where one picture changes the workspace.
PICTURES = {
    "overview": Picture(""),
    "data": Picture("data"),
    "labels": Picture("labels", open_one_accepted),
    "review": Picture("review", person="Ada"),
    "review-list": Picture("review", pick_three, person="Ada"),
    "review-revealed": Picture("review", grade_blind, person="Bo"),
    "adjudicate": Picture("adjudicate", person=ADJUDICATOR),
    "adjudicate-decided": Picture("adjudicate", decide, person=ADJUDICATOR),
    "people": Picture("adjudicate", open_people, only="[data-testid=stExpander]"),
    "work": Picture("work", person="Ada"),
    "work-everybody": Picture("work"),
    "agreement": Picture("work", part("Agreement")),
    "return": Picture("work", part("Return")),
    "train": Picture("train", height=TALL),
    "rounds": Picture("train", down_to("Rounds")),
    "lineage": Picture("lineage", pick_newest_model, height=TALL),
    "search": Picture("search", ask),
    "labelling": Picture("labelling", workspace="judged"),
    "judges": Picture("judges", workspace="judged", height=TALL),
    "calibration": Picture("calibration", workspace="judged", height=1400),
}


def shrink(image: Path) -> int:
    """Saves the image with as many colours as fit below the limit; returns its size in bytes."""
    original = Image.open(image).convert("RGB")
    for colours in (256, 128, 64, 32):
        original.quantize(colours, dither=Image.Dither.NONE).save(image, optimize=True)
        if image.stat().st_size < MOST_BYTES:
            return image.stat().st_size
    raise SystemExit(f"{image.name} is still {image.stat().st_size:,} bytes with 32 colours")


def take(page: Page, address: str, picture: Picture, file: Path) -> None:
    """The picture in that file, as a PNG with few colours."""
    page.set_viewport_size({"width": WIDTH, "height": picture.height})
    page.goto(f"{address}/{picture.screen}?person={picture.person}")
    settled(page)
    if picture.prepare is not None:
        picture.prepare(page)
        settled(page)
    if page.get_by_test_id("stException").count():
        raise SystemExit(f"the {picture.screen} screen shows an exception")
    shown = page.locator(picture.only).last if picture.only else page
    shown.screenshot(path=file, animations="disabled", caret="hide")
    print(f"{file.name}  {shrink(file):,} bytes", flush=True)  # noqa: T201


def take_all(folder: Path, names: list[str], *, to: Path, dark: bool) -> None:
    """The pictures of that name; the workspaces are made in the folder unless they are there."""
    from playwright.sync_api import sync_playwright

    to.mkdir(parents=True, exist_ok=True)
    os.environ["OPENAI_BASE_URL"] = NOWHERE
    for workspace, make in WORKSPACES.items():
        wanted = [name for name in names if PICTURES[name].workspace == workspace]
        if not wanted:
            continue
        made = folder / workspace
        if not made.exists():
            make(made)
        with tempfile.TemporaryDirectory(prefix="relabel-screenshots-") as copies:
            copy = Path(copies) / workspace
            shutil.copytree(made, copy, ignore=shutil.ignore_patterns("*.lock"))
            with serving(copy) as address, sync_playwright() as playwright:
                browser = launch(playwright)
                page = browser.new_page(color_scheme="dark" if dark else "light", reduced_motion="reduce")
                page.set_default_timeout(120_000)
                for name in wanted:
                    take(page, address, PICTURES[name], to / f"{name}.png")
                browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(PICTURES)} (all)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the workspaces stay for the next time")
    parser.add_argument("--to", type=Path, default=IMAGES, metavar="FOLDER", help="where the pictures go (docs/images)")
    parser.add_argument("--dark", action="store_true", help="the dark colours")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(PICTURES))
    if unknown:
        parser.error(f"no picture is called {', '.join(unknown)}")
    names = [name for name in PICTURES if not options.names or name in options.names]
    with tempfile.TemporaryDirectory(prefix="relabel-screenshots-") as passing:
        kept: Path = options.keep or Path(passing)
        kept.mkdir(parents=True, exist_ok=True)
        take_all(kept, names, to=options.to, dark=options.dark)


if __name__ == "__main__":
    main()
