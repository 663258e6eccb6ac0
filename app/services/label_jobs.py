"""Label jobs: asked for, followed, cancelled, resumed, and what a worker does for one; the queue is in `app.jobs`.

A judge has one unfinished job at a time. Whoever asks again goes on with it, and what it has spent stays counted, so
that a crash, a retry or an impatient second click never opens a fresh budget; only a job that is done is followed by a
new one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from annotator.errors import AnnotatorError
from annotator.judges.call_ledger import InMemoryCallLedger
from app.bootstrap import Workspace, judge_host, make_judge
from app.errors import AppError, Conflict, InputInvalid, NothingToDo
from app.services.call_ledger import DatabaseLedger
from app.services.held_jobs import HERE, JobHeld, close_left_behind, held, here_id, is_left_behind
from app.services.indexing import Progress
from app.services.judge_knowledge import known_to
from app.services.label_views import FailureView, LabelJobView
from app.services.labelling import LabelReport, Tally, count_to_ask, label_chunk
from app.services.refusals import refuse_revoked_judge
from app.services.routing import route
from app.services.runs import worker_alive
from db.enums import RunStatus
from db.errors import DbError, NotFound
from db.models import JudgeRow, LabelJob
from db.queries import labelling as label_queries
from db.queries.people import person_named

OUR_ERRORS = (AppError, AnnotatorError, DbError)


@dataclass(frozen=True, slots=True)
class Asked:
    """A job that was asked for; `new` is false where an unfinished one goes on."""

    job_id: int
    workflow_id: str
    new: bool


def create(
    workspace: Workspace,
    *,
    person: str,
    spec: Mapping[str, Any] | None = None,
    token_cap: int | None = None,
    cost_cap_usd: float | None = None,
    only_failed: bool = False,
    even_final: bool = False,
    here: bool = False,
    on_record: Callable[[Session, LabelJob, bool], None] | None = None,
) -> Asked:
    """Asks for the labels that a judge has not given yet; its unfinished job, if there is one, goes on instead.

    Caps are over the whole job, what it has spent before included. A cap that is not given is the one that the
    unfinished job has, for a retry that of the job that the failures came from, else that of the settings. Caps given
    for a job that is under way hold from its next call on. With `only_failed` only pairs are asked about that failed
    before; with `even_final` also those that no retry can mend. `on_record` writes what must be stored together with
    the request or not at all; it is told whether the job is under way by this request, and not by somebody else's.

    Raises:
        NothingToDo: the judge has labelled every candidate.
        InputInvalid: a cap is not positive, or a cap in dollars is given and the price is unknown.
        NotAllowed: the judge is revoked.
        SettingsInvalid, PromptInvalid: there is no such judge.
    """
    settings = workspace.settings
    spec = dict(spec or {})
    judge = make_judge(settings, workspace.scale, InMemoryCallLedger(), spec, known=known_to(workspace))
    capped = token_cap is not None or cost_cap_usd is not None
    with workspace.sessions.begin() as session:
        now = workspace.now()
        row = label_queries.ensure_judge(session, judge.identity, now=now)
        refuse_revoked_judge(session, row)
        job = label_queries.get_unfinished_job(session, judge_id=row.id)
        before = job or (label_queries.get_job_of_last_failure(session, judge_id=row.id) if only_failed else None)
        token_cap, cost_cap_usd = caps(workspace, token_cap=token_cap, cost_cap_usd=cost_cap_usd, before=before)
        if job is not None and job.status.is_active and not is_left_behind(workspace, job):
            if capped:
                job.token_cap, job.cost_cap_usd = token_cap, cost_cap_usd
            if on_record is not None:
                on_record(session, job, False)
            return Asked(job.id, job.workflow_id or "", new=False)
        new = job is None
        if job is None:
            job = LabelJob(judge_id=row.id, criterion=row.criterion, n_pairs=0, started_at=now)
            session.add(job)
        job.spec = {
            "judge": spec,
            "only_failed": only_failed,
            "even_final": even_final,
            "failures_before": label_queries.last_failure(session),
        }
        job.token_cap, job.cost_cap_usd = token_cap, cost_cap_usd
        job.workflow_id = here_id() if here else f"label-{secrets.token_hex(8)}"
        job.status, job.message, job.cancel_requested = RunStatus.QUEUED, "", False
        job.finished_at, job.heartbeat_at = None, now
        job.person_id = person_named(session, person, now=now).id
        session.flush()
        left = count_to_ask(session, job)
        if left == 0 and new:
            raise NothingToDo(
                f"{judge.identity.name} has no candidate left to label",
                user_message=_nothing_left(judge.identity.name, only_failed=only_failed),
            )
        job.n_pairs = job.done + job.failed + left
        if on_record is not None:
            on_record(session, job, True)
        return Asked(job.id, job.workflow_id, new=new)


create_here = partial(create, here=True)
"""Asks for a job that this process works on itself."""


def _nothing_left(judge: str, *, only_failed: bool) -> str:
    if only_failed:
        return f"No pair waits for a retry by {judge}."
    return f"{judge} has labelled every candidate. Put up more with: relabel pool"


def caps(
    workspace: Workspace, *, token_cap: int | None, cost_cap_usd: float | None, before: LabelJob | None = None
) -> tuple[int | None, float | None]:
    """The caps in tokens and in dollars, each the one asked for, else that of the job before, else of the settings.

    Raises:
        InputInvalid: a cap is not positive, or there is one in dollars and the price is unknown.
    """
    settings = workspace.settings
    if token_cap is None:
        token_cap = settings.llm_cap_tokens if before is None or before.token_cap is None else before.token_cap
    if cost_cap_usd is None:
        cost_cap_usd = settings.llm_cap_usd if before is None or before.cost_cap_usd is None else before.cost_cap_usd
    if (token_cap is not None and not 0 < token_cap <= 2_000_000_000) or (
        cost_cap_usd is not None and not 0 < cost_cap_usd < float("inf")
    ):
        raise InputInvalid(f"a cap must be positive, got {token_cap} tokens and {cost_cap_usd} dollars")
    priced = settings.llm_price_in_per_million_usd is not None and settings.llm_price_out_per_million_usd is not None
    if cost_cap_usd is not None and settings.has_llm and not priced:
        raise InputInvalid(
            "a cap in dollars needs llm_price_in_per_million_usd and llm_price_out_per_million_usd",
            user_message="The price of this model is unknown, so a cap in dollars cannot be kept. Set its price in "
            "relabel.toml, or give a cap in tokens (--cap-tokens) and none in dollars, in relabel.toml neither.",
        )
    return token_cap, cost_cap_usd


def run_here(
    workspace: Workspace, job_id: int, *, on_progress: Progress | None = None
) -> tuple[LabelJobView, LabelReport]:
    """Works on a job in this process until it is over, well or not: how it is then, and what was done now.

    A job that waits for a worker, and none runs, is this process's from now on.

    Raises:
        Conflict: another process works on it, or a living worker has it in hand.
    """
    reports: list[LabelReport] = []
    with held(workspace, job_id):
        _take_over(workspace, job_id)
        try:
            _work(workspace, job_id, on_progress=on_progress, chunks=None, on_report=reports.append)
        except BaseException as exc:
            close_after(workspace, job_id, exc)
            if not isinstance(exc, OUR_ERRORS):
                raise
        else:
            finish(workspace, job_id, RunStatus.DONE)
    view = get_job(workspace, job_id=job_id)
    return view, reports[0] if reports else LabelReport(view.judge, True, 0, 0, 0, 0, 0, None)


def _take_over(workspace: Workspace, job_id: int) -> None:
    """Makes a worker's job this process's; the worker's workflow finds another id than its own and leaves it alone."""
    with workspace.sessions.begin() as session:
        job = session.get_one(LabelJob, job_id, with_for_update=True)
        if not job.status.is_active or (job.workflow_id or HERE).startswith(HERE):
            return
        if worker_alive(workspace, session):
            raise Conflict(
                f"label job {job_id} is a living worker's",
                user_message=f"The worker has label job {job_id} in hand, for the same judge. Follow it on the "
                "Labelling screen, or stop it there and run this again.",
            )
        job.workflow_id = here_id()


