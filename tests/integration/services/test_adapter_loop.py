"""An adapter run on a tiny corpus with the real model: trained on the index that is there, evaluated, live at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.config import Settings, Speed
from app.errors import NothingToDo
from app.services import evaluating, labels, promotion, runs, training_work
from app.services.hard_negatives import mine_stages
from app.services.importing import import_passages
from app.services.model_making import ENCODER_FILE
from app.services.retrievers import open_encoder
from app.services.search import search
from builders import N_TRAIN, TOPICS, pair_ids, passage_ids, query_id, truth
from db.enums import ModelKind, RunStatus
from db.models import Evaluation, IndexVersion, ModelVersion, TrainingRun
from db.queries.registry import get_live, get_model_or_raise
from retriever.errors import TrainingCancelled
from retriever.types import GradedList, LabelledPassage, TrainingStage
from trained import Trained, copy_of, count, live_id, train_killed_and_repeated


@pytest.fixture(scope="module")
def adapted(pooled_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An adapter run, killed before its model was stored, then each step done twice."""
    workspace = copy_of(pooled_settings, tmp_path_factory.mktemp("adapted") / "w")
    return train_killed_and_repeated(workspace, speed="adapter")


@pytest.fixture
def live_adapter(adapted: Trained, tmp_path: Path) -> Workspace:
    """A workspace whose live model is that adapter."""
    workspace = copy_of(adapted.settings, tmp_path / "live")
    promotion.promote(workspace, model_id=adapted.model_id, person="Ada", override_reason="a try")
    return workspace


def models(workspace: Workspace) -> list[ModelVersion]:
    with workspace.sessions.read() as session:
        return list(session.scalars(sa.select(ModelVersion).order_by(ModelVersion.id)))


def train(workspace: Workspace, **overrides: object) -> int:
    run_id, _, _ = runs.create_run(workspace, person="Ada", overrides=overrides)
    model_id = training_work.train_step(workspace, run_id)
    training_work.finish(workspace, run_id, RunStatus.DONE)
    return model_id


def test_an_adapter_stands_on_the_live_encoder_and_its_index(
    adapted: Trained, pooled_settings: Settings, tmp_path: Path
) -> None:
    """A retrain in seconds encodes every passage again, or leaves a candidate that nothing can search."""
    before, after = copy_of(pooled_settings, tmp_path / "b"), copy_of(adapted.settings, tmp_path / "a")
    base, made = models(after)
    assert (made.kind, made.encoder_id, made.base_id, made.dim) == (ModelKind.ADAPTER, base.id, base.id, base.dim)
    assert count(after, IndexVersion) == count(before, IndexVersion)
    run = runs.get_run(after, run_id=adapted.run_id)
    assert (run.status, run.speed, run.message) == (RunStatus.DONE, Speed.ADAPTER, "")
    assert run.evaluation is not None
    assert (run.evaluation.n_queries, run.evaluation.look) == (8, 1)
    assert run.report["stages"] == ["LLM labels"]
    assert run.report["left_out_stages"] == ["human labels"]
    assert any(remark.startswith("Left out") for remark in run.remarks)
    old, new = (open_encoder(after, m).encode_queries(["red wine on a carpet"]) for m in (base, made))
    assert 0.2 < float((old * new).sum()) < 0.999999


def test_a_killed_and_repeated_adapter_run_makes_one_model(adapted: Trained, tmp_path: Path) -> None:
    """A crash leaves two candidates of one run, and two looks at the held-out set."""
    after = copy_of(adapted.settings, tmp_path / "a")
    assert (adapted.models_after_kill, adapted.trained_twice, count(after, ModelVersion)) == (1, False, 2)
    assert len(list(after.settings.models.iterdir())) == 2
    points = runs.get_run(after, run_id=adapted.run_id).points
    assert len(points) == len({point.step for point in points}) > 0


def test_a_live_adapter_changes_what_search_finds(live_adapter: Workspace, adapted: Trained) -> None:
    """A promoted adapter that no search applies: the page says live, the users get the old results."""
    found = search(live_adapter, question=TOPICS[15].question, k=60)
    assert found.live_model == f"run {adapted.run_id} (adapter, sum_marginal)"
    scores = [hit.score for hit in found.live]
    promotion.rollback(live_adapter, person="Ada", reason="compare")
    back = search(live_adapter, question=TOPICS[15].question, k=60)
    assert not np.allclose(scores, [hit.score for hit in back.live], atol=1e-4)


def test_the_next_adapter_is_never_built_on_an_adapter_and_a_full_run_starts_from_the_first_base(
    live_adapter: Workspace,
) -> None:
    """Changes pile up on changes (FlagEmbedding#869), or a full training tries to fine-tune two matrices."""
    base, adapter = models(live_adapter)
    assert live_id(live_adapter) == adapter.id
    for speed in Speed:
        run_id, _, _ = runs.create_run(live_adapter, person="Ada", overrides={"speed": speed.value})
        with live_adapter.sessions.read() as session:
            assert session.get_one(TrainingRun, run_id).base_model_id == base.id
        runs.request_cancel(live_adapter, run_id=run_id, person="Ada")


