"""Label jobs with a real server: planned before, capped, resumed, retried, counted; nothing is bought twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from annotator.judges.local import LocalJudge
from annotator.types import Criterion, JudgeFailure, JudgeIdentity, JudgeKind, Proposal, SuggestionStatus, Usage
from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid, NothingToDo
from app.jobs import labelling as label_queue
from app.services import costs, label_jobs, label_plans, labelling, routing, runs
from app.services.call_ledger import DatabaseLedger
from app.services.charged_calls import charged_to_a_job
from app.services.held_jobs import JobHeld, held
from app.services.label_jobs import run_here
from app.services.label_views import LabelJobView
from app.services.labelling import LabelReport, store_results
from builders import TOPICS, Clock, add_candidates, add_corpus, pair_ids, with_clock
from db.enums import RunStatus
from db.models import JudgeRow, LabelJob, SpendEntry, Suggestion
from servers.scripted_llm import COMPLETION_TOKENS, PROMPT_TOKENS, Behaviour, Request, ScriptedLLM, fails, good

N_PAIRS = 18
A_CALL = PROMPT_TOKENS + COMPLETION_TOKENS
Answer = Callable[[Request], Behaviour]


@pytest.fixture
def script() -> dict[str, Behaviour]:
    """What the server answers to a question that holds these words, instead of a good reply."""
    return {}


@pytest.fixture
def server(script: dict[str, Behaviour]) -> Iterator[ScriptedLLM]:
    def answer(request: Request) -> Behaviour:
        return next((said for words, said in script.items() if words in request.user_message), good(grade=3))

    with ScriptedLLM(answer) as running:
        yield running


@pytest.fixture
def pooled(any_workspace: Workspace, server: ScriptedLLM) -> Workspace:
    """Three train questions with six candidates each, and the scripted server as the LLM; no price is set."""
    add_corpus(any_workspace, topics=TOPICS[:3])
    add_candidates(any_workspace, topics=TOPICS[:3])
    return with_settings(any_workspace, judge="llm", openai_base_url=server.base_url, llm_model="scripted")


def with_settings(workspace: Workspace, **changes: object) -> Workspace:
    return replace(workspace, settings=workspace.settings.model_copy(update=changes))


def label(workspace: Workspace, **options: Any) -> tuple[LabelJobView, LabelReport]:
    asked = label_jobs.create_here(workspace, person="Ada", **options)
    return run_here(workspace, asked.job_id)


def count(workspace: Workspace, table: type[Any]) -> int:
    with workspace.sessions.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def test_a_job_labels_every_candidate_and_says_what_it_spent(pooled: Workspace, server: ScriptedLLM) -> None:
    """A job that says done and is not, or a bill that nobody can read."""
    view, report = label(pooled)
    assert (view.status, view.done, view.failed, view.left) == (RunStatus.DONE, N_PAIRS, 0, 0)
    assert (report.proposed, len(server.requests)) == (N_PAIRS, N_PAIRS)
    assert (view.spent_tokens, view.spent_usd) == (N_PAIRS * A_CALL, None)
    assert view.host == server.base_url.removeprefix("http://").removesuffix("/v1")
    with pooled.sessions.read() as session:
        keys = session.scalars(sa.select(Suggestion.reply_key)).all()
        assert len(set(keys)) == N_PAIRS
        assert set(keys) == set(session.scalars(sa.select(SpendEntry.key)))
    with pytest.raises(NothingToDo, match="no candidate left"):
        label_jobs.create(pooled, person="Ada")


def test_a_cap_stops_the_job_keeps_everything_and_a_higher_one_goes_on(pooled: Workspace, server: ScriptedLLM) -> None:
    """A cap that is passed, that throws away what was bought, or that a second click forgets."""
    worst = label_plans.plan(pooled).worst_tokens // N_PAIRS
    cap = worst + 6 * A_CALL
    view, report = label(pooled, token_cap=cap)
    assert view.status is RunStatus.FAILED
    assert (report.proposed, report.prompt_tokens + report.completion_tokens) == (view.done, view.spent_tokens), (
        "a job that stops early reports that it did nothing"
    )
    assert f"The cap of {cap:,} tokens is reached" in view.message
    assert 0 < view.done < N_PAIRS
    assert len(server.requests) == count(pooled, Suggestion) == view.done
    assert len(server.requests) * A_CALL == view.spent_tokens <= cap
    same, _ = label(pooled, token_cap=cap)
    assert (same.id, same.status, same.done) == (view.id, RunStatus.FAILED, view.done)
    more, _ = label(pooled, token_cap=cap * 20)
    assert (more.id, more.status, more.done) == (view.id, RunStatus.DONE, N_PAIRS)
    assert (len(server.requests), more.spent_tokens) == (N_PAIRS, N_PAIRS * A_CALL)


def test_a_cap_in_dollars_needs_a_price_and_then_holds(pooled: Workspace) -> None:
    """A cap in dollars that an unknown price makes meaningless."""
    with pytest.raises(InputInvalid) as refused:
        label_jobs.create(pooled, person="Ada", cost_cap_usd=1.0)
    assert "--cap-tokens" in refused.value.user_message
    priced = with_settings(pooled, llm_price_in_per_million_usd=1.0, llm_price_out_per_million_usd=10.0)
    view, _ = label(priced, cost_cap_usd=1.0)
    assert view.spent_usd == pytest.approx(N_PAIRS * (PROMPT_TOKENS * 1 + COMPLETION_TOKENS * 10) / 1e6)


@pytest.mark.parametrize("cap", [{"token_cap": 0}, {"token_cap": -5}, {"cost_cap_usd": 0.0}, {"token_cap": 3 * 10**9}])
def test_a_cap_that_means_nothing_is_refused(pooled: Workspace, cap: dict[str, Any]) -> None:
    """A slip of the keyboard that turns the cap off."""
    with pytest.raises(InputInvalid, match="cap must be positive"):
        label_jobs.create(pooled, person="Ada", **cap)


def test_failures_are_a_ledger_and_a_retry_asks_only_those(
    pooled: Workspace, server: ScriptedLLM, script: dict[str, Behaviour]
) -> None:
    """One retry that pays for everything again, or a pair that is called failed after it succeeded."""
    script[TOPICS[0].answer] = fails(400, message="Your input was flagged")
    script[TOPICS[1].partly] = fails(429, message="slow down", headers={"Retry-After": "86400"})
    view, report = label(pooled)
    failures = label_jobs.list_failures(pooled)
    by_passage = {failure.passage_id: failure for failure in failures}
    retryable = sum(failure.retryable for failure in failures)
    assert (view.status, view.done, view.failed) == (RunStatus.DONE, N_PAIRS - len(failures), len(failures))
    assert 0 < retryable < len(failures) == report.failed
    assert not by_passage["bread-answer"].retryable
    assert by_passage["bicycle-partly"].retryable
    assert "flagged" in by_passage["bread-answer"].reason
    before = len(server.requests)
    del script[TOPICS[1].partly]
    retried, report = label(pooled, only_failed=True)
    assert (retried.id != view.id, report.proposed, report.failed) == (True, retryable, 0)
    assert len(server.requests) == before + retryable
    assert [failure.retryable for failure in label_jobs.list_failures(pooled)] == [False] * (len(failures) - retryable)
    with pytest.raises(NothingToDo, match="no candidate left"):
        label_jobs.create(pooled, person="Ada", only_failed=True)
    del script[TOPICS[0].answer]
    _, forced = label(pooled, only_failed=True, even_final=True)
    assert forced.proposed == len(failures) - retryable
    assert label_jobs.list_failures(pooled) == ()


def test_a_second_request_for_the_same_labels_is_the_same_job(pooled: Workspace) -> None:
    """Two clicks label twice, each with a cap of its own."""
    first = label_jobs.create(pooled, person="Ada", token_cap=10_000)
    second = label_jobs.create(pooled, person="Grace", token_cap=20_000)
    assert (second.job_id, second.workflow_id, second.new) == (first.job_id, first.workflow_id, False)
    assert label_jobs.get_job(pooled, job_id=first.job_id).token_cap == 20_000
    assert label_jobs.get_queued(pooled) == ((first.job_id, first.workflow_id),)


def test_an_unfinished_job_keeps_its_caps_until_others_are_named(pooled: Workspace) -> None:
    """Somebody asks again without a word about money, and the cap that stopped the job is gone."""
    first = label_jobs.create(pooled, person="Ada", token_cap=5_000)
    label_jobs.finish(pooled, first.job_id, RunStatus.FAILED, "the cap is reached")
    assert label_plans.plan(pooled).token_cap == 5_000
    again = label_jobs.create(pooled, person="Bob")
    assert (again.job_id, label_jobs.get_job(pooled, job_id=again.job_id).token_cap) == (first.job_id, 5_000)
    label_jobs.create(with_settings(pooled, llm_cap_tokens=9_000_000), person="Bob")
    assert label_jobs.get_job(pooled, job_id=again.job_id).token_cap == 5_000
    label_jobs.create(pooled, person="Bob", token_cap=6_000)
    assert label_jobs.get_job(pooled, job_id=again.job_id).token_cap == 6_000


def test_one_cap_never_drops_the_other(pooled: Workspace) -> None:
    """A cap in tokens is given, and the dollars that the settings allow no longer hold."""
    prices = {"llm_price_in_per_million_usd": 1.0, "llm_price_out_per_million_usd": 1.0}
    priced = with_settings(pooled, llm_cap_usd=1.0, **prices)
    job_id = label_jobs.create(priced, person="Ada", token_cap=500_000_000).job_id
    view = label_jobs.get_job(priced, job_id=job_id)
    assert (view.token_cap, view.cost_cap_usd) == (500_000_000, 1.0)
    label_jobs.create(priced, person="Ada", cost_cap_usd=2.0)
    view = label_jobs.get_job(priced, job_id=job_id)
    assert (view.token_cap, view.cost_cap_usd) == (500_000_000, 2.0)


def test_a_retry_has_the_caps_of_the_job_that_the_failures_came_from(
    pooled: Workspace, script: dict[str, Behaviour]
) -> None:
    """The button that asks again about failures spends without any limit."""
    script[TOPICS[1].partly] = fails(429, message="slow down", headers={"Retry-After": "86400"})
    view, _ = label(pooled, token_cap=300_000)
    assert (view.status, view.failed > 0) == (RunStatus.DONE, True)
    (asked,) = label_queue.retry(pooled, person="Bob")
    retried = label_jobs.get_job(pooled, job_id=asked.job_id)
    assert (retried.id != view.id, retried.token_cap) == (True, 300_000)


def test_a_job_that_its_own_process_left_behind_goes_on_with_its_budget(pooled: Workspace) -> None:
    """After a crash the same command opens a fresh budget."""
    left = label_jobs.create_here(pooled, person="Ada", token_cap=100_000)
    again = label_jobs.create_here(pooled, person="Ada", token_cap=100_000)
    assert again.job_id == left.job_id
    with held(pooled, left.job_id), pytest.raises(Conflict, match="held"):
        run_here(pooled, left.job_id)
    assert run_here(pooled, again.job_id)[0].status is RunStatus.DONE


def leave_behind(workspace: Workspace, job_id: int) -> None:
    """The job as a process leaves it that is killed: it runs, and its lock file is there and held by nobody."""
    with workspace.sessions.begin() as session:
        job = session.get_one(LabelJob, job_id)
        job.status, job.finished_at = RunStatus.RUNNING, None
    folder = workspace.settings.workspace / ".callers"
    folder.mkdir(exist_ok=True)
    (folder / f"job-{job_id}.held").touch()


def test_a_job_whose_process_was_killed_is_closed_when_somebody_looks(pooled: Workspace) -> None:
    """A row that says running for ever, and that the screen can neither start nor stop nor replace."""
    left = label_jobs.create_here(pooled, person="Ada", token_cap=100_000).job_id
    leave_behind(pooled, left)
    with held(pooled, left):
        assert label_jobs.list_jobs(pooled)[0].status is RunStatus.RUNNING
    (view,) = label_jobs.list_jobs(pooled)
    assert (view.status, "ended" in view.message) == (RunStatus.FAILED, True)
    again = label_jobs.create(pooled, person="Bob")
    assert label_jobs.get_queued(pooled) == ((left, again.workflow_id),)


def test_a_job_left_behind_is_stopped_at_once_and_replaced_at_once(pooled: Workspace) -> None:
    """The Stop button waits for a process that is dead."""
    left = label_jobs.create_here(pooled, person="Ada").job_id
    leave_behind(pooled, left)
    label_jobs.request_cancel(pooled, job_id=left, person="Bob")
    assert label_jobs.get_job(pooled, job_id=left).status is RunStatus.CANCELLED
    leave_behind(pooled, left)
    with pooled.sessions.begin() as session:
        session.get_one(LabelJob, left).workflow_id = None
    assert label_jobs.create(pooled, person="Bob").job_id == left
    assert [job_id for job_id, _ in label_jobs.get_queued(pooled)] == [left]


def test_a_job_of_another_directory_is_left_alone_while_it_gives_signs_of_life(pooled: Workspace) -> None:
    """Two machines share a database, and looking on one ends what the other does."""
    clock = Clock()
    workspace = with_clock(pooled, clock)
    job_id = label_jobs.create_here(workspace, person="Ada").job_id
    with workspace.sessions.begin() as session:
        session.get_one(LabelJob, job_id).status = RunStatus.RUNNING
    assert label_jobs.get_job(workspace, job_id=job_id).status is RunStatus.RUNNING
    clock.pass_minutes(3)
    assert label_jobs.get_job(workspace, job_id=job_id).status is RunStatus.FAILED


def test_a_labelling_that_is_interrupted_closes_its_job(pooled: Workspace) -> None:
    """Ctrl-C leaves a job that looks alive."""

    def interrupt() -> bool:
        (view,) = label_jobs.list_jobs(pooled)
        assert view.status is RunStatus.RUNNING
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labelling.label(pooled, LocalJudge(pooled.scale), should_cancel=interrupt)
    assert [view.status for view in label_jobs.list_jobs(pooled)] == [RunStatus.CANCELLED]


def test_calls_beside_labelling_whose_process_was_killed_do_not_run_for_ever(pooled: Workspace) -> None:
    """A measurement that was killed is shown as running, and its next one cannot tell."""
    identity = JudgeIdentity("m/p", JudgeKind.LLM, "m", "v", Criterion.RELEVANCE, False, {})

    def charged() -> int:
        with (
            DatabaseLedger(pooled) as ledger,
            charged_to_a_job(pooled, ledger, identity, kind="test", n=1, cap_tokens=1_000) as job_id,
        ):
            assert label_jobs.get_job(pooled, job_id=job_id).status is RunStatus.RUNNING
        return job_id

    job_id = charged()
    leave_behind(pooled, job_id)
    assert label_jobs.get_job(pooled, job_id=job_id).status is RunStatus.FAILED
    assert charged() == job_id
    assert label_jobs.get_job(pooled, job_id=job_id).status is RunStatus.DONE


def test_a_queued_job_that_no_worker_lives_for_is_taken_over_whole(pooled: Workspace) -> None:
    """The worker comes back, finds the job at work elsewhere, and marks it as failed."""
    asked = label_jobs.create(pooled, person="Ada")
    same = label_jobs.create_here(pooled, person="Bob")
    assert same.job_id == asked.job_id
    seen: list[RunStatus] = []

    def worker_comes_back(done: int, total: int) -> None:
        with pytest.raises(label_jobs.JobCancelled) as refused:
            label_jobs.work_step(pooled, asked.job_id, workflow_id=asked.workflow_id)
        label_jobs.close_after(pooled, asked.job_id, refused.value, workflow_id=asked.workflow_id)
        label_jobs.close_after(pooled, asked.job_id, JobHeld("held"))
        seen.append(label_jobs.get_job(pooled, job_id=asked.job_id).status)

    view, report = run_here(pooled, same.job_id, on_progress=worker_comes_back)
    assert set(seen) == {RunStatus.RUNNING}
    assert (view.status, report.proposed, view.message) == (RunStatus.DONE, N_PAIRS, "")
    assert label_jobs.get_queued(pooled) == ()


def test_a_job_that_a_living_worker_has_in_hand_is_not_taken_over(pooled: Workspace, server: ScriptedLLM) -> None:
    """Two processes work on one job, and each ends the other's."""
    runs.beat(pooled)
    asked = label_jobs.create(pooled, person="Ada")
    with pytest.raises(Conflict) as refused:
        run_here(pooled, label_jobs.create_here(pooled, person="Bob").job_id)
    assert "The worker has label job" in refused.value.user_message
    assert label_jobs.get_queued(pooled) == ((asked.job_id, asked.workflow_id),)
    assert server.requests == []


