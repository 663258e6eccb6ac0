"""One run that trains the encoder and then an adapter on top of it, on a tiny corpus with the real model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.config import Settings, Speed
from app.services import labels, lineage, promotion, revoking, runs, training_work
from app.services.lineage_views import AuthorKind
from app.services.model_making import Made, Work, make_model
from app.services.search import search
from builders import TOPICS, pair_ids
from db.enums import ModelKind, ModelStage, RunStatus
from db.models import Evaluation, IndexVersion, ModelVersion, TrainingRun
from db.queries.registry import latest_candidate
from retriever.errors import TrainingCancelled
from trained import Trained, copy_of, count, stages, train_killed_and_repeated, train_until_killed

BOTH = Speed.FULL_ADAPTER.value
NOTHING_KEPT = {"adapter.unseen_share": 0.5, "adapter.learning_rate": 5.0}


@pytest.fixture(scope="module")
def both(pooled_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run killed before its adapter was stored, then each of its steps done twice."""
    workspace = copy_of(pooled_settings, tmp_path_factory.mktemp("both") / "w")
    return train_killed_and_repeated(workspace, speed=BOTH)


def models(workspace: Workspace) -> list[ModelVersion]:
    with workspace.sessions.read() as session:
        return list(session.scalars(sa.select(ModelVersion).order_by(ModelVersion.id)))


def encoder_of(workspace: Workspace, run_id: int) -> int | None:
    with workspace.sessions.read() as session:
        return session.get_one(TrainingRun, run_id).trained_encoder_id


def test_the_adapter_stands_on_the_encoder_that_the_same_run_trained(both: Trained, tmp_path: Path) -> None:
    """An adapter learned for one encoder's vectors is put on top of another's, or serves over the old index."""
    after = copy_of(both.settings, tmp_path / "a")
    base, encoder, adapter = models(after)
    assert (encoder.kind, encoder.base_id) == (ModelKind.FULL, base.id)
    assert encoder.name == f"run {both.run_id} (sum_marginal)"
    assert adapter.name == f"run {both.run_id} (full+adapter, sum_marginal)"
    assert (adapter.kind, adapter.encoder_id, adapter.id) == (ModelKind.ADAPTER, encoder.id, both.model_id)
    run = runs.get_run(after, run_id=both.run_id)
    assert (run.status, run.speed) == (RunStatus.DONE, Speed.FULL_ADAPTER)
    assert run.evaluation is not None
    assert (run.evaluation.n_queries, run.evaluation.look, count(after, Evaluation)) == (8, 1, 1)
    assert any(said.startswith("Of the adapter on top") for said in run.remarks)
    with after.sessions.read() as session:
        indexed = set(session.scalars(sa.select(IndexVersion.model_version_id)))
    assert encoder.id in indexed
    assert adapter.id not in indexed
    promotion.promote(after, model_id=adapter.id, person="Ada", override_reason="a try")
    with after.sessions.read() as session:
        assert latest_candidate(session) is None, "the half under the live model waits for a decision"
    found = search(after, question=TOPICS[15].question, k=5)
    assert found.live_model == f"run {both.run_id} (full+adapter, sum_marginal)"
    assert len(found.live) == 5


