"""Every screen is read by axe-core, in light and dark: no fault of ours keeps anybody from using it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.bootstrap import open_workspace
from app.state import SCREENS
from disputed import say
from small_desk import make_small_desk
from worked import all_pairs, said, say_all

STREAMLITS_OWN = {
    # The label of a disabled field is pale; WCAG 1.4.3 leaves out what is disabled, but axe sees the label alone.
    "color-contrast": 'label[aria-hidden="true"], [data-testid="stWidgetLabel"], [aria-disabled="true"]',
}
"""Rules that Streamlit's own elements break, each with where, as a CSS selector; whatever else breaks them is ours."""
TOLD = ("moderate", "serious", "critical")
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the demo: a small queue without a model, a dispute, a flag and two people's blind grades."""
    folder = make_small_desk(tmp_path_factory.mktemp("desk") / "workspace")
    workspace = open_workspace(folder)
    pairs = list(all_pairs(workspace).values())
    for name, grade in (("Bo", 0), ("Cy", 3)):
        say(workspace, pairs[0], name, grade, note="a note")
        say_all(workspace, [said(pair, name, number % 4) for number, pair in enumerate(pairs[-30:])])
    say(workspace, pairs[1], "Bo", None, note="cut off")
    workspace.close()
    return folder


@pytest.fixture(scope="module")
def application(shared_application: Any) -> Any:
    """One server for this file: what is looked at stays as it is, but for a few grades of the desk."""
    return shared_application


def found_on(page: Any) -> list[str]:
    """What axe finds at least moderate, one line a place; Streamlit's own faults of the list above left out."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    lines = []
    for violation in found:
        if violation["impact"] not in TOLD:
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


def settled(page: Any) -> None:
    """Until the script has run to its end and every widget stands where only its place was."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_function("() => !document.querySelector('[data-stale=true], [data-testid=stSkeleton]')")


def opened(context: Any, address: str) -> Any:
    page = context.new_page()
    page.goto(address)
    page.get_by_role("heading", level=1).first.wait_for()
    settled(page)
    return page


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_screen_has_a_fault(application: Any, browser: Any, scheme: str) -> None:
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
def test_what_is_opened_on_a_screen_has_no_fault(application: Any, browser: Any) -> None:
    """A table, a decision or a form is drawn later than the screen that axe sees first."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.set_default_timeout(60_000)
    faults = []

    def look(page: Any, state: str) -> None:
        settled(page)
        page.wait_for_timeout(400)  # what was stale fades in again
        faults.extend(f"{state}: {line}" for line in found_on(page))

    page = opened(context, f"{application.address}/adjudicate")
    page.get_by_text("People and roles").click()
    page.get_by_role("button", name="Give this role").wait_for()
    look(page, "people")
    page.get_by_role("button", name="partly").click()
    page.get_by_text("Your last decision").wait_for()
    look(page, "decision")
    page.goto(f"{application.address}/work")
    for part in ("Agreement", "Return"):
        page.get_by_role("radio", name=part).click()
        look(page, part)
    page.goto(f"{application.address}/lineage")
    page.get_by_role("radio", name="A judge or reviewer").click()
    page.get_by_role("button", name="Revoke").wait_for()
    look(page, "an author")
    context.close()
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_desk_in_all_its_states_has_no_fault(application: Any, browser: Any, scheme: str) -> None:
    """A list, a reveal, the help and the filters are drawn later than the screen that axe sees first."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
    context.set_default_timeout(60_000)
    page = opened(context, f"{application.address}/review?person={scheme}")
    page.wait_for_selector("[data-ready=yes]")
    faults = []

    def look(state: str) -> None:
        settled(page)
        page.wait_for_timeout(400)  # what was stale fades in again
        faults.extend(f"{state}: {line}" for line in found_on(page))

    def press(key: str, until: str) -> None:
        page.keyboard.press(key)
        page.wait_for_selector(until)
        page.wait_for_selector("[data-ready=yes]")

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
