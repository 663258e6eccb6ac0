"""`relabel compare` on a real workspace: the table for people, the line of JSON for programs, and the empty case."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from app.bootstrap import Workspace
from app.cli import cli
from compared import add_compared

RUN = CliRunner()


@pytest.fixture
def where(workspace: Workspace) -> list[str]:
    """How the command line names the workspace, which needs its settings file for that."""
    folder = workspace.settings.workspace
    (folder / "relabel.toml").write_text('name = "Compared"\n', encoding="utf-8")
    return ["--workspace", str(folder)]


def test_the_table_names_the_judges_and_what_they_rest_on(workspace: Workspace, where: list[str]) -> None:
    """Disaster: percentages without the number of judgements behind them."""
    add_compared(workspace)
    result = RUN.invoke(cli, ["compare", *where])
    assert result.exit_code == 0, result.output
    assert "72 pairs of calibrate questions graded blind, 24 of them relevant" in result.stdout
    assert "Compared on 72 pairs of 12 questions; left out: 0 not labelled by all, 0 unreadable" in result.stdout
    assert "careful" in result.stdout
    assert "92% [" in result.stdout
    assert "rare, labelled 6 of the pairs" in result.stdout


def test_the_json_is_one_line_with_every_figure(workspace: Workspace, where: list[str]) -> None:
    """Disaster: a program that has to read a table."""
    add_compared(workspace)
    result = RUN.invoke(cli, ["compare", *where, "--json"])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    found = json.loads(result.stdout)
    assert [one["judge"]["name"] for one in found["judges"]] == ["careful", "hasty"]
    assert found["judges"][0]["relevant"]["precision"]["value"] == 1.0
    assert found["judges"][1]["calibrated"]["ece"]["value"] < found["judges"][1]["raw"]["ece"]["value"]


def test_nothing_to_compare_is_said_and_held_out_refused(where: list[str]) -> None:
    """Disaster: an empty table that looks like a result, or held-out reviews used up on choosing a judge."""
    empty = RUN.invoke(cli, ["compare", *where])
    assert empty.exit_code == 0
    assert "Nothing to compare" in empty.stdout
    assert RUN.invoke(cli, ["compare", *where, "--split", "held-out"]).exit_code == 2
    assert RUN.invoke(cli, ["compare", *where, "--split", "sometimes"]).exit_code == 2
    assert RUN.invoke(cli, ["compare", *where, "--judge", "7"]).exit_code == 2