def work_step(workspace: Workspace, job_id: int, *, workflow_id: str | None = None) -> bool:
    """Labels one chunk of a job for a worker; returns whether there is more to do. A repeated step does the rest only.

    Raises:
        JudgeUnavailable, CapReached: no further call can be made; what came before is stored.
        JobCancelled: somebody asked it to stop, or it is no longer this workflow's.
        JobHeld: another process still works on it after a minute.
    """
    with workspace.sessions.read() as session:
        _check_owner(session.get_one(LabelJob, job_id), workflow_id)
    with held(workspace, job_id, timeout=60):
        return _work(workspace, job_id, chunks=1, workflow_id=workflow_id)


def _check_owner(job: LabelJob, workflow_id: str | None) -> None:
    if workflow_id is not None and job.workflow_id != workflow_id:
        raise JobCancelled(f"label job {job.id} is no longer that of {workflow_id}")


def decide_step(workspace: Workspace, job_id: int) -> int:
    """Decides on what was proposed and computes the audit queue anew; returns how many pairs wait in it."""
    with workspace.sessions.read() as session:
        criterion = session.get_one(LabelJob, job_id).criterion
    return route(workspace, criterion=criterion).waiting


class JobCancelled(AppError):
    """Somebody asked the job to stop; what came before is stored."""


