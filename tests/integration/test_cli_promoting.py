"""relabel regression and relabel evaluate from a terminal, on a workspace with the real base model."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from annotator.types import Criterion
from app.bootstrap import open_with
from app.cli import cli
from app.config import settings_from
from app.services.importing import NewJudgement, import_judgements
from app.services.indexing import ensure_live_model
from builders import TOPICS, add_corpus, judge_held_out, passage_ids, query_id


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with a corpus and held-out judgements, where the commands run."""
    path = tmp_path / "w"
    workspace = open_with(settings_from(path, {"max_length": 32}))
    (path / "relabel.toml").write_text("max_length = 32\n", encoding="utf-8")
    add_corpus(workspace)
    judge_held_out(workspace)
    workspace.close()
    monkeypatch.setenv("RELABEL_WORKSPACE", str(path))
    return path


def relabel(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def test_a_check_is_pinned_listed_and_retired_from_the_terminal(folder: Path) -> None:
    """A regression set that only the browser can fill is never filled by those who get the complaints."""
    pinned = relabel("regression", "add", TOPICS[12].question, "rice-answer", "--within", "3", "--note", "asked daily")
    assert pinned.exit_code == 0
    (check,) = json.loads(relabel("regression", "list", "--json").stdout)
    assert (check["query_id"], check["passage_id"], check["deepest_rank"]) == ("q-rice", "rice-answer", 3)
    assert (check["person"], check["note"]) == ("me", "asked daily")
    assert "rice-answer" in relabel("regression").stdout
    assert relabel("regression", "add", "q-rice", "rice-answer").exit_code == 6
    assert relabel("regression", "add", "q-rice").exit_code == 2
    assert relabel("regression", "add", "q-rice", "nothing").exit_code == 2
    assert relabel("regression", "retire", "1").exit_code == 0
    assert json.loads(relabel("regression", "list", "--json").stdout) == []
    assert len(json.loads(relabel("regression", "list", "--retired", "--json").stdout)) == 1


def test_evaluate_writes_every_question_and_puts_what_nobody_judged_first(folder: Path, tmp_path: Path) -> None:
    """Figures that only a screen has cannot be looked into with the tools people know."""
    workspace = open_with(settings_from(folder, {"max_length": 32}))
    ensure_live_model(workspace)
    workspace.close()
    assert relabel("evaluate", "--per-query", str(tmp_path / "no" / "q.csv")).exit_code == 2
    done = relabel("evaluate", "--per-query", str(tmp_path / "q.csv"), "--judge-first")
    assert done.exit_code == 0, done.output
    with (tmp_path / "q.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["query_id"] for row in rows} == {f"q-{topic.name}" for topic in TOPICS[12:]}
    assert all(row["live"] == "" and 0 <= float(row["candidate"]) <= 1 for row in rows)
    assert "pairs are judged first now" in done.stderr


def test_evaluate_measures_by_the_criterion_that_is_asked_for(folder: Path) -> None:
    """A model is measured on relevance whatever its labels were about, and no option says otherwise."""
    workspace = open_with(settings_from(folder, {"max_length": 32}))
    topic = TOPICS[12]
    grades = [NewJudgement(query_id(topic), passage, 3) for passage in passage_ids(topic)]
    import_judgements(workspace, grades, source_name="useful", person="Hedy", max_grade=3, criterion=Criterion.UTILITY)
    ensure_live_model(workspace)
    workspace.close()
    relevance = json.loads(relabel("evaluate", "--json").stdout)
    assert (relevance["criterion"], relevance["n_judgements"]) == ("relevance", 24)
    utility = json.loads(relabel("evaluate", "--criterion", "utility", "--json").stdout)
    assert (utility["criterion"], utility["n_judgements"]) == ("utility", 3)
    assert relabel("evaluate", "--criterion", "beauty").exit_code == 2
    assert relabel("evaluate", "--split", "all").exit_code == 2
    nothing = relabel("evaluate", "--criterion", "utility", "--split", "train")
    assert (nothing.exit_code, "useful (utility)" in nothing.stderr) == (4, True)
