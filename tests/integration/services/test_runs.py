"""Freezing label sets and asking for training runs, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import InputInvalid, NothingToDo
from app.services import labels, runs, training_work
from app.services.importing import NewJudgement, import_judgements
from app.services.label_sets import freeze, load_stages
from app.services.label_weights import ACCEPTED_P, ACCEPTED_WEIGHT, weight_by
from builders import (
    N_TRAIN,
    TOPICS,
    Clock,
    add_candidates,
    add_corpus,
    add_model,
    add_suggestions,
    judge_held_out,
    pair_ids,
    truth,
    with_clock,
)
from db.enums import LabelSource, RunStatus
from db.errors import NotFound
from db.models import LabelSet, LabelSetItem, Pair, Query, TrainingRun
from retriever.errors import TrainingCancelled

SOME = (*TOPICS[:3], *TOPICS[N_TRAIN:])


@pytest.fixture
def labelled(any_workspace: Workspace) -> Workspace:
    """Eighteen accepted labels of three train questions, people's grades on eight held-out ones, and a live model."""
    add_corpus(any_workspace, topics=SOME)
    add_candidates(any_workspace, topics=SOME)
    add_suggestions(any_workspace)
    judge_held_out(any_workspace)
    add_model(any_workspace, "base", live=True)
    return any_workspace


def frozen(workspace: Workspace, criterion: Criterion = Criterion.RELEVANCE) -> LabelSet:
    with workspace.sessions.begin() as session:
        return freeze(workspace, session, criterion=criterion, person="Ada")


def items(workspace: Workspace, label_set: LabelSet) -> list[LabelSetItem]:
    with workspace.sessions.read() as session:
        return list(session.scalars(sa.select(LabelSetItem).where(LabelSetItem.label_set_id == label_set.id)))


def test_a_label_set_holds_train_questions_only(labelled: Workspace) -> None:
    """The test set is trained on, and every number after that is a lie."""
    label_set = frozen(labelled)
    with labelled.sessions.read() as session:
        queries = session.scalars(
            sa.select(Query.external_id)
            .join(Pair, Pair.query_id == Query.id)
            .join(LabelSetItem, LabelSetItem.pair_id == Pair.id)
            .distinct()
        ).all()
    assert sorted(queries) == ["q-bicycle", "q-bread", "q-tomatoes"]
    assert (label_set.n_labels, label_set.n_queries, label_set.counts) == (18, 3, {"accepted": 18})


def test_a_persons_label_weighs_more_than_an_uncertified_one(labelled: Workspace) -> None:
    """Training trusts a guess as much as an expert."""
    pair_id = pair_ids(labelled)["q-bread", "bread-answer"]
    labels.overturn(labelled, pair_id=pair_id, person="Ada", grade=2, note="")
    stored = {item.pair_id: item for item in items(labelled, frozen(labelled))}
    assert (stored[pair_id].weight, stored[pair_id].grade) == (1.0, 2.0)
    assert stored[pair_id].source is LabelSource.HUMAN
    assert stored[pair_id].review_id is not None
    others = [item for other, item in stored.items() if other != pair_id]
    assert {(item.weight, item.source, item.review_id) for item in others} == {
        (weight_by(ACCEPTED_WEIGHT, ACCEPTED_P), LabelSource.ACCEPTED, None)
    }
    assert ACCEPTED_WEIGHT < 1


def test_equal_labels_are_one_set_and_any_change_is_another(labelled: Workspace) -> None:
    """Two runs on the same labels look like different experiments, or two different ones like the same."""
    first = frozen(labelled)
    assert (frozen(labelled).id, len(items(labelled, first))) == (first.id, 18)
    pair_id = pair_ids(labelled)["q-bread", "bread-answer"]
    labels.overturn(labelled, pair_id=pair_id, person="Ada", grade=3, note="same grade, now a person's")
    second = frozen(labelled)
    assert second.hash != first.hash
    assert len(items(labelled, first)) == 18