def test_a_cancelled_job_stops_and_can_go_on(pooled: Workspace, server: ScriptedLLM) -> None:
    """A job that nobody can stop, or that is lost when somebody did."""
    asked = label_jobs.create(pooled, person="Ada")
    label_jobs.request_cancel(pooled, job_id=asked.job_id, person="Ada")
    assert label_jobs.get_job(pooled, job_id=asked.job_id).status is RunStatus.CANCELLED
    with pytest.raises(label_jobs.JobCancelled):
        label_jobs.work_step(pooled, asked.job_id)
    assert server.requests == []
    view, _ = label(pooled)
    assert (view.id, view.status, view.done) == (asked.job_id, RunStatus.DONE, N_PAIRS)


def test_a_job_is_not_gone_on_with_by_another_judge(pooled: Workspace) -> None:
    """Somebody changes the model in the middle, and half of the labels are another judge's under one name."""
    asked = label_jobs.create_here(pooled, person="Ada")
    view, _ = run_here(with_settings(pooled, llm_max_completion_tokens=50), asked.job_id)
    assert view.status is RunStatus.FAILED
    assert "have changed since" in view.message


def test_a_wrong_key_ends_the_job_with_a_sentence(pooled: Workspace, script: dict[str, Behaviour]) -> None:
    """A job that looks alive for ever, or a traceback on the screen."""
    script[""] = fails(401, message="Incorrect API key provided", code="invalid_api_key")
    view, _ = label(pooled)
    assert view.status is RunStatus.FAILED
    assert "OPENAI_API_KEY" in view.message


