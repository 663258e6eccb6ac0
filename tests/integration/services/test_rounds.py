"""Rounds on a tiny corpus with the real model: each part once, whatever kills it; nothing is bought without a yes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace, open_with
from app.config import Settings, settings_from
from app.errors import InputInvalid, NothingToDo
from app.jobs import rounds as round_jobs
from app.services import label_jobs, promotion, round_figures, round_parts, rounds, runs
from app.services.importing import NewJudgement, import_judgements
from app.services.indexing import dense_system
from app.services.round_reading import get_open, get_round, list_rounds
from app.services.round_views import Part, RoundView
from builders import N_TRAIN, TOPICS, add_corpus, audit, judge_held_out, passage_ids, query_id
from db.enums import RoundStatus, RunStatus
from db.models import Candidate, CandidateHit, LabelJob, ModelVersion, Suggestion, TrainingRound, TrainingRun
from servers.scripted_llm import COMPLETION_TOKENS, PROMPT_TOKENS, ScriptedLLM, good
from trained import QUICK, copy_of, count, power_back, power_cut


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A workspace whose first round has pooled and labelled with the local judge, and waits for people."""
    workspace = open_with(settings_from(tmp_path_factory.mktemp("begun") / "w", QUICK))
    add_corpus(workspace)
    judge_held_out(workspace)
    turn(workspace)
    workspace.close()
    return workspace.settings


@pytest.fixture
def waiting(begun: Settings, tmp_path: Path) -> Iterator[Workspace]:
    workspace = copy_of(begun, tmp_path / "w")
    yield workspace
    workspace.close()


@pytest.fixture
def server() -> Iterator[ScriptedLLM]:
    with ScriptedLLM(lambda request: good(grade=3)) as running:
        yield running


def turn(workspace: Workspace, **options: object) -> RoundView:
    """What `relabel round` does."""
    asked = rounds.begin(workspace, person="Ada", here=True, **{"consent": True, **options})  # type: ignore[arg-type]
    return round_jobs.run_here(workspace, asked.round_id)


def retrain(workspace: Workspace) -> RoundView:
    """What `relabel round --train` does."""
    return turn(workspace, wait=False)


def with_llm(workspace: Workspace, server: ScriptedLLM) -> Workspace:
    changes = {"judge": "llm", "openai_base_url": server.base_url, "llm_model": "scripted"}
    return replace(workspace, settings=workspace.settings.model_copy(update=changes))


def candidates(workspace: Workspace) -> set[int]:
    with workspace.sessions.read() as session:
        return set(session.scalars(sa.select(Candidate.pair_id)))


def test_a_round_pools_labels_and_then_waits_for_people(waiting: Workspace) -> None:
    """A round retrains on a judge's guesses before anybody could look at them."""
    (view,) = list_rounds(waiting)
    assert (view.number, view.status, view.next_part) == (1, RoundStatus.WAITING, Part.AUDIT)
    assert view.new_pairs == view.labels == count(waiting, Candidate) == count(waiting, Suggestion)
    assert (view.cost_usd, view.n_audits, view.run_id, view.pooled_with) == (0.0, 0, None, "all-MiniLM-L6-v2")
    again = turn(waiting)
    assert (again.id, again.next_part, again.labels) == (view.id, Part.AUDIT, view.labels)
    assert count(waiting, TrainingRun) == 0


