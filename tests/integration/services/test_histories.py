"""The history of pairs: everything that happened to them, in order, on screen and as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import labels, reviewing
from app.services.exporting import export
from app.services.label_sets import freeze
from builders import TOPICS, add_model, audit, judge_held_out, queued
from db.enums import RunStatus, Split
from db.models import TrainingRun
from desks import BLIND, FEW, adjudicated, claim, reviews, with_settings


def events(workspace: Workspace, folder: Path, **wanted: object) -> list[dict[str, Any]]:
    """The rows of an export, those with these values."""
    export(workspace, layout="history", target=folder / "history.jsonl", overwrite=True)
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_what_people_did_is_told_in_order_with_blindness_and_notes(any_workspace: Workspace, tmp_path: Path) -> None:
    """Prevents a disputed label whose story nobody can tell: who said what, before or after the judge was seen."""
    workspace = with_settings(queued(any_workspace, topics=FEW), check_share=0.0)
    blind = claim(workspace, desk=BLIND)
    revealed = reviewing.grade(workspace, card=blind.card, person="Ada", grade=1, seconds=4.5)
    assert revealed is not None
    reviewing.grade(workspace, card=revealed.card.card, person="Ada", grade=2)
    reviewing.undo(workspace, person="Ada")
    again = claim(workspace, pair_id=blind.pair.pair_id)
    reviewing.keep(workspace, card=again.card, person="Ada")
    other = claim(workspace)
    reviewing.flag(workspace, card=other.card, person="Ada", note="two questions in one")

    by_ada = events(workspace, tmp_path, who="Ada")
    assert [(row["did"], row["grade"], row["visibility"]) for row in by_ada if row["did"] != "flagged"] == [
        ("graded", 1, "blind"),
        ("revised", 2, "shown"),
        ("undone", None, "shown"),
        ("kept", 1, "shown"),
    ]
    assert by_ada[0]["seconds"] == 4.5
    (flag,) = [row for row in by_ada if row["did"] == "flagged"]
    assert flag["note"] == "two questions in one"
    proposed = events(workspace, tmp_path, actor="judge")
    assert {row["did"] for row in proposed} == {"proposed"}
    shown = labels.get_pair(workspace, pair_id=blind.pair.pair_id)
    assert [entry.what for entry in shown.history if entry.who == "Ada"] == [
        "graded 1 (blind)",
        "revised 2 (saw the suggestion)",
        "took back the review before",
        "kept 1 (saw the suggestion)",
    ]


def test_a_hidden_check_is_in_the_file_and_on_no_screen(workspace: Workspace, tmp_path: Path) -> None:
    """Prevents a reviewer from reading which of the cards tested them."""
    workspace = with_settings(queued(workspace, topics=FEW), check_share=1.0)
    seen = claim(workspace, "Judy")
    settled = seen.pair.pair_id
    reviewing.skip(workspace, card=seen.card, person="Judy")
    adjudicated(workspace, settled, grade=3)
    check = claim(workspace, "Bob")
    assert check.pair.pair_id == settled
    reviewing.grade(workspace, card=check.card, person="Bob", grade=0)
    assert reviews(workspace)[-1].hidden_check
    assert [row["grade"] for row in events(workspace, tmp_path, who="Bob", hidden_check=True)] == [0]
    assert "Bob" not in {entry.who for entry in labels.get_pair(workspace, pair_id=settled).history}


def test_models_that_a_label_trained_are_named(any_workspace: Workspace, tmp_path: Path) -> None:
    """Prevents a wrong label from being found without the models that have to be trained again."""
    workspace = with_settings(queued(any_workspace, topics=TOPICS), check_share=0.0)
    audit(workspace)
    base, made = add_model(workspace, "base", live=True), add_model(workspace, "made")
    with workspace.sessions.begin() as session:
        frozen = freeze(workspace, session, criterion=Criterion.RELEVANCE, person="Ada")
        session.flush()
        session.add(
            TrainingRun(
                workflow_id="w",
                label_set_id=frozen.id,
                base_model_id=base,
                model_version_id=made,
                status=RunStatus.DONE,
                stage="done",
                settings={},
                report={},
                created_at=workspace.now(),
            )
        )
    trained = events(workspace, tmp_path, actor="model")
    assert len(trained) == frozen.n_labels
    graded = {(row["query_id"], row["corpus_id"]): row["grade"] for row in events(workspace, tmp_path, did="graded")}
    assert {row["who"][:5] for row in trained} == {"made "}
    assert all(row["grade"] == graded[row["query_id"], row["corpus_id"]] for row in trained)


def test_what_judges_proposed_for_held_out_questions_is_in_no_file(workspace: Workspace, tmp_path: Path) -> None:
    """Prevents a file from telling people what to answer where they measure."""
    workspace = queued(workspace)
    judge_held_out(workspace)
    held_out = events(workspace, tmp_path, split=str(Split.HELD_OUT))
    assert held_out
    assert {row["actor"] for row in held_out} == {"person"}


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_history_can_be_written_in_both_formats(workspace: Workspace, tmp_path: Path, file_format: str) -> None:
    """Prevents an analyst's table from missing a column that only some rows fill."""
    workspace = queued(workspace, topics=FEW)
    report = export(workspace, layout="history", target=tmp_path, file_format=file_format)
    assert report.n_rows == len(events(workspace, tmp_path / "again"))
    assert report.n_rows > 0