def test_a_plan_calls_nothing_and_says_what_would_be_sent_where(pooled: Workspace, server: ScriptedLLM) -> None:
    """Texts sent to a host nobody saw, at a price nobody was told."""
    plan = label_plans.plan(pooled, token_cap=5_000)
    assert server.requests == []
    assert (plan.n_pairs, plan.n_calls, plan.n_stored, plan.n_sampled) == (N_PAIRS, N_PAIRS, 0, N_PAIRS)
    assert plan.host == server.base_url.removeprefix("http://").removesuffix("/v1")
    assert (plan.cost_usd, plan.minutes, plan.token_cap) == (None, None, 5_000)
    assert plan.worst_tokens > plan.tokens > 0
    assert "nothing is measured" in plan.tokens_basis
    assert [message.role for message in plan.prompt] == ["system", "user"]
    label(pooled)
    assert plan.prompt[1].content in {request.user_message for request in server.requests}


def test_a_plan_learns_from_what_was_measured(pooled: Workspace, script: dict[str, Behaviour]) -> None:
    """An estimate that stays a guess after a thousand measured calls."""
    script[TOPICS[0].answer] = fails(429, message="slow down", headers={"Retry-After": "86400"})
    priced = with_settings(pooled, llm_price_in_per_million_usd=1.0, llm_price_out_per_million_usd=10.0)
    label(priced)
    plan = label_plans.plan(priced, only_failed=True)
    assert plan.n_pairs == plan.n_calls > 0
    assert plan.tokens == plan.n_calls * A_CALL
    assert plan.cost_usd == pytest.approx(plan.n_calls * (PROMPT_TOKENS + COMPLETION_TOKENS * 10) / 1e6)
    assert plan.minutes is not None
    assert "calls used 150 tokens each" in plan.tokens_basis


