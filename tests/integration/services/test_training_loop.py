"""The loop on a tiny corpus with the real model: pool, train, index, evaluate, promote, roll back, search."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace, open_with
from app.config import Settings, settings_from
from app.errors import InputInvalid, NotAllowed, NothingToDo
from app.services import evaluating, labelling, overview, pooling, promotion, runs, training_work
from app.services.importing import NewJudgement, import_judgements, import_passages
from app.services.indexing import ensure_bm25_index, ensure_dense_index, ensure_live_model
from app.services.search import search
from builders import (
    TOPICS,
    add_candidates,
    add_corpus,
    add_model,
    add_suggestions,
    audit,
    judge_held_out,
    passage_ids,
    query_id,
    scripted_judge,
    truth,
)
from db.enums import ModelStage, PromotionCause, RunStatus
from db.models import (
    Candidate,
    CandidateHit,
    Evaluation,
    LiveModel,
    ModelVersion,
    Pair,
    Passage,
    Promotion,
    Query,
    TrainingRun,
)
from db.queries.registry import get_live, get_model_or_raise
from retriever.errors import TrainingCancelled

RICE = TOPICS[12]
QUICK = {
    "epochs": 1,
    "batch_queries": 4,
    "train_max_length": 32,
    "list_size": 4,
    "max_length": 64,
    "pool_depth": 8,
    "pool_per_system": 8,
}


@dataclass(frozen=True)
class Trained:
    """A workspace with a finished run, at rest; `run_id` made `model_id`."""

    settings: Settings
    run_id: int
    model_id: int
    trained_twice: bool
    models_after_kill: int


def copy_of(settings: Settings, folder: Path) -> Workspace:
    """Another workspace with a copy of the database; the immutable models and indexes are shared."""
    folder.mkdir()
    shutil.copy(settings.workspace / "relabel.sqlite", folder)
    for name in ("models", "indexes"):
        shutil.copytree(settings.workspace / name, folder / name, copy_function=os.link)
    return open_with(settings_from(folder, QUICK))


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Everything before the first run: pooled by the real model, labelled, accepted; held-out questions judged."""
    workspace = open_with(settings_from(tmp_path_factory.mktemp("pooled") / "w", QUICK))
    add_corpus(workspace)
    pooling.pool(workspace)
    add_suggestions(workspace)
    judge_held_out(workspace)
    workspace.close()
    return workspace.settings


