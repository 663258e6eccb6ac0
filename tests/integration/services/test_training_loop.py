"""A full run on a tiny corpus with the real model: trained, indexed, evaluated, killed, cancelled, repeated."""

from __future__ import annotations

import os

import numpy as np
import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services import evaluating, promotion, runs, training_work
from app.services.importing import NewJudgement, import_judgements
from app.services.indexing import ensure_bm25_index, ensure_live_model
from builders import (
    TOPICS,
    add_candidates,
    add_corpus,
    add_suggestions,
    judge_held_out,
    passage_ids,
    query_id,
    truth,
)
from db.enums import ModelStage, RunStatus
from db.models import (
    Evaluation,
    ModelVersion,
    TrainingRun,
)
from db.queries.registry import get_live, get_model_or_raise
from retriever.errors import TrainingCancelled
from trained import Trained, count, live_id, power_back, power_cut


def test_a_finished_run_has_a_model_a_curve_and_a_comparison(after: Workspace, trained: Trained) -> None:
    """The page says done, and nobody can tell what came of it."""
    run = runs.get_run(after, run_id=trained.run_id)
    assert run.status is RunStatus.DONE
    assert run.model is not None
    assert (run.model.id, run.model.stage, run.model.base) == (
        trained.model_id,
        ModelStage.CANDIDATE,
        "all-MiniLM-L6-v2",
    )
    assert run.model.n_labels == run.n_labels == run.label_counts["accepted"]
    assert [point.step for point in run.points] == [1, 2, 3]  # twelve questions, four a step, one epoch
    assert run.report["n_queries"] == 12
    assert run.evaluation is not None
    assert (run.evaluation.n_queries, run.evaluation.n_judgements, run.evaluation.look) == (8, 24, 1)
    assert {m.name for m in run.evaluation.measures} >= {"nDCG@10", "Recall@100", "RR@10"}
    assert run.evaluation.gate_passed is False
    assert any("8, at least 30 are needed" in reason for reason in run.evaluation.gate_reasons)


def test_the_new_model_moved_and_the_base_did_not(after: Workspace, trained: Trained) -> None:
    """A run that trains nothing shows a difference of zero, and everybody believes it."""
    from retriever.encoder import Encoder

    with after.sessions.read() as session:
        live, model = get_live(session), get_model_or_raise(session, trained.model_id)
    assert live is not None
    old, new = (Encoder.load(after.settings.workspace / m.path).encode(["red wine on a carpet"]) for m in (live, model))
    assert 0.5 < float((old * new).sum()) < 0.999999


def test_a_repeated_step_does_not_train_index_or_evaluate_again(after: Workspace, trained: Trained) -> None:
    """A worker killed after the training step trains for another hour, and the second look is held against the gate."""
    assert not trained.trained_twice
    assert (count(after, ModelVersion), count(after, Evaluation)) == (2, 1)


def test_a_kill_between_the_model_and_its_run_leaves_no_model_and_the_next_attempt_gives_the_same(
    after: Workspace, trained: Trained
) -> None:
    """A model that belongs to no run stands in the list for ever, and its run trains another one."""
    assert trained.models_after_kill == 1
    assert count(after, ModelVersion) == 2
    assert len(list(after.settings.models.iterdir())) == 2  # both attempts made the same folder


def test_a_kill_after_the_evaluation_spends_no_look_that_nobody_saw(after: Workspace, trained: Trained) -> None:
    """Each crash makes the gate stricter."""
    run_id = trained.run_id
    with after.sessions.begin() as session:
        run = session.get_one(TrainingRun, run_id)
        run.status, run.active, run.evaluation_id = RunStatus.RUNNING, True, None
    power_cut(after, "training_run", "UPDATE OF evaluation_id")
    with pytest.raises(sa.exc.IntegrityError):
        training_work.evaluate_step(after, run_id)
    assert count(after, Evaluation) == 1
    power_back(after)
    training_work.evaluate_step(after, run_id)
    evaluation = runs.get_run(after, run_id=run_id).evaluation
    assert evaluation is not None
    assert (evaluation.look, count(after, Evaluation)) == (2, 2)


def test_a_run_cancelled_while_it_trains_leaves_no_model(before: Workspace) -> None:
    """Cancelled means: it shows up as a candidate anyway, or goes on for an hour."""
    run_id, _, _ = runs.create_run(before, person="Ada", overrides={"speed": "full"})
    folders = sorted(before.settings.models.iterdir())

    def cancel(step: int, _: int) -> None:
        if step == 3:  # the last step: nothing would ask again but the store itself
            runs.request_cancel(before, run_id=run_id, person="Grace")

    with pytest.raises(TrainingCancelled) as stopped:
        training_work.train_step(before, run_id, on_progress=cancel)
    training_work.finish(before, run_id, RunStatus.CANCELLED)
    run = runs.get_run(before, run_id=run_id)
    assert (run.status, run.model, run.message) == (RunStatus.CANCELLED, None, "cancelled by Grace")
    assert "cancelled" in stopped.value.user_message
    assert sorted(before.settings.models.iterdir()) == folders
    assert count(before, ModelVersion) == 1
    assert runs.create_run(before, person="Ada")[2]


