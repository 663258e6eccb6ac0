"""`relabel use` through the command line: one judge in the place of another, and a plain word when there is nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.bootstrap import open_workspace
from app.cli import cli
from app.services import labelling
from app.services.creating import create_workspace
from simulated import judge_of, labelled, simulated

pytestmark = pytest.mark.integration


def test_the_judge_that_pairs_go_by_is_chosen_by_name(tmp_path: Path) -> None:
    """A lead who found the better judge cannot let the workspace go by it without paying again."""
    folder = tmp_path / "w"
    create_workspace(folder, name="two judges")
    workspace = open_workspace(folder)
    world = labelled(simulated(workspace, n_train=3, n_calibrate=2))
    labelling.label(workspace, judge_of(world, name="scripted/2"))
    workspace.close()
    first = CliRunner().invoke(cli, ["use", "scripted/1", "-w", str(folder), "--json"])
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["changed"] == 50
    again = CliRunner().invoke(cli, ["use", "scripted/1", "-w", str(folder)])
    assert again.exit_code == 4
    assert "goes by another judge" in again.output
    unknown = CliRunner().invoke(cli, ["use", "nobody", "-w", str(folder)])
    assert unknown.exit_code == 2
    assert "scripted/2" in unknown.output
