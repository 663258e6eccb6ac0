"""The verbs `work`, `agreement` and `return`: JSON and words, and whom they refuse."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.bootstrap import open_workspace
from app.cli import cli
from app.errors import NotAllowed
from builders import truth
from compared import add_judges, add_questions
from db.enums import Role, Split
from worked import NOW, all_pairs, person, retrained, said, say_all


def relabel(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def done(*words: str | Path) -> Any:
    """What a command that must succeed prints as JSON."""
    result = relabel(*words, "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return json.loads(line)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ada and Bob graded 72 train pairs blind; two judges; two retrainings an hour of work apart; Olga owns it."""
    folder = tmp_path_factory.mktemp("work") / "w"
    folder.mkdir()
    (folder / "relabel.toml").write_text('name = "w"\n', encoding="utf-8")
    workspace = open_workspace(folder)
    add_questions(workspace, split=Split.TRAIN)
    add_judges(workspace)
    person(workspace, "Olga", Role.OWNER)
    say_all(
        workspace,
        [
            said(pair_id, name, truth(*key), seconds=50.0)
            for key, pair_id in all_pairs(workspace).items()
            for name in ("Ada", "Bob")
        ],
    )
    first, _ = retrained(workspace, "m1", at=NOW - timedelta(hours=1))
    retrained(workspace, "m2", at=NOW, against=first, gain=(0.0072, 0.0036, 0.0108))
    workspace.close()
    return folder


def test_work_is_ones_own_and_an_owner_sees_all(mine: Path) -> None:
    """Somebody else's pace for the asking."""
    own = done("work", "--person", "Ada", "-w", mine)
    assert (own["person"], own["labels"], own["per_hour"], own["n_timed"]) == ("Ada", 72, pytest.approx(72), 72)
    assert {one["person"] for one in done("work", "--person", "Olga", "--of", "all", "-w", mine)} == {
        "Ada",
        "Bob",
        "Olga",
    }
    assert done("work", "--person", "Olga", "--of", "Bob", "-w", mine)["labels"] == 72
    refused = relabel("work", "--person", "Ada", "--of", "Bob", "-w", mine)
    assert refused.exit_code == NotAllowed.exit_code
    assert "owners alone" in refused.stderr
    words = relabel("work", "--person", "Ada", "-w", mine)
    assert words.exit_code == 0, words.output
    assert "72 labels an hour (n = 72 in 1.0 h" in " ".join(words.stdout.split())
    table = relabel("work", "--person", "Olga", "--of", "all", "-w", mine)
    assert table.exit_code == 0, table.output
    assert "Bob" in table.stdout


def test_agreement_prints_every_figure_with_its_n(mine: Path) -> None:
    """A coefficient without the number of pairs behind it."""
    found = done("agreement", "--person", "Olga", "-w", mine)
    (both,) = found["people"]
    assert ({both["first"], both["second"]}, both["kappa"]["n"], both["kappa"]["value"]) == ({"Ada", "Bob"}, 72, 1.0)
    words = relabel("agreement", "--person", "Ada", "-w", mine)
    assert words.exit_code == 0, words.output
    assert "1.00 [1.00, 1.00] (n = 72)" in words.stdout
    assert "too few (n = 12)" in words.stdout
    assert "Bob" not in words.stdout


def test_return_says_whether_to_stop(mine: Path) -> None:
    """A verdict without its interval, or a verb that fails where there is enough to say."""
    found = done("return", "--person", "Ada", "-w", mine)
    assert found["projection"]["expected"] == pytest.approx(0.01)  # .0072 for 72 audits
    assert found["stop"] is False
    words = relabel("return", "--person", "Ada", "-w", mine)
    assert words.exit_code == 0, words.output
    assert "Go on: 100 more audits are expected to gain +0.0100 nDCG@10" in words.stdout
    assert "+0.0072 [+0.0036, +0.0108]" in words.stdout