def test_a_kill_between_the_two_does_not_train_the_encoder_again(
    before: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minutes are lost with the seconds."""
    run_id = train_until_killed(before, speed=BOTH)
    made: list[Speed] = []

    def make_and_count(workspace: Workspace, work: Work, output: Path) -> Made:
        made.append(work.recipe.speed)
        return make_model(workspace, work, output)

    monkeypatch.setattr(training_work, "make_model", make_and_count)
    training_work.train_step(before, run_id)
    assert made == [Speed.ADAPTER]


def test_the_loss_curve_goes_from_the_one_to_the_other(both: Trained, tmp_path: Path) -> None:
    """Two encoders of one run lie in the registry, or the adapter's curve is drawn over the encoder's."""
    after = copy_of(both.settings, tmp_path / "a")
    assert both.models_after_kill == 2, "the encoder was not stored before the kill"
    assert (both.trained_twice, count(after, ModelVersion)) == (False, 3)
    run = runs.get_run(after, run_id=both.run_id)
    steps = [point.step for point in run.points]
    on_top = run.report["adapter"]
    assert isinstance(on_top, dict)
    assert isinstance(run.report["steps"], int)
    assert steps == sorted(set(steps))
    assert min(steps) <= run.report["steps"] < max(steps) <= run.report["steps"] + on_top["steps"]


def test_the_labels_of_both_are_found(both: Trained, tmp_path: Path) -> None:
    """The encoder has no label set in its lineage: its labels can be revoked and nobody learns of it."""
    after = copy_of(both.settings, tmp_path / "a")
    _, encoder, adapter = models(after)
    found = [lineage.get_model_lineage(after, model_id=model.id) for model in (encoder, adapter)]
    sets = [one.label_set for one in found]
    assert sets[0] is not None
    assert sets[0] == sets[1]
    assert found[1].chain[0].id == encoder.id
    assert found[1].chain[0].n_labels == sets[0].n_labels
    for choice in lineage.list_authors(after):
        if choice.author.kind is AuthorKind.JUDGE:
            revoking.revoke(after, author=choice.author, person="Ada", reason="a try")
    n_revoked = lineage.get_model_lineage(after, model_id=adapter.id).n_revoked
    assert 0 < n_revoked <= sets[0].n_labels, "each label counts once, though both were trained on it"
    assert lineage.count_revoked_of(after, [adapter.id]) == {adapter.id: n_revoked}


def test_the_encoders_settings_for_peoples_labels_are_not_the_adapters(
    before: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass at an encoder's learning rate: the adapter learns nothing from people, and drops second answers."""
    ids = pair_ids(before)
    for topic in TOPICS[:4]:
        labels.overturn(before, pair_id=ids[f"q-{topic.name}", f"{topic.name}-answer"], person="Ada", grade=3, note="")
    told = {"human_epochs": 1, "human_learning_rate": 1e-5, "human_one_positive": True}
    workspace = replace(before, settings=before.settings.model_copy(update=told))
    seen: list[list[tuple[int | None, float | None, bool]]] = []

    def make_and_look(workspace: Workspace, work: Work, output: Path) -> Made:
        seen.append([(stage.epochs, stage.learning_rate, stage.one_positive) for stage in work.stages])
        return make_model(workspace, work, output)

    monkeypatch.setattr(training_work, "make_model", make_and_look)
    run_id, _, _ = runs.create_run(workspace, person="Ada", overrides={"speed": BOTH})
    training_work.train_step(workspace, run_id)
    usual = (None, None, False)
    assert seen == [[usual, (1, 1e-5, True)], [usual, usual]]


def test_an_adapter_that_helps_nowhere_is_left_out(before: Workspace) -> None:
    """A candidate that is the encoder under another name; or all is thrown away, the encoder with it."""
    run_id, _, _ = runs.create_run(before, person="Ada", overrides={"speed": BOTH, **NOTHING_KEPT})
    model_id = training_work.train_step(before, run_id)
    assert model_id == encoder_of(before, run_id)
    assert (len(models(before)), stages(before)[model_id]) == (2, ModelStage.CANDIDATE)
    assert training_work.train_step(before, run_id) == model_id, "asked twice"
    assert training_work.evaluate_step(before, run_id) is not None, "taken for a model that changes nothing"
    training_work.finish(before, run_id, RunStatus.DONE)
    run = runs.get_run(before, run_id=run_id)
    assert any(remark.startswith("No adapter is on top: on the ") for remark in run.remarks)
    assert stages(before)[model_id] is ModelStage.CANDIDATE


def test_a_run_cancelled_between_the_two_leaves_no_candidate(before: Workspace) -> None:
    """Cancelled means: its half shows up as a candidate anyway."""
    run_id = train_until_killed(before, speed=BOTH)
    encoder = encoder_of(before, run_id)
    assert encoder is not None
    runs.request_cancel(before, run_id=run_id, person="Grace")
    with pytest.raises(TrainingCancelled):
        training_work.train_step(before, run_id)
    training_work.finish(before, run_id, RunStatus.CANCELLED)
    assert stages(before)[encoder] is ModelStage.RETIRED
    again, _, _ = runs.create_run(before, person="Ada", overrides={"speed": "full"})
    assert training_work.train_step(before, again) == encoder, "the same labels give the same weights"
    training_work.finish(before, again, RunStatus.DONE)
    assert stages(before)[encoder] is ModelStage.CANDIDATE


def test_a_run_that_another_process_took_over_keeps_what_that_one_stored(
    before: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop wakes up and stores its late encoder: the finished run has lost its report and its lineage."""
    run_id, _, _ = runs.create_run(before, person="Ada", overrides={"speed": BOTH})
    calls: list[Speed] = []

    def made_elsewhere_meanwhile(workspace: Workspace, work: Work, output: Path) -> Made:
        calls.append(work.recipe.speed)
        if len(calls) == 1:
            training_work.train_step(before, run_id)
        elif work.recipe.speed is Speed.ADAPTER and len(calls) > 3:
            raise KeyboardInterrupt  # the late one gets no further than its encoder
        return make_model(workspace, work, output)

    monkeypatch.setattr(training_work, "make_model", made_elsewhere_meanwhile)
    with pytest.raises(KeyboardInterrupt):
        training_work.train_step(before, run_id)
    assert calls == [Speed.FULL_ADAPTER, Speed.FULL_ADAPTER, Speed.ADAPTER, Speed.ADAPTER]
    run = runs.get_run(before, run_id=run_id)
    assert run.model is not None
    assert any(said.startswith("Of the adapter on top") for said in run.remarks)
