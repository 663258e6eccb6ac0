"""The verbs `round` and `train` on a small workspace: what they print, how they exit, where they wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.bootstrap import open_workspace
from app.cli import cli
from app.errors import InputInvalid, NothingToDo
from builders import TOPICS, add_corpus, audit

SETTINGS = (
    "speed = 'adapter'\nmax_length = 64\npool_depth = 8\n[adapter]\nepochs = 2\nunseen_share = 0.0\nbatch_queries = 2\n"
)


def relabel(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def done(*words: str | Path) -> Any:
    """What a command that must succeed prints as JSON."""
    result = relabel(*words, "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return json.loads(line)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A workspace of four train questions, nothing pooled."""
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "relabel.toml").write_text(SETTINGS, encoding="utf-8")
    workspace = open_workspace(folder)
    add_corpus(workspace, topics=TOPICS[:4])
    workspace.close()
    return folder


def audited(folder: Path, n: int) -> None:
    workspace = open_workspace(folder)
    assert audit(workspace, at_most=n) == n
    workspace.close()


def test_a_round_is_planned_labelled_waited_for_and_trained_in_four_commands(mine: Path) -> None:
    """A round that cannot be left and taken up again, or that says nothing of where it stands."""
    planned = relabel("round", "--plan", "-w", mine)
    assert planned.exit_code == 0, planned.output
    assert "32 pairs in 0 calls" in planned.stderr
    assert "Next: have the judge label them. [relabel round]" in planned.stderr
    (shown,) = done("round", "--show", "-w", mine)
    assert (shown["number"], shown["status"], shown["new_pairs"], shown["labels"]) == (1, "waiting", 32, None)
    labelled = relabel("round", "-w", mine)
    assert labelled.exit_code == 0, labelled.output
    assert "no text leaves this machine" in labelled.stderr
    assert "waits for people" in labelled.stderr
    assert "relabel round --train" in labelled.stderr
    again = relabel("round", "--plan", "-w", mine)
    assert again.exit_code == NothingToDo.exit_code
    assert "has labelled what was new" in again.stderr
    audited(mine, 6)
    (trained,) = done("round", "--train", "--set", "epochs=1", "-w", mine)
    assert (trained["status"], trained["labels"], trained["n_audits"], trained["ndcg"]) == ("done", 32, 6, None)
    assert trained["model"].endswith("(adapter, sum_marginal)")
    assert trained["advice"].startswith("No held-out question")


def test_a_round_without_waiting_goes_through_and_the_next_one_has_the_next_number(mine: Path) -> None:
    """The nightly job of a team without reviewers stops at its first question."""
    (mine / "relabel.toml").write_text("accept_relevant = 0.0\n" + SETTINGS, encoding="utf-8")
    (first,) = done("round", "--no-wait", "-w", mine)
    assert (first["number"], first["status"], first["n_audits"]) == (1, "done", 0)
    second, _ = done("round", "-w", mine)
    assert (second["number"], second["next_part"]) == (2, "waiting for audits")
    table = relabel("round", "--cancel", "-w", mine)
    assert table.exit_code == 0
    assert "cancelled" in table.stdout


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("round", "--train"), NothingToDo.exit_code, "begin one with: relabel round"),
        (("round", "--cancel"), NothingToDo.exit_code, "no round is going on"),
        (("round", "--speed", "fast"), InputInvalid.exit_code, "speed is 'fast'"),
        (("round", "--set", "rank"), InputInvalid.exit_code, "--set needs NAME=VALUE"),
        (("round", "--spec", "{"), InputInvalid.exit_code, "--spec is no JSON"),
        (("round", "--criterion", "taste"), InputInvalid.exit_code, "--criterion is 'taste'"),
        (("round", "--cap-tokens", "-1"), InputInvalid.exit_code, "cap must be positive"),
    ],
)
def test_what_cannot_be_is_refused_and_named(mine: Path, words: tuple[str, ...], code: int, named: str) -> None:
    """A slip that begins a round, and is found when it has pooled for an hour."""
    result = relabel(*words, "-w", mine)
    assert result.exit_code == code, result.output
    assert named in result.stderr
    assert done("round", "--show", "-w", mine) == []


def test_train_takes_its_speed_and_any_setting_and_says_what_was_left_out(mine: Path) -> None:
    """An option that is accepted and unused, or a stage that is missing without a word."""
    assert relabel("pool", "-w", mine).exit_code == 0
    assert relabel("label", "-w", mine).exit_code == 0
    audited(mine, 6)
    words = ("train", "--speed", "adapter", "--set", "rank=4,kind=mlp", "--curriculum", "human", "-w", mine)
    run = done(*words)
    assert (run["status"], run["speed"], run["settings"]["curriculum"]) == ("done", "adapter", "human")
    assert (run["settings"]["training"]["rank"], run["settings"]["training"]["kind"]) == (4, "mlp")
    assert run["report"]["stages"] == ["human labels"]
    for words, named in (
        (("--speed", "full", "--set", "rank=4"), "there is no setting 'rank'"),
        (("--set", "rank=0"), "rank is 0"),
        (("--speed", "full+adapter", "--set", "rank=4"), "those of the adapter on top begin with 'adapter.'"),
        (("--loss", "magic"), "loss is 'magic'"),
        (("--curriculum", "both"), "curriculum is 'both'"),
    ):
        result = relabel("train", *words, "-w", mine)
        assert result.exit_code == InputInvalid.exit_code, result.output
        assert named in result.stderr