def test_the_local_judge_is_planned_without_a_host_or_a_price(pooled: Workspace) -> None:
    """People are told that texts leave the machine when none does."""
    plan = label_plans.plan(with_settings(pooled, judge="local"), spec={"kind": "local"})
    assert (plan.host, plan.n_pairs, plan.n_calls, plan.tokens, plan.prompt) == (None, N_PAIRS, 0, 0, ())
    view, _ = label(pooled, spec={"kind": "local"})
    assert (view.status, view.done, view.spent_tokens) == (RunStatus.DONE, N_PAIRS, 0)


def test_a_list_is_one_call_and_its_plan_says_so(pooled: Workspace) -> None:
    """A plan that multiplies the price of a list by its length."""
    plan = label_plans.plan(pooled, spec={"kind": "listwise"})
    assert (plan.n_pairs, plan.n_calls) == (N_PAIRS, 3)


def test_costs_are_told_by_judge_and_by_accepted_label(pooled: Workspace) -> None:
    """Nobody can say what a label costs."""
    priced = with_settings(pooled, llm_price_in_per_million_usd=1.0, llm_price_out_per_million_usd=10.0)
    view, _ = label(priced)
    routed = routing.route(priced)
    (judge,) = costs.get_costs(priced).judges
    assert (judge.calls, judge.tokens, judge.suggestions) == (N_PAIRS, N_PAIRS * A_CALL, N_PAIRS)
    assert judge.accepted == routed.accepted > 0
    assert judge.cost_usd == pytest.approx(view.spent_usd)
    assert judge.usd_per_accepted == pytest.approx((view.spent_usd or 0) / routed.accepted)