def _work(
    workspace: Workspace,
    job_id: int,
    *,
    chunks: int | None,
    on_progress: Progress | None = None,
    workflow_id: str | None = None,
    on_report: Callable[[LabelReport], None] | None = None,
) -> bool:
    """Labels so many chunks, or all; returns whether there is more. However it ends, `on_report` is told what came."""
    job = _enter(workspace, job_id, workflow_id)
    ledger = DatabaseLedger(workspace, job_id=job_id)
    with ledger:
        judge = make_judge(
            workspace.settings, workspace.scale, ledger, job.spec.get("judge"), known=known_to(workspace)
        )
        with workspace.sessions.read() as session:
            same = label_queries.find_judge(session, judge.identity)
        if same is None or same.id != job.judge_id:
            raise InputInvalid(
                f"job {job_id} was begun with another judge than {judge.identity.name}",
                user_message="Model, prompt or settings have changed since this job began. Ask for a new one.",
            )
        tally = Tally(total=job.n_pairs, on_progress=on_progress)
        more = True
        try:
            while more and chunks != 0:
                more = label_chunk(
                    workspace, judge, job_id=job_id, tally=tally, should_cancel=lambda: _cancelled(workspace, job_id)
                )
                chunks = None if chunks is None else chunks - 1
                if _cancelled(workspace, job_id):
                    raise JobCancelled(f"job {job_id} was cancelled")
        finally:
            if on_report is not None:
                on_report(tally.report(judge))
    return more


def _enter(workspace: Workspace, job_id: int, workflow_id: str | None) -> LabelJob:
    with workspace.sessions.begin() as session:
        job = session.get_one(LabelJob, job_id, with_for_update=True)
        _check_owner(job, workflow_id)
        if job.cancel_requested or not job.status.is_active:
            raise JobCancelled(f"job {job_id} is {job.status}")
        job.status, job.heartbeat_at = RunStatus.RUNNING, workspace.now()
        return job


def _cancelled(workspace: Workspace, job_id: int) -> bool:
    with workspace.sessions.read() as session:
        return session.get_one(LabelJob, job_id).cancel_requested


def close_after(
    workspace: Workspace, job_id: int, exc: BaseException, *, workflow_id: str | None = None
) -> RunStatus | None:
    """Closes a job that an error ended, with a message for people, so that it does not look alive; see `finish`.

    A job that another process works on is not closed: that process will.
    """
    if isinstance(exc, JobHeld):
        return None
    if isinstance(exc, (JobCancelled, KeyboardInterrupt)):
        return finish(workspace, job_id, RunStatus.CANCELLED, workflow_id=workflow_id)
    said = f"Something unexpected: {type(exc).__name__}: {exc}"
    message = exc.user_message if isinstance(exc, OUR_ERRORS) else said
    return finish(workspace, job_id, RunStatus.FAILED, message, workflow_id=workflow_id)


def finish(
    workspace: Workspace, job_id: int, status: RunStatus, message: str = "", *, workflow_id: str | None = None
) -> RunStatus:
    """Closes a job: done, failed with a message for the screen, or cancelled; returns how it is then.

    A closed job stays closed, and one that is no longer that of the workflow named stays as it is.
    """
    with workspace.sessions.begin() as session:
        job = session.get_one(LabelJob, job_id, with_for_update=True)
        if job.status.is_active and workflow_id in (None, job.workflow_id):
            job.status, job.finished_at = status, workspace.now()
            job.message = message or job.message
        return job.status


