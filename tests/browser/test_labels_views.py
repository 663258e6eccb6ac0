"""Labels in a real browser: filters are saved, shared and taken apart; a card leads to its pair's story."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotator.types import Criterion
from app.bootstrap import open_workspace
from app.services import reviewing, saved_views
from app.services.label_sets import freeze
from builders import add_model
from db.enums import RunStatus
from db.models import TrainingRun
from small_desk import N_PAIRS, make_small_desk

CY, DEE = "Cy", "Dee"
VIEW = "<b>sure</b> of *1* https://example.org"
"""A name that nothing may read as markup or turn into a link."""
SHOWN = VIEW.replace("https:", "https:\u2060")
"""With the joiner, which nobody sees, that keeps an address from becoming a link."""
Open = Callable[[], Any]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the demo: a small queue, one pair of it graded by Bo, and a model that this label trained."""
    folder = make_small_desk(tmp_path_factory.mktemp("labels") / "workspace")
    workspace = open_workspace(folder)
    card = reviewing.claim(workspace, person="Bo")
    assert card is not None
    reviewing.grade(workspace, card=card.card, person="Bo", grade=2, note="covers <b>half</b> of it")
    base, made = add_model(workspace, "base", live=True), add_model(workspace, "made")
    with workspace.sessions.begin() as session:
        held = freeze(workspace, session, criterion=Criterion.RELEVANCE, person="Bo")
        session.flush()
        session.add(
            TrainingRun(
                workflow_id="w",
                label_set_id=held.id,
                base_model_id=base,
                model_version_id=made,
                status=RunStatus.DONE,
                stage="done",
                settings={},
                report={},
                created_at=workspace.now(),
            )
        )
    (folder.parent / "pair").write_text(str(card.pair.pair_id), encoding="utf-8")
    workspace.close()
    return folder


@pytest.fixture(scope="module")
def application(shared_application: Any) -> Any:
    """One server for this file."""
    return shared_application


def open_at(desk: Open, address: str) -> Any:
    opened = desk()
    opened.open(address)
    return opened


def n_listed(desk: Any) -> int:
    """How many pairs the list says it has."""
    said = desk.page.locator(".st-key-labels-pages").get_by_text(" pairs").inner_text()
    return int(re.findall(r"[\d,]+(?= pairs)", said)[0].replace(",", ""))


def open_part(desk: Any, name: str) -> Any:
    """Opens the filters or the views; returns what is in them."""
    desk.page.get_by_test_id("stPopover").get_by_role("button", name=name).click()
    inside = desk.page.get_by_test_id("stPopoverBody")
    inside.wait_for()
    desk.settle()
    return inside


def until_listed(desk: Any, what: Callable[[int], bool]) -> int:
    for _ in range(100):
        desk.settle()
        if what(n_listed(desk)):
            return n_listed(desk)
        desk.page.wait_for_timeout(100)
    raise AssertionError(desk.text())


def test_filters_are_saved_shared_sent_and_taken_apart(application: Any, desk: Open) -> None:
    """What a lead set up in the morning is gone after lunch, or opens as something else for whom it was sent to."""
    cy = open_at(desk, f"labels?person={CY}")
    assert n_listed(cy) == N_PAIRS
    cy.page.get_by_text("Rejected", exact=True).first.click()
    rejected = until_listed(cy, lambda n: "outcome=rejected" in cy.page.url)
    open_part(cy, "Filters").get_by_text(re.compile("^1 ·")).click()
    few = until_listed(cy, lambda n: n < rejected)
    cy.page.keyboard.press("Escape")
    views = open_part(cy, "Views")
    views.get_by_label("Save these filters as").fill(VIEW)
    views.get_by_text("For everybody").click()
    views.get_by_role("button", name="Save").click()
    cy.page.get_by_text("Saved as").wait_for()
    assert SHOWN in cy.text()
    assert cy.page.get_by_test_id("stAlert").get_by_role("link").count() == 0

    sent = cy.page.url.split("/")[-1].replace(f"person={CY}", f"person={DEE}")
    dee = open_at(desk, sent)
    assert n_listed(dee) == few
    dee.page.get_by_role("button", name="Clear all").click()
    until_listed(dee, lambda n: n > few)
    views = open_part(dee, "Views")
    assert views.get_by_role("button", name="Delete").count() == 0
    assert views.get_by_role("link").count() == 0
    views.get_by_role("button", name=f"{SHOWN} ({CY})").click()
    assert until_listed(dee, lambda n: n == few) == few
    dee.page.keyboard.press("Escape")

    cy.page.keyboard.press("Escape")
    cy.page.get_by_role("button", name="Proposed 1").click()
    assert until_listed(cy, lambda n: n > few) == rejected
    assert "grade=" not in cy.page.url
    open_part(cy, "Views").get_by_role("button", name=f"Delete {SHOWN}").click()
    cy.page.get_by_text("is deleted").wait_for()
    for person in (CY, DEE):
        assert not saved_views.list_views(application.workspace, person=person, screen="labels")


def test_a_card_leads_to_its_pairs_story_and_the_models_it_trained(demo: Path, application: Any, desk: Open) -> None:
    """A label nobody can trace back is not corrected, nor are the models it spoilt."""
    pair_id = (demo.parent / "pair").read_text(encoding="utf-8")
    cy = open_at(desk, f"review?person={CY}&pair={pair_id}")
    cy.page.wait_for_selector("[data-ready=yes]")
    with cy.page.expect_popup() as opened:
        cy.page.get_by_role("link", name="History").click()
    page = opened.value
    story = page.get_by_role("region", name="History")
    story.wait_for()
    rows = [row.inner_text() for row in story.get_by_role("row").all()]
    assert any("Bo" in row and "graded 2" in row and "covers <b>half</b> of it" in row for row in rows)
    assert any("made " in row and "was trained on it as 2" in row for row in rows)
    assert any("proposed grade 3" in row for row in rows)
    assert page.get_by_role("combobox", name="You are").input_value() == CY  # and grades on in that name
    page.close()
    assert cy.page.get_by_role("link", name=f"Pair {pair_id}").get_attribute("href") == f"review?pair={pair_id}"