def test_an_anchored_run_goes_on_from_the_live_encoder(after: Workspace, trained: Trained) -> None:
    """A round that was to hold on to the live model starts over from the base, or does not move at all."""
    from retriever.encoder import Encoder

    base_id = live_id(after)
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="a round of it")
    run_id, _, _ = runs.create_run(
        after, person="Ada", overrides={"speed": "full", "start_from": "live", "anchor": 0.5, "epochs": 1}
    )
    made = training_work.train_step(after, run_id)
    with after.sessions.read() as session:
        rows = [get_model_or_raise(session, at) for at in (base_id, trained.model_id, made)]
        assert rows[2].base_id == trained.model_id
        folders = [after.settings.workspace / row.path for row in rows]
    questions = [topic.question for topic in TOPICS]
    base, live, anchored = (Encoder.load(folder, max_length=16).encode_queries(questions) for folder in folders)
    from_live, from_base = (float(np.linalg.norm(anchored - other)) for other in (live, base))
    assert 0.01 < from_live < from_base


def test_folders_in_the_making_are_left_alone_for_a_day(before: Workspace) -> None:
    """A starting worker deletes the index that a command beside it is building."""
    young, old = before.settings.indexes / ".index-young", before.settings.models / ".training-old"
    for folder in (young, old):
        (folder / "model").mkdir(parents=True)
    for path in (old / "model", old):
        os.utime(path, (0, 0))
    finished = sorted(before.settings.models.glob("[!.]*"))
    training_work.remove_leftovers(before)
    assert young.is_dir()
    assert not old.exists()
    assert sorted(before.settings.models.glob("[!.]*")) == finished


def test_the_base_model_measured_against_itself_changes_nothing(any_workspace: Workspace) -> None:
    """A difference of exactly zero breaks the test or the database (NaN is no JSON), or passes the gate."""
    add_corpus(any_workspace)
    with pytest.raises(NothingToDo):
        evaluating.run_evaluation(any_workspace, model=ensure_live_model(any_workspace))
    judge_held_out(any_workspace)
    model = ensure_live_model(any_workspace)
    evaluating.run_evaluation(any_workspace, model=model, baseline=model)
    live = promotion.get_live_view(any_workspace)
    assert live is not None
    assert live.evaluation is not None
    difference = next(d for d in live.evaluation.differences if d.measure == "nDCG@10" and d.slice == "all")
    assert (difference.mean, difference.low, difference.high, difference.n_queries) == (0.0, 0.0, 0.0, 8)
    assert live.evaluation.gate_passed is False
    assert live.evaluation.look == 1
    topic = TOPICS[-1]
    extra = NewJudgement(query_id(topic), passage_ids(TOPICS[0])[0], 0)
    import_judgements(any_workspace, [extra], source_name="more", person="Grace", max_grade=3)
    evaluating.run_evaluation(any_workspace, model=model, baseline=model)
    again = promotion.get_live_view(any_workspace)
    assert again is not None
    assert again.evaluation is not None
    assert again.evaluation.look == 2, "one more judgement must not give the looks back"
    assert (live.evaluation.better, live.evaluation.worse) == ((), ())
    ndcg = next(m.value for m in live.evaluation.measures if m.name == "nDCG@10")
    assert 0.5 < ndcg <= 1.0
    assert ensure_bm25_index(any_workspace) == ensure_bm25_index(any_workspace)


def test_the_builders_truth_is_what_the_corpus_says() -> None:
    """Every test above rests on grades that do not fit the texts."""
    assert [truth("q-bread", passage) for passage in passage_ids(TOPICS[0])] == [3, 2, 1]
    assert truth("q-bread", "rice-answer") == 0
    assert len({t.question for t in TOPICS}) == 20


def test_a_run_without_held_out_judgements_ends_with_a_model_and_says_that_nothing_was_compared(
    workspace: Workspace,
) -> None:
    """Throwing away a trained model on a young workspace, whose people have judged no held-out question yet."""
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace)
    model = ensure_live_model(workspace)
    run_id, _, _ = runs.create_run(workspace, person="Ada")
    with workspace.sessions.begin() as session:
        session.get_one(TrainingRun, run_id).model_version_id = model.id
    assert training_work.evaluate_step(workspace, run_id) is None
    training_work.finish(workspace, run_id, RunStatus.DONE)
    run = runs.get_run(workspace, run_id=run_id)
    assert run.status is RunStatus.DONE
    assert run.message.startswith("Trained, but not compared.")
    assert run.evaluation is None
