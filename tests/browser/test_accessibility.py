"""Every screen is read by axe-core, in light and dark: nothing serious of ours keeps anybody from using it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.state import SCREENS
from small_desk import make_small_desk

STREAMLITS_OWN = {
    # The label of a disabled field is pale; WCAG 1.4.3 leaves out what is disabled, but axe sees the label alone.
    "color-contrast": 'label[aria-hidden="true"], [data-testid="stWidgetLabel"], [aria-disabled="true"]',
}
"""Rules that Streamlit's own elements break, each with where, as a CSS selector; whatever else breaks them is ours."""
SERIOUS = ("serious", "critical")
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the demo: a small queue without a model."""
    return make_small_desk(tmp_path_factory.mktemp("desk") / "workspace")


def found_on(page: Any) -> list[str]:
    """What axe finds serious on the page, one line a place; Streamlit's own faults of the list above left out."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    lines = []
    for violation in found:
        if violation["impact"] not in SERIOUS:
            continue
        theirs = STREAMLITS_OWN.get(violation["id"])
        for node in violation["nodes"]:
            selector = node["target"][-1]
            if theirs and page.evaluate(
                "([at, theirs]) => !!document.querySelector(at)?.closest(theirs)", [selector, theirs]
            ):
                continue
            lines.append(f"{violation['id']}: {node['html'][:200]}")
    return lines


def opened(context: Any, address: str) -> Any:
    page = context.new_page()
    page.goto(address)
    page.get_by_role("heading", level=1).first.wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return page


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_screen_has_a_serious_fault(application: Any, browser: Any, scheme: str) -> None:
    """Whoever uses a screen reader, a keyboard or weak eyes is shut out by one nameless button or pale word."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(60_000)
    faults = []
    for name in SCREENS:
        page = opened(context, f"{application.address}/{'' if name == 'overview' else name}")
        faults += [f"{name}: {line}" for line in found_on(page)]
        page.close()
    context.close()
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_desk_in_all_its_states_has_no_serious_fault(application: Any, browser: Any, scheme: str) -> None:
    """A list, a reveal, the help and the filters are drawn later than the screen that axe sees first."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
    context.set_default_timeout(60_000)
    page = opened(context, f"{application.address}/review")
    page.wait_for_selector("[data-settled=yes]")
    faults = []

    def look(state: str) -> None:
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.wait_for_function("() => !document.querySelector('[data-stale=true]')")
        page.wait_for_timeout(400)  # what was stale fades in again
        faults.extend(f"{state}: {line}" for line in found_on(page))

    def press(key: str, until: str) -> None:
        page.keyboard.press(key)
        page.wait_for_selector(until)
        page.wait_for_selector("[data-settled=yes]")

    press("a", ".rl-around")
    page.keyboard.press("ArrowDown")
    look("card with the text around it, cursor in the list")
    press("l", '[data-phase="list"]')
    look("list")
    press("b", '[data-mode="several"]')
    page.keyboard.press("Space")
    look("several")
    press("l", '[data-phase="grade"]')
    press("u", ".rl-notice")
    look("notice of a refusal")
    page.get_by_role("button", name="Filters").click()
    page.get_by_text("Why it waits").wait_for()
    look("filters")
    page.keyboard.press("Escape")
    page.get_by_text("Why it waits").wait_for(state="hidden")
    page.locator("label", has_text="Blind first").click()
    page.keyboard.press("s")
    page.wait_for_selector(".rl-blind")
    look("blind")
    press("1", '[data-phase="revise"]')
    look("revealed")
    press("?", "[role=dialog]")
    look("help")
    context.close()
    assert not faults, "\n".join(faults)
