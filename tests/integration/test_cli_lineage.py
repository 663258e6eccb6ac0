"""`relabel lineage` and `relabel revoke` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from annotator.types import Criterion
from app.bootstrap import open_workspace
from app.cli import cli
from app.services import label_sets, lineage, runs
from app.services.creating import create_workspace
from app.services.importing import NewJudgement, import_judgements
from builders import (
    N_TRAIN,
    TOPICS,
    add_candidates,
    add_corpus,
    add_model,
    add_suggestions,
    audit,
    judge_topics,
    passage_ids,
    query_id,
    truth,
)
from db.enums import RunStatus
from db.models import LabelSet, ModelVersion, TrainingRun


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace whose live model was trained on a scripted judge's accepted labels and a few grades of Ada."""
    path = tmp_path / "w"
    create_workspace(path, name="lineage")
    workspace = open_workspace(path)
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace)
    base = add_model(workspace, "base")
    tuned = add_model(workspace, "tuned", base_id=base, live=True)
    with workspace.sessions.begin() as session:
        label_set = label_sets.freeze(workspace, session, criterion=Criterion.RELEVANCE, person="Ada")
        session.add(
            TrainingRun(
                workflow_id="train-1",
                label_set_id=label_set.id,
                base_model_id=base,
                model_version_id=tuned,
                status=RunStatus.DONE,
                stage="done",
                settings={"loss": "sum_marginal"},
                report={},
                created_at=workspace.now(),
            )
        )
    audit(workspace, person="Ada", at_most=3)
    workspace.close()
    return path


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "-w", str(folder)])