def request_cancel(workspace: Workspace, *, job_id: int, person: str) -> None:
    """Asks a job to stop; one that nobody works on stops at once. A finished job stays as it is.

    Raises:
        NotFound: there is no such job.
    """
    with workspace.sessions.begin() as session:
        job = session.get(LabelJob, job_id, with_for_update=True)
        if job is None:
            raise NotFound(f"there is no label job {job_id}")
        if job.status.is_active:
            job.cancel_requested, job.message = True, f"cancelled by {person}"
            if job.status is RunStatus.QUEUED or is_left_behind(workspace, job):
                job.status, job.finished_at = RunStatus.CANCELLED, workspace.now()


def get_job(workspace: Workspace, *, job_id: int) -> LabelJobView:
    """A job as it is now; one whose process is gone is closed first.

    Raises:
        NotFound: there is no such job.
    """
    close_left_behind(workspace)
    with workspace.sessions.read() as session:
        job = session.get(LabelJob, job_id)
        if job is None:
            raise NotFound(f"there is no label job {job_id}")
        judge = session.get_one(JudgeRow, job.judge_id)
        return _view(workspace, job, judge, alive=worker_alive(workspace, session))


def list_jobs(workspace: Workspace, *, limit: int = 20) -> tuple[LabelJobView, ...]:
    """Jobs, newest first; those whose process is gone are closed first."""
    close_left_behind(workspace)
    with workspace.sessions.read() as session:
        alive = worker_alive(workspace, session)
        found = label_queries.list_jobs(session, limit=limit)
        return tuple(_view(workspace, job, judge, alive=alive) for job, judge in found)


def get_queued(workspace: Workspace) -> tuple[tuple[int, str], ...]:
    """(id, workflow id) of each job that a worker is to see to."""
    with workspace.sessions.read() as session:
        return tuple(
            (job.id, job.workflow_id)
            for job, _ in label_queries.list_jobs(session, limit=1_000)
            if job.status.is_active and job.workflow_id is not None and not job.workflow_id.startswith(HERE)
        )


def list_failures(workspace: Workspace, *, judge_id: int | None = None, limit: int = 1_000) -> tuple[FailureView, ...]:
    """Pairs that got no reply and still have none, in the order of their last failure."""
    with workspace.sessions.read() as session:
        return tuple(
            FailureView(
                pair_id=failure.pair_id,
                judge=failure.judge,
                query=failure.query,
                passage_id=failure.passage_id,
                title=failure.title,
                reason=failure.reason,
                retryable=failure.retryable,
                times=failure.times,
                job_id=failure.job_id,
                at=failure.at,
            )
            for failure in label_queries.list_standing_failures(session, judge_id=judge_id, limit=limit)
        )


def specs_to_retry(workspace: Workspace) -> list[dict[str, Any]]:
    """The descriptions of the judges for which pairs wait that a retry may help."""
    with workspace.sessions.read() as session:
        waiting = {f.judge_id: f.job_id for f in label_queries.list_standing_failures(session) if f.retryable}
        jobs = [session.get_one(LabelJob, job_id) for _, job_id in sorted(waiting.items())]
        return [dict(job.spec["judge"]) for job in jobs if "judge" in job.spec]


def _view(workspace: Workspace, job: LabelJob, judge: JudgeRow, *, alive: bool) -> LabelJobView:
    settings = workspace.settings
    priced = settings.llm_price_in_per_million_usd is not None and settings.llm_price_out_per_million_usd is not None
    return LabelJobView(
        id=job.id,
        judge=judge.name,
        criterion=job.criterion,
        spec=dict(job.spec.get("judge") or {}),
        host=judge_host(settings),
        status=job.status,
        message=job.message,
        n_pairs=job.n_pairs,
        done=job.done,
        failed=job.failed,
        cancel_requested=job.cancel_requested,
        worker_alive=alive,
        token_cap=job.token_cap,
        cost_cap_usd=job.cost_cap_usd,
        spent_tokens=job.spent_tokens,
        spent_usd=job.spent_usd if priced or job.spent_tokens == 0 else None,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