def test_a_next_adapter_is_measured_against_the_live_one_and_says_so(live_adapter: Workspace) -> None:
    """The next retrain is measured against the bare encoder and replaces a better adapter."""
    overrides = {"speed": "adapter", "unseen_share": 0.2}
    run_id, _, _ = runs.create_run(live_adapter, person="Ada", overrides=overrides)
    training_work.train_step(live_adapter, run_id)
    run = runs.get_run(live_adapter, run_id=run_id)
    unseen = run.report["unseen"]
    assert unseen["queries"] > 0
    assert unseen["queries new to live"] == 0, "the live adapter was trained on the same labels"
    assert any("the encoder alone elsewhere" in remark for remark in run.remarks)
    assert any("put aside with all their relevant passages: nDCG@10 from" in remark for remark in run.remarks)


def test_passages_that_came_later_are_indexed_before_an_adapter_is_trained(before: Workspace) -> None:
    """The adapter is trained and promoted over an index in which yesterday's import is missing."""
    import_passages(before, [("new-1", "new", "Something that came later.")], source_name="later")
    model_id = train(before, speed="adapter")
    with before.sessions.read() as session:
        newest = session.scalars(sa.select(IndexVersion).order_by(IndexVersion.id.desc())).first()
        base = get_live(session)
    assert newest is not None
    assert base is not None
    assert (newest.n_passages, newest.model_version_id) == (61, base.id)
    promotion.promote(before, model_id=model_id, person="Ada", override_reason="quick")
    assert "new-1" in {hit.passage_id for hit in search(before, question="Something that came later", k=3).live}


def test_an_adapter_says_which_encoder_it_is_for(before: Workspace) -> None:
    """Two adapters of equal weights for two encoders are taken for one model, and search the wrong index."""
    model_id = train(before, speed="adapter")
    with before.sessions.read() as session:
        model, base = get_model_or_raise(session, model_id), get_live(session)
    assert base is not None
    stored = json.loads((before.settings.workspace / model.path / ENCODER_FILE).read_text())
    assert stored == {"encoder": base.hash}


def test_an_adapter_run_that_learns_nothing_worth_keeping_says_so(before: Workspace) -> None:
    """Everybody waits for a difference from a model that is the old one under a new name."""
    run_id, _, _ = runs.create_run(
        before, person="Ada", overrides={"speed": "adapter", "unseen_share": 0.5, "learning_rate": 5.0}
    )
    training_work.train_step(before, run_id)
    run = runs.get_run(before, run_id=run_id)
    assert run.report["keep"] == 0, "at a learning rate of 5, every part of the change does harm"
    assert run.message.startswith("It changes nothing")


def learnt_nothing(workspace: Workspace, run_id: int) -> None:
    """As if no change that was learned had been better than none."""
    with workspace.sessions.begin() as session:
        run = session.get_one(TrainingRun, run_id)
        run.report, run.message = {**run.report, "keep": 0.0}, "It changes nothing."


def test_an_adapter_that_changes_nothing_spends_no_look(before: Workspace) -> None:
    """Every retraining that learned nothing makes the gate stricter for the next that does."""
    run_id, _, _ = runs.create_run(before, person="Ada", overrides={"speed": "adapter"})
    model_id = training_work.train_step(before, run_id)
    learnt_nothing(before, run_id)
    assert training_work.evaluate_step(before, run_id) is None
    training_work.finish(before, run_id, RunStatus.DONE)
    run = runs.get_run(before, run_id=run_id)
    assert (run.status, count(before, Evaluation)) == (RunStatus.DONE, 0)
    assert run.message == (
        "It changes nothing. Not compared: it ranks as all-MiniLM-L6-v2 does, which is live, and a look would be lost."
    )
    with pytest.raises(NothingToDo) as refused:
        evaluating.evaluate_model(before, model_id=model_id)
    assert "all-MiniLM-L6-v2" in refused.value.user_message
    assert count(before, Evaluation) == 0


def test_a_change_of_nothing_is_compared_where_it_takes_a_live_adapter_away(
    live_adapter: Workspace, adapted: Trained
) -> None:
    """A live adapter that does harm can be replaced by nothing, because nothing is never measured against it."""
    run_id, _, _ = runs.create_run(live_adapter, person="Ada", overrides={"speed": "adapter", "seed": 3})
    model_id = training_work.train_step(live_adapter, run_id)
    learnt_nothing(live_adapter, run_id)
    before = count(live_adapter, Evaluation)
    assert training_work.evaluate_step(live_adapter, run_id) is not None
    assert count(live_adapter, Evaluation) == before + 1
    training_work.finish(live_adapter, run_id, RunStatus.DONE)
    promotion.promote(live_adapter, model_id=model_id, person="Ada", override_reason="away with it")
    again, _, _ = runs.create_run(live_adapter, person="Ada", overrides={"speed": "adapter", "seed": 4})
    training_work.train_step(live_adapter, again)
    learnt_nothing(live_adapter, again)
    assert training_work.evaluate_step(live_adapter, again) is None, "the live adapter changes nothing either"