def test_a_round_retrains_on_the_audits_and_says_what_it_gained(waiting: Workspace) -> None:
    """Somebody audits for a day, and no figure says whether it was worth it."""
    graded = audit(waiting, at_most=5)
    came_in_a_file = [NewJudgement(query_id(topic), passage_ids(topic)[2], 1) for topic in TOPICS[:N_TRAIN]]
    import_judgements(waiting, came_in_a_file, source_name="file", person="Ada", max_grade=3)
    live = get_open(waiting)
    assert live is not None
    assert live.n_audits == graded == 5, "audits are not counted while they are made"
    view = retrain(waiting)
    assert (view.status, view.next_part, view.n_audits) == (RoundStatus.DONE, Part.OVER, 5)
    assert view.run_id is not None
    run = runs.get_run(waiting, run_id=view.run_id)
    assert run.status is RunStatus.DONE
    assert run.label_counts["human"] > 5, "what came in a file trains, though it is no audit"
    assert run.evaluation is not None
    assert view.ndcg is not None
    assert view.gain is not None
    measured = next(m for m in run.evaluation.measures if m.name == "nDCG@10")
    compared = next(d for d in run.evaluation.differences if d.measure == "nDCG@10" and d.slice == "all")
    assert view.ndcg.mean == pytest.approx(measured.value)
    assert (view.gain.mean, view.gain.n_queries) == (pytest.approx(compared.mean), 8)
    assert view.gain_per_100 == pytest.approx(view.gain.mean / 5 * 100)
    assert (view.stop, view.compared_with) == (None, "all-MiniLM-L6-v2")
    assert "8 held-out questions are judged, at least 30" in view.advice
    assert "on the 8 unseen ones" in view.advice


def test_the_next_round_keeps_every_candidate_and_is_measured_against_the_round_before(waiting: Workspace) -> None:
    """A new model's candidates push out those people have judged, or each round's gain is counted from the start."""
    audit(waiting, at_most=4)
    first = retrain(waiting)
    before = candidates(waiting)
    with waiting.sessions.read() as session:
        made = session.scalars(sa.select(ModelVersion).where(ModelVersion.name == first.model)).one()
    promotion.promote(waiting, model_id=made.id, person="Ada", override_reason="a try")
    second = turn(waiting)
    assert (second.number, second.pooled_with, second.n_audits) == (2, first.model, 0)
    assert before <= candidates(waiting)
    assert second.new_pairs == len(candidates(waiting)) - len(before) == second.labels > 0
    with waiting.sessions.read() as session:
        systems = set(session.scalars(sa.select(CandidateHit.system).distinct()))
    assert dense_system(made) in systems
    audit(waiting, at_most=2)
    second = retrain(waiting)
    assert (second.status, second.compared_with, second.n_audits) == (RoundStatus.DONE, first.model, 2)
    assert [view.number for view in list_rounds(waiting)] == [2, 1]


@pytest.mark.parametrize(("column", "runs_then"), [("run_id", 0), ("finished_at", 1)])
def test_a_round_that_is_killed_in_a_part_does_that_part_again_and_no_other(
    waiting: Workspace, column: str, runs_then: int
) -> None:
    """A crash buys the labels twice, trains a second model, or leaves a run that no round knows."""
    audit(waiting, at_most=3)
    power_cut(waiting, "training_round", f"UPDATE OF {column}")
    failed = retrain(waiting)
    assert failed.status is RoundStatus.FAILED
    assert count(waiting, TrainingRun) == runs_then, "a run was recorded without its round"
    power_back(waiting)
    labels = count(waiting, Suggestion)
    done = turn(waiting)
    assert (done.id, done.status, done.n_audits) == (failed.id, RoundStatus.DONE, 3)
    assert (count(waiting, TrainingRun), count(waiting, Suggestion), count(waiting, TrainingRound)) == (1, labels, 1)


def test_a_round_whose_process_died_in_the_training_goes_on_at_once(waiting: Workspace) -> None:
    """After a power cut, `relabel round` says that a training is going on, and nobody can find it."""
    audit(waiting, at_most=3)
    asked = rounds.begin(waiting, person="Ada", wait=False, here=True)
    run_id = round_parts.begin_training(waiting, asked.round_id, here=True)
    with waiting.sessions.begin() as session:  # as a killed process leaves them
        session.get_one(TrainingRun, run_id).status = RunStatus.RUNNING
    left = get_open(waiting)
    assert left is not None
    assert (left.status, left.next_part, left.alive) == (RoundStatus.RUNNING, Part.TRAIN, False)
    done = turn(waiting)
    assert (done.status, done.run_id, count(waiting, TrainingRun)) == (RoundStatus.DONE, run_id, 1)


