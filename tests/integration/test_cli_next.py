"""What the command line says comes next, which criterion a verb is about, and how it refuses what cannot be done."""

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
from app.services import label_jobs
from app.services.importing import NewJudgement, import_judgements
from db.enums import Split
from simulated import World, labelled, reviewed, simulated


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Twelve train and five calibrate questions of ten pairs; nothing is proposed or reviewed yet."""
    folder = tmp_path / "workspace"
    opened = open_with(settings_from(folder, {}))
    (folder / "relabel.toml").write_text("", encoding="utf-8")
    yield simulated(opened)
    opened.close()


def relabel(world: World, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--workspace", str(world.workspace.settings.workspace)])


def answer(world: World, *words: str) -> Any:
    """The JSON that a command prints, which says nothing of what comes next."""
    result = relabel(world, *words, "--json")
    assert result.exit_code == 0, result.output
    assert "Next:" not in result.output
    return json.loads(result.stdout)


def test_each_step_names_the_next_from_the_first_review_to_the_blind_audits(world: World) -> None:
    """A lead stands before a table and does not know that the workspace waits for one more command."""
    labelled(world)
    early = relabel(world, "calibrate")
    assert early.exit_code == 4, early.output
    assert "0 blind reviews" in early.stderr
    assert "Next: grade candidates of calibrate questions blind" in early.stderr
    assert "blind, on the Review screen. [relabel serve]" in relabel(world, "compare").stderr
    reviewed(world)
    assert "Next: fit the judge's calibrator. [relabel calibrate --judge 1]" in relabel(world, "compare").stderr
    answer(world, "compare")
    assert "[relabel certify plan --judge 1]" in relabel(world, "calibrate").stderr
    answer(world, "calibrate")
    assert "[relabel certify freeze --judge 1 --epsilon E --audits N]" in relabel(world, "certify", "plan").stderr
    frozen = relabel(world, "certify", "freeze", "--audits", "40", "--epsilon", "0.3")
    assert "Next: answer the 40 blind audits on the Review screen. [relabel serve]" in frozen.stderr


def test_an_empty_workspace_is_told_what_to_import(tmp_path: Path) -> None:
    """A table of nothing, and a plan for 0 pairs in 0 calls, on a workspace that has no passage."""
    folder = tmp_path / "empty"
    assert CliRunner().invoke(cli, ["init", str(folder)]).exit_code == 0
    for words in (("compare",), ("label", "--plan", "--judge", "local")):
        result = CliRunner().invoke(cli, [*words, "--workspace", str(folder)])
        assert "Next: Import the passages your retriever searches. [relabel import PATH]" in result.stderr, words


def test_a_plan_is_for_the_error_bound_and_the_audits_that_were_given(world: World) -> None:
    """An option that is accepted and unused: the lead believes a table of other bounds to be the one asked for."""
    reviewed(labelled(world))
    answer(world, "calibrate")
    every = answer(world, "certify", "plan")["rows"]
    assert [(row["epsilon"], row["n_audits"]) for row in every] == [(0.05, 100), (0.1, 100), (0.15, 100)]
    (one,) = answer(world, "certify", "plan", "--epsilon", "0.3", "--audits", "40")["rows"]
    assert (one["epsilon"], one["n_audits"]) == (0.3, 40)
    for words in (("plan", "--audits", "500"), ("freeze", "--audits", "500"), ("freeze",), ("plan", "--epsilon", "3")):
        refused = relabel(world, "certify", *words)
        assert refused.exit_code == 2, refused.output
        assert "500" in refused.stderr or "400" in refused.stderr or "epsilon is 3.0" in refused.stderr
        assert "120 pairs" in refused.stderr or "epsilon" in refused.stderr


def test_the_certificates_are_shown_with_what_they_leave_out_and_how_sure_the_recall_is(world: World) -> None:
    """A recall of 80 % from forty audits is read as if it were known, and pairs left out are thought certified."""
    reviewed(labelled(world))
    answer(world, "calibrate")
    train = [NewJudgement(query, passage, 0) for query, passage in world.pairs(Split.TRAIN)[:3]]
    import_judgements(world.workspace, train, source_name="t", person="Ada", max_grade=3)
    frozen = relabel(world, "certify", "freeze", "--audits", "40", "--epsilon", "0.3")
    assert frozen.exit_code == 0, frozen.output
    batch = answer(world, "certify", "show")["batches"][0]
    assert list(batch["excluded"].values()) == [3]
    for why, number in batch["excluded"].items():
        assert f"{number} more are left out: {why}" in frozen.stderr
    world.person(at_most=40)
    one = answer(world, "certify", "issue")["certificates"][0]
    shown = relabel(world, "certify", "show")
    assert "left out" in shown.stderr
    low, high = one["recall_interval"]
    assert f"{one['recall_relevant']:.0%} [{low:.0%}, {high:.0%}]" in shown.stdout
    if one["spot_checks"] is not None:
        assert f"0 of {one['spot_checks']['n_drawn']}, 0 wrong" in shown.stdout


def test_every_verb_about_grades_takes_the_criterion(world: World, tmp_path: Path) -> None:
    """A utility judge can be asked, and never calibrated, compared or exported."""
    labelled(world)
    assert answer(world, "status", "--criterion", "utility")["overview"]["funnel"]["proposed"] == 0
    assert answer(world, "status")["overview"]["funnel"]["proposed"] == 120
    assert answer(world, "compare", "--criterion", "utility")["criterion"] == "utility"
    assert answer(world, "certify", "show", "--criterion", "utility") == {"batches": [], "certificates": []}
    assert answer(world, "export", "labels", str(tmp_path / "u.jsonl"), "--criterion", "utility")["n_rows"] == 0
    for verb in (("calibrate",), ("certify", "plan"), ("train",)):
        assert relabel(world, *verb, "--criterion", "utility").exit_code == 4, verb
    for verb in (("calibrate",), ("certify",), ("compare",), ("train",), ("status",), ("export", "labels", "x")):
        refused = relabel(world, *verb, "--criterion", "beauty")
        assert refused.exit_code == 2, verb
        assert "relevance or utility" in refused.stderr


def test_a_misspelt_kind_of_judge_is_answered_with_the_kinds_there_are(world: World) -> None:
    """`ensembl` is answered with "set OPENAI_API_KEY", and somebody pays for a key."""
    refused = relabel(world, "label", "--spec", '{"kind": "ensembl"}')
    assert refused.exit_code == 2, refused.output
    assert "'ensembl'; choose local, pointwise, listwise, utility, ensemble" in refused.stderr
    assert label_jobs.list_jobs(world.workspace) == ()
