"""The verbs of calibrating and certifying, from the first refusal to the certificates, as a shell would use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.bootstrap import open_with
from app.cli import cli
from app.config import settings_from
from simulated import World, labelled, reviewed, simulated


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "workspace"
    opened = open_with(settings_from(folder, {}))
    (folder / "relabel.toml").write_text("", encoding="utf-8")
    yield reviewed(labelled(simulated(opened)))
    opened.close()


def relabel(world: World, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--workspace", str(world.workspace.settings.workspace)])


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_from_calibrating_to_certificates_in_the_terminal(world: World) -> None:
    """The engineer's half of the work needs a browser, or the JSON lacks what a script must check."""
    refused = relabel(world, "certify", "freeze", "--audits", "40")
    assert refused.exit_code == 5
    assert "uncalibrated" in refused.output
    view = answer(relabel(world, "calibrate", "--json"))
    assert (view["calibrator_id"], view["n_reviews"], view["n_queries"]) == (1, 50, 5)
    assert view["calibrated"]["ece"]["low"] <= view["calibrated"]["ece"]["value"] <= view["calibrated"]["ece"]["high"]
    table = relabel(world, "calibrate")
    assert "cross-fitted" in table.output
    plan = answer(relabel(world, "certify", "plan", "--json"))
    assert (plan["n_pairs"], plan["n_timed"]) == (120, 0)
    assert {row["n_audits"] for row in plan["rows"]} == {100}
    batch = answer(
        relabel(world, "certify", "freeze", "--audits", "40", "--epsilon", "0.3", "--person", "Olga", "--json")
    )
    assert (batch["state"], batch["n_audits"], batch["person"]) == ("open", 40, "Olga")
    early = relabel(world, "certify", "issue")
    assert early.exit_code == 4
    assert "40 of 40 blind audits to go" in early.output
    assert relabel(world, "certify", "freeze").exit_code == 6
    world.person(at_most=40)
    report = answer(relabel(world, "certify", "issue", "--json"))
    assert report["accepted"] + report["rejected"] == 120
    shown = answer(relabel(world, "certify", "show", "--json"))
    assert [one["relevant"] for one in shown["certificates"]] == [False, True]
    assert {"epsilon", "delta", "n_audits", "n_errors", "coverage", "recall_relevant", "state"} <= set(
        shown["certificates"][0]
    )
    assert "Batch 1, scripted/1: 120 pairs" in relabel(world, "certify").output
    issued = [one["id"] for one in shown["certificates"] if one["state"] == "issued"]
    for number in issued:
        suspended = relabel(world, "certify", "suspend", "--certificate", str(number), "--reason", "trying it")
        assert suspended.exit_code == 0
    states = {one["state"] for one in answer(relabel(world, "certify", "show", "--json"))["certificates"]}
    assert "issued" not in states


def test_a_batch_can_be_given_up_without_a_look(world: World) -> None:
    """Audits that cannot be finished block the judge for ever, or tell their errors on the way out."""
    answer(relabel(world, "calibrate", "--json"))
    answer(relabel(world, "certify", "freeze", "--audits", "40", "--json"))
    closed = answer(relabel(world, "certify", "close", "--reason", "nobody has the time", "--json"))
    assert (closed["state"], closed["note"]) == ("closed", "nobody has the time")
    assert answer(relabel(world, "certify", "show", "--json"))["certificates"] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("certify", "bless"), 2),
        (("certify", "suspend"), 2),
        (("certify", "issue"), 4),
        (("calibrate", "--kind", "gut"), 2),
        (("calibrate", "--judge", "nobody"), 2),
    ],
)
def test_wrong_words_are_refused_with_a_sentence(world: World, words: tuple[str, ...], code: int) -> None:
    """A typo ends in a traceback, or does something else than was asked."""
    result = relabel(world, *words)
    assert result.exit_code == code
    assert "Traceback" not in result.output