def test_the_same_grades_under_another_criterion_are_another_set(workspace: Workspace) -> None:
    """Relevance labels train a model that is said to be trained on utility."""
    add_corpus(workspace, topics=SOME)
    for criterion in Criterion:
        import_judgements(
            workspace,
            [NewJudgement("q-bread", "bread-answer", 3), NewJudgement("q-bread", "rice-answer", 0)],
            source_name="everyday",
            person="Grace",
            max_grade=3,
            criterion=criterion,
        )
    relevance, utility = frozen(workspace), frozen(workspace, Criterion.UTILITY)
    assert relevance.hash != utility.hash
    assert (relevance.criterion, utility.criterion) == (Criterion.RELEVANCE, Criterion.UTILITY)


def test_a_frozen_set_gives_each_question_its_graded_passages(labelled: Workspace) -> None:
    """Training reads other grades than those that were frozen."""
    with labelled.sessions.begin() as session:
        label_set = freeze(labelled, session, criterion=Criterion.RELEVANCE, person="Ada")
        lists = load_stages(session, label_set.id, relevant_from=2)[0].lists
    assert [entry.query_id for entry in lists] == ["q-bicycle", "q-bread", "q-tomatoes"]
    for entry in lists:
        assert {p.passage_id: p.grade for p in entry.passages} == {
            p.passage_id: truth(entry.query_id, p.passage_id) for p in entry.passages
        }
        assert len(entry.passages) == 6
    assert lists[1].query == TOPICS[0].question
    assert lists[1].passages[0].text == f"bread {TOPICS[0].answer}"


def test_without_labels_training_says_what_is_missing(any_workspace: Workspace) -> None:
    """A click on Retrain starts a run that can only fail."""
    add_corpus(any_workspace, topics=SOME)
    add_model(any_workspace, "base", live=True)
    with pytest.raises(NothingToDo, match="No label of a train question is accepted or audited yet"):
        runs.create_run(any_workspace, person="Ada")
    import_judgements(
        any_workspace,
        [NewJudgement("q-bread", "rice-answer", 1)],
        source_name="everyday",
        person="Grace",
        max_grade=3,
    )
    with pytest.raises(NothingToDo, match="No curated label is relevant"):
        runs.create_run(any_workspace, person="Ada")
    assert runs.get_trainable(any_workspace).problem == (
        "No curated label is relevant (grade 2 or more) yet. Review some pairs first."
    )
    assert runs.get_latest_run(any_workspace) is None


def test_without_a_live_model_there_is_nothing_to_train_from(workspace: Workspace) -> None:
    """A run starts from nothing, and fails in the worker where nobody looks."""
    add_corpus(workspace, topics=SOME)
    add_candidates(workspace, topics=SOME)
    add_suggestions(workspace)
    with pytest.raises(NothingToDo, match="no model is live"):
        runs.create_run(workspace, person="Ada")


def test_a_second_click_shows_the_run_that_is_going_on(labelled: Workspace) -> None:
    """People click again, and the machine trains twice (label-studio#991)."""
    first = runs.create_run(labelled, person="Ada")
    second = runs.create_run(labelled, person="Grace")
    assert first[2]
    assert second == (first[0], first[1], False)
    view = runs.get_run(labelled, run_id=first[0])
    assert (view.status, view.n_labels, view.label_counts) == (RunStatus.QUEUED, 18, {"accepted": 18})


def test_eight_clicks_at_once_make_one_run(labelled: Workspace) -> None:
    """Eight tabs, eight trainings."""
    start = threading.Barrier(8)

    def click(number: int) -> tuple[int, str, bool]:
        start.wait()
        return runs.create_run(labelled, person=f"person {number}")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(click, range(8)))
    assert len({(run_id, workflow_id) for run_id, workflow_id, _ in results}) == 1
    assert sum(new for _, _, new in results) == 1
    assert len(runs.list_runs(labelled)) == 1