def test_an_adapter_run_that_is_cancelled_leaves_no_model(before: Workspace) -> None:
    """Cancelled means: it shows up as a candidate anyway."""
    run_id, _, _ = runs.create_run(before, person="Ada", overrides={"speed": "adapter"})
    folders = sorted(before.settings.models.iterdir())
    with pytest.raises(TrainingCancelled):
        training_work.train_step(
            before, run_id, on_progress=lambda *at: runs.request_cancel(before, run_id=run_id, person="Grace")
        )
    training_work.finish(before, run_id, RunStatus.CANCELLED)
    assert runs.get_run(before, run_id=run_id).status is RunStatus.CANCELLED
    assert sorted(before.settings.models.iterdir()) == folders


def test_audits_come_last_and_are_a_stage_of_their_own(before: Workspace) -> None:
    """People's grades drown among the judge's: the union came out at 33.2 where the order gave 38.2."""
    with pytest.raises(NothingToDo) as refused:
        runs.create_run(before, person="Ada", overrides={"curriculum": "human"})
    assert "people have graded none" in refused.value.user_message
    ids = pair_ids(before)
    for topic in TOPICS[:4]:
        pair = ids[f"q-{topic.name}", f"{topic.name}-answer"]
        labels.overturn(before, pair_id=pair, person="Ada", grade=3, note="")
    run_id, _, _ = runs.create_run(before, person="Ada", overrides={"speed": "adapter"})
    training_work.train_step(before, run_id)
    report = runs.get_run(before, run_id=run_id).report
    assert (report["stages"], report["left_out_stages"]) == (["LLM labels", "human labels"], [])


def test_a_full_run_counts_the_negatives_it_mined(before: Workspace) -> None:
    """Passages that nobody judged are taught as wrong, and nobody knows how many."""
    run_id, _, _ = runs.create_run(before, person="Ada", overrides={"speed": "full", "mined_negatives": 2})
    training_work.train_step(before, run_id)
    run = runs.get_run(before, run_id=run_id)
    mined = run.report["mined_negatives"]
    assert isinstance(mined, dict)
    assert 0 < mined["mined"] <= 2 * N_TRAIN
    assert 0 <= mined["unlabelled"] <= mined["mined"]
    assert any("hard negatives were mined" in remark for remark in run.remarks)


def test_only_questions_with_few_labels_get_negatives_unless_told_otherwise(before: Workspace) -> None:
    """One labelled passage a question and nothing to tell it from, or six judged ones beside as many guesses."""
    bread, other = TOPICS[:2]
    judged = tuple(
        LabelledPassage(key, text, truth(query_id(bread), key))
        for topic in (bread, other)
        for key, text in zip(passage_ids(topic), (topic.answer, topic.partly, topic.related), strict=True)
    )
    many = GradedList("a question", bread.question, judged[:4])
    few = GradedList(query_id(bread), bread.question, judged[:1])
    stages = [TrainingStage("first", (many, few)), TrainingStage("last", (few,))]
    (first, last), counts = mine_stages(before, stages, per_query=3, fill_to=4)
    assert first.lists[0] == many
    assert first.lists[1] == last.lists[0]
    assert first.lists[1].passages[0] == judged[0]
    assert len(first.lists[1].passages) == 4
    assert counts["mined"] == counts["unlabelled"] == 6
    assert [(p.grade, p.weight) for p in last.lists[0].passages[1:]] == [(0, 1.0)] * 3
    (first, _), counts = mine_stages(before, stages, per_query=3)
    assert [len(entry.passages) for entry in first.lists] == [7, 4]
    assert counts["mined"] == 9


def test_a_full_run_fills_short_lists_by_itself_and_not_when_told_not_to(before: Workspace) -> None:
    """A recipe that was measured with mined negatives and ships without."""
    for overrides, mined in (({"list_size": 9}, True), ({}, False), ({"list_size": 9, "mined_negatives": 0}, False)):
        run_id, _, _ = runs.create_run(before, person="Ada", overrides={"speed": "full", "epochs": 1, **overrides})
        training_work.train_step(before, run_id)
        assert bool(runs.get_run(before, run_id=run_id).report.get("mined_negatives")) is mined
        training_work.finish(before, run_id, RunStatus.DONE)


def test_negatives_that_cannot_be_mined_are_an_error_and_not_a_zero(workspace: Workspace) -> None:
    """Negatives were asked for, none came, and the report says 0 as if none had been hard enough."""
    with pytest.raises(NothingToDo) as refused:
        mine_stages(workspace, [], per_query=2)
    assert "no model is live" in refused.value.user_message
