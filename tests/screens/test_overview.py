"""The Overview shows where the pairs stand, and what to do on an empty workspace."""

from __future__ import annotations

import pytest

from app.bootstrap import Workspace


def shown(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


@pytest.mark.usefixtures("small")
def test_the_funnel_shows_every_step_with_its_number(app) -> None:
    """A lead who cannot see how many labels are only a judge's word trusts all of them."""
    funnel = next(e.proto.body for e in app("overview").get("html") if "rl-funnel" in e.proto.body)
    steps = ("Candidates", "Proposed", "Accepted", "Rejected", "Audited", "Curated")
    assert [funnel.index(step) for step in steps] == sorted(funnel.index(step) for step in steps)
    assert "<span>Candidates</span><b>12</b>" in funnel
    assert "<span>Accepted</span><b>3</b>" in funnel
    assert "25% of the proposed, uncertified" in funnel
    assert "9 wait for people" in funnel


@pytest.mark.usefixtures("small")
def test_a_workspace_name_is_shown_as_text(app) -> None:
    """A name with markup in it must not become markup."""
    assert "Small &amp; judged" in shown(app("overview"))


def test_an_empty_workspace_says_what_to_do_first(app, empty: Workspace) -> None:
    """A newcomer in front of zeros without a next step leaves."""
    screen = app("overview")
    assert "Import the passages" in shown(screen)
    assert [button.label for button in screen.button] == ["Data"]


def test_a_missing_workspace_is_a_sentence_not_a_traceback(app) -> None:
    """A traceback on the first start tells a newcomer nothing."""
    started = app("overview")
    assert "relabel init" in started.error[0].value.replace("\\", "")