def test_a_full_run_starts_from_the_first_base_unless_anchored_to_the_live_model_on_which_an_adapter_stands(
    labelled: Workspace,
) -> None:
    """Fine-tuning a fine-tune lowers the scores (FlagEmbedding#869)."""
    from app.services.promotion import promote

    with labelled.sessions.read() as session:
        base_id = session.scalar(sa.text("SELECT model_version_id FROM live_model"))
    tuned = add_model(labelled, "tuned", base_id=base_id)
    promote(labelled, model_id=tuned, person=labelled.settings.person, override_reason="looks right")
    anchored = {"speed": "full", "start_from": "live", "anchor": 0.5}
    for overrides, base in (({"speed": "full"}, base_id), ({"speed": "adapter"}, tuned), (anchored, tuned)):
        run_id, _, _ = runs.create_run(labelled, person="Ada", overrides=overrides)
        with labelled.sessions.read() as session:
            assert session.get_one(TrainingRun, run_id).base_model_id == base
        runs.request_cancel(labelled, run_id=run_id, person="Ada")


def test_a_setting_that_training_does_not_know_is_refused_at_once(labelled: Workspace) -> None:
    """A typing error in --epochs is found by the worker, in its log."""
    for overrides in ({"epocs": 3}, {"epochs": 0}, {"loss": "magic"}, {"speed": "adapter", "mined_negatives": 8}):
        with pytest.raises(InputInvalid):
            runs.create_run(labelled, person="Ada", overrides=overrides)
    assert runs.get_latest_run(labelled) is None


def test_a_queued_run_is_cancelled_at_once_and_never_begins(labelled: Workspace) -> None:
    """A run nobody wants any more blocks the next one until a worker comes."""
    run_id, _, _ = runs.create_run(labelled, person="Ada")
    runs.request_cancel(labelled, run_id=run_id, person="Grace")
    view = runs.get_run(labelled, run_id=run_id)
    assert (view.status, view.message) == (RunStatus.CANCELLED, "cancelled by Grace")
    assert view.finished_at is not None
    with pytest.raises(TrainingCancelled):
        training_work.train_step(labelled, run_id)
    training_work.finish(labelled, run_id, RunStatus.DONE)
    assert runs.get_run(labelled, run_id=run_id).status is RunStatus.CANCELLED
    assert runs.create_run(labelled, person="Ada")[2]


@pytest.mark.parametrize("status", [RunStatus.DONE, RunStatus.FAILED])
def test_a_finished_run_cannot_be_cancelled(labelled: Workspace, status: RunStatus) -> None:
    """A late click on Cancel rewrites what happened."""
    run_id, _, _ = runs.create_run(labelled, person="Ada")
    training_work.finish(labelled, run_id, status, "over")
    before = runs.get_run(labelled, run_id=run_id)
    runs.request_cancel(labelled, run_id=run_id, person="Grace")
    after = runs.get_run(labelled, run_id=run_id)
    assert (after.status, after.message, after.cancel_requested) == (status, "over", False)
    assert after.finished_at == before.finished_at


@pytest.mark.parametrize(
    "ask", [lambda w: runs.get_run(w, run_id=77), lambda w: runs.request_cancel(w, run_id=77, person="A")]
)
def test_a_run_that_is_not_there_is_said_to_be_missing(
    workspace: Workspace, ask: Callable[[Workspace], object]
) -> None:
    """An old link shows somebody else's run, or a traceback."""
    with pytest.raises(NotFound):
        ask(workspace)


def test_a_worker_is_alive_for_half_a_minute_after_it_last_said_so(any_workspace: Workspace) -> None:
    """The page says "running" while nothing runs (label-studio#468)."""
    clock = Clock()
    workspace = with_clock(any_workspace, clock)
    assert not runs.is_worker_alive(workspace)
    for _ in range(2):
        runs.beat(workspace)
        clock.pass_minutes(0.4)
        assert runs.is_worker_alive(workspace)
        clock.pass_minutes(0.2)
        assert not runs.is_worker_alive(workspace)


def test_workers_that_say_at_once_that_they_live_do_not_trip_over_each_other(any_workspace: Workspace) -> None:
    """The second machine's worker dies at its first heartbeat."""
    start = threading.Barrier(6)

    def beat(_: int) -> None:
        start.wait()
        runs.beat(any_workspace)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(beat, range(6)))
    assert runs.is_worker_alive(any_workspace)
