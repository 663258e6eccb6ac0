"""The Calibration screen: uncalibrated until fitted, nothing of an open audit's errors, uncertified said plainly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.services import calibrating, certifying
from simulated import World, labelled, reviewed, simulated


def html_of(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def captions_of(app) -> str:
    return " ".join(element.value for element in app.caption)


def press(app, label: str):
    app = next(button for button in app.button if label in button.label).click().run()
    assert not app.exception
    return app


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A judge that proposed for every pair, and blind judgements of the calibrate questions."""
    folder = tmp_path / "workspace"
    opened = open_with(settings_from(folder, {"name": "Simulated"}))
    (folder / "relabel.toml").write_text('name = "Simulated"\n', encoding="utf-8")
    yield reviewed(labelled(simulated(opened)))
    opened.close()


def test_a_judge_is_uncalibrated_until_somebody_fits_it(app, world: World) -> None:
    """A confidence that nobody compared with people looks like a measured one."""
    screen = app("calibration")
    assert "uncalibrated" in html_of(screen)
    assert "50 blind reviews of 5 calibrate questions" in captions_of(screen)
    assert "On the dashed line" not in captions_of(screen)
    press(screen, "Fit the calibrator")
    assert "Calibrator 1: 50 blind reviews" in screen.success[0].value.replace("\\", "")
    assert "50 blind reviews" in html_of(screen)
    assert "of 5 questions" in html_of(screen)
    assert "On the dashed line" in captions_of(screen)
    assert "cross-fitted" in captions_of(screen)


def test_without_a_certificate_the_screen_says_uncertified(app, world: World) -> None:
    """Labels accepted by a bare threshold pass for checked ones."""
    assert "uncertified" in html_of(app("calibration"))


def test_the_slider_shows_what_each_class_would_give_and_what_it_leaves(app, world: World) -> None:
    """A threshold moved without seeing its price is a guess."""
    calibrating.calibrate(world.workspace, judge_id=1)
    screen = app("calibration")
    before = html_of(screen)
    assert "Wrong, expected" in before
    assert "Left to people" in captions_of(screen)
    assert "nothing is promised before a certificate" in captions_of(screen)
    screen.slider(key="calibration.threshold").set_value(100).run()
    assert html_of(screen) != before
    assert "Left to people: 120 pairs" in captions_of(screen)


def test_from_freezing_to_issuing_on_the_screen(app, world: World) -> None:
    """The owner needs a terminal, or sees half an audit's errors and stops when they look good."""
    workspace = world.workspace
    calibrating.calibrate(workspace, judge_id=1)
    screen = app("calibration")
    screen.number_input(key="calibration.audits").set_value(40)
    press(screen, "Freeze the batch")
    (batch,) = certifying.list_batches(workspace)
    assert (batch.n_audits, batch.person) == (40, "me")
    assert "40 of 40 blind audits to go" in html_of(screen)
    world.person("me", at_most=33)
    screen.run()
    assert "7 of 40 blind audits to go" in html_of(screen)
    issue = next(button for button in screen.button if button.label == "Issue the certificates")
    assert issue.disabled
    shown = (html_of(screen) + captions_of(screen)).lower()
    assert "audits there were wrong" not in shown
    assert not [button for button in screen.button if "Freeze" in button.label]
    world.person("me", at_most=7)
    screen.run()
    press(screen, "Issue the certificates")
    assert screen.success
    assert "Coverage" in html_of(screen)
    assert "in force" in html_of(screen) or "not certified" in html_of(screen)
    assert len(certifying.list_certificates(workspace)) == 2


def test_a_reason_somebody_typed_is_shown_as_it_was_typed(app, world: World) -> None:
    """The reason of a suspension puts a link or a picture on the owner's screen."""
    workspace = world.workspace
    calibrating.calibrate(workspace, judge_id=1)
    batch = certifying.freeze(workspace, judge_id=1, n=60, person="me", epsilon=0.3, seed=3)
    world.person("me", at_most=60)
    report = certifying.issue(workspace, batch_id=batch.id)
    issued = next(one for one in report.certificates if one.state == "issued")
    certifying.suspend(workspace, certificate_id=issued.id, reason="[look](http://example.org) **now**")
    shown = captions_of(app("calibration"))
    assert "[look](http" not in shown
    assert "**now**" not in shown
    assert "look" in shown


def test_a_refusal_is_a_sentence_and_changes_nothing(app, world: World) -> None:
    """More audits than pairs end in a traceback."""
    calibrating.calibrate(world.workspace, judge_id=1)
    screen = app("calibration")
    screen.number_input(key="calibration.audits").set_value(4000)
    press(screen, "Freeze the batch")
    assert screen.warning
    assert certifying.list_batches(world.workspace) == ()


def test_the_plan_names_hours_and_coverage(app, world: World) -> None:
    """The owner learns what the audits were good for after paying for them."""
    calibrating.calibrate(world.workspace, judge_id=1)
    screen = press(app("calibration"), "Work out what audits would buy")
    assert "Hours" in html_of(screen)
    assert "assumed: too few are timed here" in captions_of(screen)


def test_the_local_judge_is_named_always_uncertified(app, small: Workspace) -> None:
    """Word overlap gets a certificate."""
    screen = app("calibration")
    assert "never certified" in html_of(screen)
    assert not [button for button in screen.button if "Freeze" in button.label]


def test_a_judge_that_is_never_certified_is_not_told_what_to_do_before_it_is(app, small: Workspace) -> None:
    """The screen says "never" and, beside a button, "not before": somebody fits and waits for a certificate."""
    shown = html_of(app("calibration"))
    assert "certified before" not in shown
    assert "may train as soft targets" in shown


def test_the_screen_says_where_calibrate_questions_come_from(app, world: World) -> None:
    """Somebody believes that only a file can name them, and never calibrates a judge."""
    shown = captions_of(app("calibration"))
    assert "Where 80 questions or more have no split" in shown
    assert "pooling sets about one in eight" in shown
    assert "certified before" in html_of(app("calibration"))


def test_without_a_judge_the_screen_says_what_to_do(app, empty: Workspace) -> None:
    """An empty screen reads as broken."""
    screen = app("calibration")
    assert "No judge has proposed anything" in html_of(screen)
    assert "relabel label" in screen.code[0].value
    assert "Labelling" in screen.get("page_link")[0].label