def test_two_workers_that_store_the_same_pair_leave_one_suggestion(pooled: Workspace) -> None:
    """A pair has two valid suggestions of one judge, and the second replaces what a decision rests on."""
    asked = label_jobs.create(pooled, person="Ada")
    with pooled.sessions.read() as session:
        judge = session.get_one(JudgeRow, session.get_one(LabelJob, asked.job_id).judge_id)
    pairs = sorted(pair_ids(pooled).values())

    def proposal(pair_id: int, grade: int | None) -> Proposal | JudgeFailure:
        status = SuggestionStatus.UNREADABLE if grade is None else SuggestionStatus.OK
        usage, key = Usage(), f"key of {pair_id}"
        return Proposal(pair_id, status, grade, None, None, None, None, False, "", "", usage, reply_key=key)

    def store(results: list[Proposal | JudgeFailure]) -> None:
        store_results(pooled, results, judge=judge, job_id=asked.job_id, definitions={})

    store([proposal(pairs[0], None)])
    workers = [threading.Thread(target=store, args=([proposal(p, 1 + n % 2) for p in pairs],)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with pooled.sessions.read() as session:
        readable = sa.select(Suggestion.pair_id).where(Suggestion.status == SuggestionStatus.OK)
        assert sorted(session.scalars(readable)) == pairs
    assert count(pooled, Suggestion) == len(pairs) + 1
    with pooled.sessions.read() as session:
        one = session.scalars(sa.select(Suggestion).where(Suggestion.status == SuggestionStatus.OK)).first()
    assert one is not None
    again = Suggestion(**{c.name: getattr(one, c.name) for c in Suggestion.__table__.columns if c.name != "id"})
    with pytest.raises(sa.exc.IntegrityError), pooled.sessions.begin() as session:
        session.add(again)