def test_the_first_round_gives_no_advice_and_the_second_does(
    waiting: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything the first training brought is put down to the audits before it, and people audit for ever."""
    monkeypatch.setattr(round_figures, "LEAST_QUERIES", 8)  # as many as are judged here
    monkeypatch.setattr(round_figures, "LEAST_AUDITS", 2)
    audit(waiting, at_most=4)
    first = retrain(waiting)
    assert (first.stop, "the first round" in first.advice) == (None, True)
    turn(waiting)
    audit(waiting, at_most=3)
    second = retrain(waiting)
    assert second.stop is not None
    assert "3 audits" in second.advice


def test_a_round_killed_while_it_pooled_counts_its_candidates_once(begun: Settings, tmp_path: Path) -> None:
    """The figures say that a round found nothing new, because its first attempt had."""
    workspace = open_with(settings_from(tmp_path / "new", QUICK))
    add_corpus(workspace, topics=TOPICS[:3])
    power_cut(workspace, "training_round", "UPDATE OF progress")
    failed = turn(workspace)
    assert (failed.status, failed.next_part) == (RoundStatus.FAILED, Part.POOL)
    found = len(candidates(workspace))
    assert found > 0
    power_back(workspace)
    assert turn(workspace).new_pairs == found
    workspace.close()


def test_a_judge_that_costs_money_is_asked_only_after_a_yes_and_within_its_cap(
    waiting: Workspace, server: ScriptedLLM
) -> None:
    """A click on "Next round" sends the corpus away and spends what nobody agreed to."""
    llm = with_llm(waiting, server)
    rounds.request_cancel(llm, round_id=list_rounds(llm)[0].id, person="Ada")
    asked = turn(llm, consent=None)
    assert (asked.number, asked.status, asked.next_part) == (2, RoundStatus.WAITING, Part.CONSENT)
    plan = round_parts.plan(llm, asked.id)
    assert (len(server.requests), plan.n_pairs, plan.host is not None) == (0, count(llm, Candidate), True)
    a_call = PROMPT_TOKENS + COMPLETION_TOKENS
    cap = plan.worst_tokens // plan.n_pairs + 5 * a_call
    rounds.set_caps(llm, round_id=asked.id, token_cap=cap, cost_cap_usd=None)
    rounds.go_on(llm, round_id=asked.id, person="Ada", here=True)
    capped = round_jobs.run_here(llm, asked.id)
    assert (capped.status, capped.next_part) == (RoundStatus.FAILED, Part.LABEL)
    assert f"The cap of {cap:,} tokens is reached" in capped.message
    assert 0 < len(server.requests) * a_call <= cap
    done = turn(llm, token_cap=cap * 100)
    assert (done.id, done.next_part, done.labels) == (asked.id, Part.AUDIT, plan.n_pairs)
    assert len(server.requests) == plan.n_pairs, "what the capped attempt had bought was bought again"


def test_one_round_of_a_criterion_is_open_and_a_cancelled_one_makes_way(waiting: Workspace) -> None:
    """Two tabs, two rounds, and the audits of one count for the other."""
    first = get_open(waiting)
    assert first is not None
    again = rounds.begin(waiting, person="Grace", here=True)
    assert (again.round_id, again.new) == (first.id, False)
    rounds.request_cancel(waiting, round_id=first.id, person="Grace")
    rounds.request_cancel(waiting, round_id=first.id, person="Ada")
    cancelled = get_round(waiting, round_id=first.id)
    assert (cancelled.status, cancelled.message) == (RoundStatus.CANCELLED, "cancelled by Grace")
    assert get_open(waiting) is None
    assert turn(waiting).number == 2
    with waiting.sessions.read() as session:
        row = session.get_one(TrainingRound, first.id)
        values = {c.name: getattr(row, c.name) for c in TrainingRound.__table__.columns if c.name != "id"}
    with pytest.raises(sa.exc.IntegrityError), waiting.sessions.begin() as session:
        session.execute(sa.insert(TrainingRound).values(**values))


def test_cancelling_a_round_cancels_the_run_it_waits_for(waiting: Workspace) -> None:
    """The round is given up, and the machine trains on for it."""
    audit(waiting, at_most=3)
    asked = rounds.begin(waiting, person="Ada", wait=False)
    run_id = round_parts.begin_training(waiting, asked.round_id, here=False)
    rounds.request_cancel(waiting, round_id=asked.round_id, person="Ada")
    assert runs.get_run(waiting, run_id=run_id).status is RunStatus.CANCELLED
    assert round_jobs.run_here(waiting, asked.round_id).status is RoundStatus.CANCELLED


def test_somebody_elses_training_is_not_taken_for_the_rounds(waiting: Workspace) -> None:
    """A round's figures are those of another run, on other labels."""
    audit(waiting, at_most=3)
    run_id, _, _ = runs.create_run(waiting, person="Grace")
    failed = retrain(waiting)
    assert (failed.status, failed.run_id) == (RoundStatus.FAILED, None)
    assert f"Training run {run_id} is going on" in failed.message
    runs.request_cancel(waiting, run_id=run_id, person="Grace")
    assert turn(waiting).status is RoundStatus.DONE


def test_two_processes_never_work_on_one_round(waiting: Workspace) -> None:
    """Two terminals pool and label the same round at once."""
    view = get_open(waiting)
    assert view is not None
    with rounds.driving(waiting, view.id), pytest.raises(rounds.RoundHeld):
        round_jobs.run_here(waiting, view.id)


def test_what_cannot_be_is_refused_before_anything_begins(workspace: Workspace) -> None:
    """A round that can only fail pools for an hour first."""
    with pytest.raises(NothingToDo, match="no passages"):
        rounds.begin(workspace, person="Ada")
    add_corpus(workspace, topics=TOPICS[:N_TRAIN])
    for options in ({"overrides": {"speed": "fast"}}, {"token_cap": -1}, {"criterion": Criterion.UTILITY}):
        if "criterion" in options:
            options["spec"] = {"kind": "local"}
        with pytest.raises(InputInvalid):
            rounds.begin(workspace, person="Ada", **options)  # type: ignore[arg-type]
    assert list_rounds(workspace) == ()


def test_a_round_goes_on_with_a_label_job_that_was_stopped(waiting: Workspace, server: ScriptedLLM) -> None:
    """Stopping the labelling loses the round, or makes it train on half of its labels without a word."""
    llm = with_llm(waiting, server)
    rounds.request_cancel(llm, round_id=list_rounds(llm)[0].id, person="Ada")
    asked = rounds.begin(llm, person="Ada", consent=True, here=True)
    round_parts.pool_part(llm, asked.round_id)
    job_id = round_parts.begin_labelling(llm, asked.round_id, here=False)
    assert job_id is not None
    label_jobs.request_cancel(llm, job_id=job_id, person="Grace")
    stopped = round_jobs.run_here(llm, asked.round_id)
    assert (stopped.status, stopped.next_part) == (RoundStatus.WAITING, Part.AUDIT), "the stopped job was gone on with"
    assert stopped.labels == count(llm, Candidate)


def labelling_next(workspace: Workspace, **options: object) -> int:
    """A new round that has pooled and is about to have its pairs labelled."""
    before = get_open(workspace)
    if before is not None:
        rounds.request_cancel(workspace, round_id=before.id, person="Ada")
    asked = rounds.begin(workspace, person="Ada", **{"consent": True, "here": True, **options})  # type: ignore[arg-type]
    round_parts.pool_part(workspace, asked.round_id)
    return asked.round_id


def test_a_round_that_ends_while_it_asks_for_labels_leaves_no_job_to_a_worker(
    waiting: Workspace, server: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round is cancelled or its process dies, and a worker buys the labels all the same."""
    llm = with_llm(waiting, server)
    jobs = count(llm, LabelJob)
    round_id = labelling_next(llm)
    power_cut(llm, "training_round", "UPDATE OF label_job_id")
    with pytest.raises(sa.exc.SQLAlchemyError):
        round_parts.begin_labelling(llm, round_id, here=False)
    assert (count(llm, LabelJob), label_jobs.get_queued(llm)) == (jobs, ()), "killed before it took note of its job"
    power_back(llm)
    create = label_jobs.create

    def cancelled_meanwhile(*args: object, **options: object) -> label_jobs.Asked:
        rounds.request_cancel(llm, round_id=round_id, person="Grace")
        return create(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(label_jobs, "create", cancelled_meanwhile)
    with pytest.raises(rounds.RoundCancelled):
        round_parts.begin_labelling(llm, round_id, here=False)
    assert (count(llm, LabelJob), label_jobs.get_queued(llm)) == (jobs, ())
    assert server.requests == []


def test_a_yes_to_one_host_is_no_yes_to_another(waiting: Workspace, server: ScriptedLLM) -> None:
    """The address in relabel.toml is changed, a failed round is asked again, and the corpus goes to a stranger."""
    llm = with_llm(waiting, server)
    round_id = labelling_next(llm)
    assert rounds.part_of(llm, round_id) is Part.LABEL
    rounds.close_after(llm, round_id, "the server did not answer")
    other = replace(llm, settings=llm.settings.model_copy(update={"openai_base_url": "http://127.0.0.2:9/v1"}))
    rounds.begin(other, person="Ada", here=True)
    asked = round_jobs.run_here(other, round_id)
    assert (asked.status, asked.next_part) == (RoundStatus.WAITING, Part.CONSENT)
    rounds.go_on(other, round_id=round_id, person="Ada", here=True)
    assert rounds.part_of(other, round_id) is Part.LABEL
    assert rounds.part_of(llm, round_id) is Part.CONSENT, "a worker with the older settings"
    assert (server.requests, count(llm, LabelJob)) == ([], 1)


def test_a_round_pooled_with_the_local_judge_asks_before_a_text_leaves(waiting: Workspace, server: ScriptedLLM) -> None:
    """Labelling was free when the round pooled; the judge is changed, and nobody is asked what it costs."""
    round_id = labelling_next(waiting, consent=None)
    assert rounds.part_of(waiting, round_id) is Part.LABEL
    llm = with_llm(waiting, server)
    rounds.begin(llm, person="Ada", spec={"kind": "pointwise"}, here=False)
    assert rounds.part_of(llm, round_id) is Part.CONSENT


def test_a_job_that_somebody_else_asked_for_is_neither_counted_nor_stopped(
    waiting: Workspace, server: ScriptedLLM
) -> None:
    """Cancelling a round stops a colleague's labelling, or its figures claim what that one spent."""
    llm = with_llm(waiting, server)
    theirs = label_jobs.create(llm, person="Grace", spec={"kind": "pointwise"}).job_id
    round_id = labelling_next(llm, here=False)
    assert round_parts.begin_labelling(llm, round_id, here=False) == theirs
    rounds.request_cancel(llm, round_id=round_id, person="Ada")
    assert label_jobs.get_job(llm, job_id=theirs).status is RunStatus.QUEUED
    round_id = labelling_next(llm, here=False)
    assert round_parts.begin_labelling(llm, round_id, here=False) == theirs
    label_jobs.run_here(llm, theirs)
    round_parts.end_labelling(llm, round_id)
    view = get_round(llm, round_id=round_id)
    assert (view.labels, len(server.requests)) == (0, count(llm, Candidate))