@pytest.fixture(scope="module")
def trained(pooled: Settings, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run from click to evaluation: killed before its model was stored, then each step done twice."""
    workspace = copy_of(pooled, tmp_path_factory.mktemp("trained") / "w")
    run_id, _, _ = runs.create_run(workspace, person="Ada")
    power_cut(workspace, "training_run", "UPDATE OF model_version_id")
    with pytest.raises(sa.exc.IntegrityError):
        training_work.train_step(workspace, run_id)
    power_back(workspace)
    models_after_kill = count(workspace, ModelVersion)
    first = training_work.train_step(workspace, run_id)
    steps: list[tuple[int, int]] = []
    again = training_work.train_step(workspace, run_id, on_progress=lambda *at: steps.append(at))
    assert training_work.index_step(workspace, run_id) == training_work.index_step(workspace, run_id)
    assert training_work.evaluate_step(workspace, run_id) == training_work.evaluate_step(workspace, run_id)
    training_work.finish(workspace, run_id, RunStatus.DONE)
    workspace.close()
    return Trained(
        workspace.settings,
        run_id,
        first,
        trained_twice=bool(steps) or again != first,
        models_after_kill=models_after_kill,
    )


@pytest.fixture
def before(pooled: Settings, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace about to train."""
    workspace = copy_of(pooled, tmp_path / "before")
    yield workspace
    workspace.close()


@pytest.fixture
def after(trained: Trained, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with a candidate beside the live base model."""
    workspace = copy_of(trained.settings, tmp_path / "after")
    yield workspace
    workspace.close()


def count(workspace: Workspace, table: type) -> int:
    with workspace.sessions.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def stages(workspace: Workspace) -> dict[int, ModelStage]:
    return {model.id: model.stage for model in promotion.list_models(workspace)}


def live_id(workspace: Workspace) -> int:
    live = promotion.get_live_view(workspace)
    assert live is not None
    return live.id


def power_cut(workspace: Workspace, table: str, event: str) -> None:
    """From now on that write breaks off the transaction it is in."""
    with workspace.sessions.begin() as session:
        session.execute(
            sa.text(f"CREATE TRIGGER power_cut BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'power cut'); END")
        )


def power_back(workspace: Workspace) -> None:
    with workspace.sessions.begin() as session:
        session.execute(sa.text("DROP TRIGGER power_cut"))


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
    run_id, _, _ = runs.create_run(before, person="Ada")
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


def test_a_model_that_the_gate_refused_needs_a_reason_to_go_live(after: Workspace, trained: Trained) -> None:
    """One click puts a worse model before every user, and nobody knows why."""
    for reason in (None, "", "   "):
        with pytest.raises(NotAllowed) as refused:
            promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason=reason)
        assert refused.value.user_message.startswith("The gate did not pass: ")
        assert "8, at least 30 are needed" in refused.value.user_message
    assert count(after, Promotion) == 1
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="  eight are  all we have ")
    newest = promotion.list_promotions(after)[0]
    assert (newest.cause, newest.reason, newest.person) == (PromotionCause.OVERRIDE, "eight are all we have", "Ada")
    assert newest.previous == "all-MiniLM-L6-v2"
    with pytest.raises(NothingToDo):
        promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="again")


def test_the_gate_counts_only_against_the_model_that_is_live_now(after: Workspace, trained: Trained) -> None:
    """A pass against last month's model lets a worse one replace this month's."""
    with after.sessions.begin() as session:
        old = session.scalars(sa.select(Evaluation)).one()
        values = {c.key: getattr(old, c.key) for c in sa.inspect(Evaluation).column_attrs if c.key != "id"}
        session.add(Evaluation(**{**values, "gate_passed": True}))
    other = add_model(after, "other")
    promotion.promote(after, model_id=other, person="Ada", override_reason="a try")
    with pytest.raises(NotAllowed, match="the gate did not pass") as refused:
        promotion.promote(after, model_id=trained.model_id, person="Ada")
    assert "not compared with the one that is live now" in refused.value.user_message
    promotion.rollback(after, person="Ada", reason="")
    promotion.promote(after, model_id=trained.model_id, person="Ada")
    assert promotion.list_promotions(after)[0].cause is PromotionCause.GATE


def test_rolling_back_goes_down_the_stack_of_promotions(after: Workspace, trained: Trained) -> None:
    """The second rollback brings back the very model that was rolled back."""
    base, second = live_id(after), trained.model_id
    third = add_model(after, "third")
    for model in (second, third):
        promotion.promote(after, model_id=model, person="Ada", override_reason="a try")
    assert stages(after) == {base: ModelStage.RETIRED, second: ModelStage.RETIRED, third: ModelStage.LIVE}
    promotion.rollback(after, person="Ada", reason="worse")
    assert (live_id(after), stages(after)[third]) == (second, ModelStage.RETIRED)
    assert promotion.rollback(after, person="Ada", reason="still") == "all-MiniLM-L6-v2"
    assert stages(after) == {base: ModelStage.LIVE, second: ModelStage.RETIRED, third: ModelStage.RETIRED}
    with pytest.raises(NothingToDo):
        promotion.rollback(after, person="Ada", reason="further")
    promotion.promote(after, model_id=third, person="Ada", override_reason="once more")
    promotion.rollback(after, person="Ada", reason="no")
    assert live_id(after) == base
    with after.sessions.read() as session:
        row = session.get_one(LiveModel, 1)
        assert row.index_version_id is not None
    assert [p.cause for p in promotion.list_promotions(after)].count(PromotionCause.ROLLBACK) == 3


def test_a_model_whose_index_lacks_new_passages_does_not_go_live(after: Workspace, trained: Trained) -> None:
    """After a promotion, search does not find what was imported yesterday."""
    import_passages(after, [("new-1", "new", "Something that came later.")], source_name="later")
    with pytest.raises(NotAllowed, match="no index"):
        promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="quick")
    with pytest.raises(NothingToDo):
        search(after, question="anything")
    with after.sessions.read() as session:
        models = [get_model_or_raise(session, model_id) for model_id in (live_id(after), trained.model_id)]
    for model in models:
        ensure_dense_index(after, model)
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="quick")
    assert "new-1" in {hit.passage_id for hit in search(after, question="Something that came later", k=3).live}


def test_a_model_whose_index_folder_is_lost_does_not_go_live_until_it_is_built_again(
    after: Workspace, trained: Trained
) -> None:
    """Promotion points every search at a folder that is not there."""
    with after.sessions.read() as session:
        model = get_model_or_raise(session, trained.model_id)
    folder = ensure_dense_index(after, model)
    shutil.rmtree(folder)
    with pytest.raises(NotAllowed, match="no index"):
        promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="quick")
    assert ensure_dense_index(after, model).is_dir()
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="quick")


def test_search_shows_the_live_model_and_the_candidate_side_by_side(after: Workspace, trained: Trained) -> None:
    """The two columns show the same model, or ranks of the wrong list."""
    found = search(after, question=TOPICS[15].question, k=60)
    assert (found.live_model, found.candidate_model) == ("all-MiniLM-L6-v2", f"run {trained.run_id} (sum_marginal)")
    assert found.live[0].passage_id == "stain-answer"
    live, candidate = ({hit.passage_id: hit.rank for hit in hits} for hits in (found.live, found.candidate))
    assert len(live) == len(candidate) == 60
    assert all(hit.other_rank == candidate[hit.passage_id] for hit in found.live)
    assert all(hit.other_rank == live[hit.passage_id] for hit in found.candidate)
    assert [h.score for h in found.live] != [h.score for h in found.candidate]
    promotion.promote(after, model_id=trained.model_id, person="Ada", override_reason="why not")
    now = search(after, question=TOPICS[15].question, k=60)
    assert (now.live_model, now.candidate_model, now.candidate) == (found.candidate_model, None, ())
    assert {hit.passage_id: hit.rank for hit in now.live} == candidate


@pytest.mark.parametrize(("question", "k"), [("  ", 10), ("bread", 0)])
def test_a_search_for_nothing_is_refused(after: Workspace, question: str, k: int) -> None:
    """An empty question shows ten random passages as results."""
    with pytest.raises(InputInvalid):
        search(after, question=question, k=k)


def test_pooling_keeps_ranks_and_scores_of_each_system(before: Workspace) -> None:
    """Nobody can tell later which system found a passage, and the local judge has nothing to go by."""
    from retriever.encoder import Encoder

    with before.sessions.read() as session:
        live = get_live(session)
        assert live is not None
        rows = session.execute(
            sa.select(CandidateHit.system, CandidateHit.rank, CandidateHit.score, Passage.external_id)
            .join(Pair, Pair.id == CandidateHit.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .where(Query.external_id == "q-rice")
            .order_by(CandidateHit.system, CandidateHit.rank)
        ).all()
        fused = session.scalars(
            sa.select(Candidate)
            .join(Pair, Pair.id == Candidate.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .where(Query.external_id == "q-rice")
            .order_by(Candidate.rank)
        ).all()
    systems = {row.system for row in rows}
    assert systems == {"bm25", f"dense:{live.hash[:12]}"}
    for system in systems:
        mine = [row for row in rows if row.system == system]
        assert [row.score for row in mine] == sorted((row.score for row in mine), reverse=True)
        assert len({row.rank for row in mine}) == len(mine)
        assert {row.rank for row in mine} <= set(range(1, 9))
    encoder = Encoder.load(before.settings.workspace / live.path)
    texts = {
        external_id: f"rice {text}"
        for external_id, text in zip(passage_ids(RICE), (RICE.answer, RICE.partly, RICE.related), strict=True)
    }
    vectors = encoder.encode([RICE.question, *texts.values()])
    cosines = dict(zip(texts, (vectors[1:] @ vectors[0]).tolist(), strict=True))
    dense = {row.external_id: row.score for row in rows if row.system != "bm25"}
    assert {row: dense[row] for row in cosines if row in dense} == pytest.approx(
        {row: cosine for row, cosine in cosines.items() if row in dense}, abs=1e-4
    )
    assert max(dense, key=lambda passage: dense[passage]) == max(cosines, key=lambda passage: cosines[passage])
    assert [candidate.rank for candidate in fused] == list(range(1, len(fused) + 1))
    assert {candidate.pool_size for candidate in fused} == {len(fused)}


def test_pooling_again_adds_nothing_and_labels_nothing_twice(before: Workspace) -> None:
    """Each pooling doubles the candidates, and the bill."""
    candidates, hits = count(before, Candidate), count(before, CandidateHit)
    again = pooling.pool(before)
    assert (again.n_queries, again.new, again.assigned) == (12, 0, {})  # held-out questions are judged: they stay
    assert again.renewed > 0
    assert (count(before, Candidate), count(before, CandidateHit)) == (candidates, hits)
    judge = scripted_judge(before)
    assert labelling.label(before, judge).proposed == 0


def test_the_overview_says_what_to_do_next_from_nothing_to_a_candidate(
    workspace: Workspace, before: Workspace, after: Workspace
) -> None:
    """A newcomer stands before a page of zeros."""

    def steps(opened: Workspace) -> list[str]:
        return [step.text for step in overview.get_overview(opened).next_steps]

    assert steps(workspace) == ["Import the passages your retriever searches."]
    import_passages(workspace, [("p", "", "a passage")], source_name="s")
    assert steps(workspace) == ["Import questions people ask."]
    add_corpus(workspace)
    assert steps(workspace) == ["Pool candidates for the questions."]
    assert steps(before)[-1] == "Retrain on the curated labels."
    runs.create_run(before, person="Ada")
    assert steps(before)[0] == "A training run is waiting for a worker. Follow it."
    assert "Retrain on the curated labels." not in steps(before)
    assert steps(after)[0].startswith("A candidate, run ")
    assert "Retrain on the curated labels." not in steps(after), "these labels are trained on already"
    candidate = promotion.list_models(after)[0].id
    promotion.promote(after, model_id=candidate, person="Ada", override_reason="go")
    assert not any("candidate" in step for step in steps(after))


def test_the_overview_counts_what_the_labels_page_shows(before: Workspace) -> None:
    """Two screens, two numbers, and no trust in either."""
    view = overview.get_overview(before)
    assert view.n_queries == {"train": 12, "held-out": 8}
    assert view.n_passages == 60
    assert view.funnel.proposed == view.funnel.accepted == view.funnel.curated
    assert (view.funnel.rejected, view.funnel.audited, view.judges) == (0, 0, ("scripted/1",))
    assert view.uncertified
    graded = audit(before, at_most=3)
    assert overview.get_overview(before).funnel.waiting == view.funnel.waiting - graded


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
