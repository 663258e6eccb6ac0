"""relabel people: who works here, and roles from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.bootstrap import open_workspace
from app.cli import cli
from app.services import reviewing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    path.mkdir()
    (path / "relabel.toml").write_text('name = "w"\n', encoding="utf-8")
    workspace = open_workspace(path)
    for name in ("Ada", "[red]Bo[/red]"):
        reviewing.ensure_person(workspace, name=name)
    workspace.close()
    return path


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["people", *words, "-w", str(folder)])


def test_roles_are_given_and_shown(folder: Path) -> None:
    """Nobody can be made an adjudicator, or nobody can see who is one."""
    first = run(folder, "role", "Ada", "owner")
    assert first.exit_code == 0, first.output
    assert "first owner" in first.output
    given = run(folder, "role", "[red]Bo[/red]", "adjudicator", "--by", "Ada", "--json")
    assert given.exit_code == 0, given.output
    assert json.loads(given.stdout)["previous"] == "reviewer"
    listed = json.loads(run(folder, "--json").stdout)
    assert {one["name"]: one["role"] for one in listed} == {"Ada": "owner", "[red]Bo[/red]": "adjudicator"}
    assert "[red]Bo[/red]" in run(folder).output, "a name is no markup"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("role", "Ada", "boss"), 2),
        (("role", "Ada"), 2),
        (("remove", "Ada"), 2),
        (("role", "Nobody", "adjudicator", "--by", "Ada"), 2),
        (("role", "Ada", "reviewer", "--by", "Ada"), 5),
        (("role", "Ada", "owner", "--by", "[red]Bo[/red]"), 5),
    ],
)
def test_what_cannot_be_done_says_so(folder: Path, words: tuple[str, ...], code: int) -> None:
    """A script takes a refusal for success."""
    assert run(folder, "role", "Ada", "owner").exit_code == 0
    assert run(folder, *words).exit_code == code


def test_a_workspace_nobody_worked_in_says_what_comes_first(tmp_path: Path) -> None:
    """A newcomer reads an empty table."""
    path = tmp_path / "fresh"
    path.mkdir()
    (path / "relabel.toml").write_text('name = "w"\n', encoding="utf-8")
    result = run(path)
    assert result.exit_code == 0, result.output
    assert "relabel serve" in result.output