def answer(folder: Path, *words: str):
    result = run(folder, *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_model_a_judge_and_a_pair_each_lead_to_the_others(folder: Path) -> None:
    """A wrong label cannot be followed to its author, nor a bad author to the models."""
    model = answer(folder, "lineage", "live", "--labels", "5")
    held = model["model"]["label_set"]
    assert model["model"]["name"] == "tuned"
    assert [link["name"] for link in model["model"]["chain"]] == ["base"]
    assert [one["author"]["name"] for one in held["authors"]] == ["scripted/1"]
    assert held["authors"][0]["n_labels"] == held["n_labels"] == model["labels"]["total"]
    assert held["authors"][0]["share"] == pytest.approx(1.0)
    back = answer(folder, "lineage", "--judge", "scripted/1")
    assert [(use["n_labels"], use["models"][0]["name"], use["models"][0]["is_live"]) for use in back["uses"]] == [
        (held["n_labels"], "tuned", True)
    ]
    row = model["labels"]["rows"][0]
    workspace = open_workspace(folder)
    with workspace.sessions.read() as session:
        query, passage = session.execute(
            sa.text(
                "SELECT q.external_id, p.external_id FROM pair JOIN query q ON q.id = pair.query_id "
                "JOIN passage p ON p.id = pair.passage_id WHERE pair.id = :id"
            ),
            {"id": row["pair_id"]},
        ).one()
    workspace.close()
    pair = answer(folder, "lineage", "--pair", query, passage)
    assert [(use["label"]["grade"], use["label"]["author"]) for use in pair["uses"]] == [(row["grade"], row["author"])]
    shown = run(folder, "lineage", "live")
    assert "scripted/1" in shown.output
    assert "sum_marginal" in shown.output


def test_revoking_is_foreseen_done_and_undone(folder: Path) -> None:
    """A verb that revokes without saying what it means, or that cannot be taken back, is one nobody dares to use."""
    before = answer(folder, "lineage", "live")["model"]["label_set"]["n_labels"]
    foreseen = run(folder, "revoke", "--judge", "scripted/1")
    assert foreseen.exit_code == 0, foreseen.output
    assert f"{before} labels would leave the next label set" in foreseen.output
    assert "The live model is one of them" in foreseen.output
    assert answer(folder, "lineage", "--judge", "scripted/1")["revoked"] is False
    report = answer(folder, "revoke", "--judge", "scripted/1", "--reason", "made it up")["report"]
    assert report["n_pairs"] >= before
    assert answer(folder, "lineage", "--judge", "scripted/1")["revoked"] is True
    assert f"trained on {before} labels since revoked" in run(folder, "lineage").output
    again = run(folder, "revoke", "--judge", "scripted/1", "--reason", "made it up")
    assert again.exit_code == 4
    assert run(folder, "revoke", "--judge", "scripted/1", "--restore").exit_code == 2
    not_hers = run(folder, "revoke", "--judge", "scripted/1", "--restore", "--reason", "x", "--by", "Ada")
    assert not_hers.exit_code == 5
    back = run(folder, "revoke", "--judge", "scripted/1", "--restore", "--reason", "checked")
    assert back.exit_code == 0, back.output
    assert "given back" in back.output
    workspace = open_workspace(folder)
    with workspace.sessions.begin() as session:
        label_sets.freeze(workspace, session, criterion=Criterion.RELEVANCE, person="Ada")
        stored = session.scalar(sa.select(sa.func.count()).select_from(LabelSet))
        assert stored == 1, "the same labels as before make the same label set"
    workspace.close()


def test_one_thing_is_named_and_it_has_to_be_there(folder: Path) -> None:
    """A typing error would be answered with somebody else's labels."""
    assert run(folder, "lineage", "live", "--judge", "scripted/1").exit_code == 2
    assert run(folder, "revoke", "--reason", "x").exit_code == 2
    nobody = run(folder, "revoke", "--person", "Nobody", "--reason", "x")
    assert nobody.exit_code != 0
    assert "Nobody" in nobody.output


def test_what_is_retrained_after_a_revocation_is_what_the_labels_were_for(folder: Path) -> None:
    """Whoever judged utility is taken back, and relevance is trained again."""
    workspace = open_workspace(folder)
    judge = lineage.find_author(workspace, judge="scripted/1")
    ada = lineage.find_author(workspace, person="Ada")
    assert lineage.criterion_of(workspace, judge) is Criterion.RELEVANCE
    assert lineage.criterion_of(workspace, ada) is Criterion.RELEVANCE, "never trained on: as the live model's labels"
    asked = query_id(TOPICS[0])
    import_judgements(
        workspace,
        [NewJudgement(asked, passage, truth(asked, passage)) for passage in passage_ids(TOPICS[0])],
        source_name="u",
        person="Bo",
        max_grade=3,
        criterion=Criterion.UTILITY,
    )
    with workspace.sessions.begin() as session:
        label_sets.freeze(workspace, session, criterion=Criterion.UTILITY, person="Ada")
    bo = lineage.find_author(workspace, person="Bo")
    assert lineage.criterion_of(workspace, bo) is Criterion.UTILITY
    workspace.close()


def test_revoking_a_judge_and_retraining_leaves_nothing_of_it_underneath(folder: Path) -> None:
    """An adapter trained for the encoder that learnt the very labels that were just taken back."""
    with (folder / "relabel.toml").open("a", encoding="utf-8") as settings:
        settings.write('\nspeed = "adapter"\n')
    words = ("revoke", "--judge", "scripted/1", "--reason", "invented evidence", "--retrain")
    gone = answer(folder, *words)
    assert gone["run_id"] is None
    assert gone["report"]["act"] == "revoke", "done and said, though nothing is left to train on"
    assert "No label of a train question" in gone["not_retrained"]
    workspace = open_workspace(folder)
    judge_topics(workspace, TOPICS[:N_TRAIN], person="Grace")
    workspace.close()
    answer(folder, "revoke", "--judge", "scripted/1", "--restore", "--reason", "tried")
    gone = answer(folder, *words)
    workspace = open_workspace(folder)
    with workspace.sessions.read() as session:
        retraining = session.get_one(TrainingRun, gone["run_id"])
        base = session.get_one(ModelVersion, retraining.base_model_id)
        assert (base.name, retraining.settings["speed"]) == ("base", "full+adapter")
        assert set(session.get_one(LabelSet, retraining.label_set_id).counts) == {"human"}
    workspace.close()
    restore = ("revoke", "--judge", "scripted/1", "--restore", "--reason", "it was right", "--retrain")
    back = answer(folder, *restore)
    assert (back["report"]["act"], back["run_id"]) == ("restore", None)
    assert f"Training run {gone['run_id']} goes on with labels that were frozen before" in back["not_retrained"]
    workspace = open_workspace(folder)
    runs.request_cancel(workspace, run_id=gone["run_id"], person="me")
    workspace.close()
    answer(folder, *words[:-1])
    back = answer(folder, *restore)
    workspace = open_workspace(folder)
    with workspace.sessions.read() as session:
        retraining = session.get_one(TrainingRun, back["run_id"])
        base = session.get_one(ModelVersion, retraining.base_model_id)
        assert (base.name, retraining.settings["speed"]) == ("tuned", "adapter"), "nothing in it is revoked any more"
    workspace.close()
