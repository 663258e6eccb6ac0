"""Calls beside labelling (definitions, measurements), charged to a job of their own: capped, one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from filelock import FileLock, Timeout

from annotator.types import JudgeIdentity
from app.bootstrap import Workspace
from app.errors import Conflict
from app.services.call_ledger import DatabaseLedger
from app.services.held_jobs import held
from app.services.label_jobs import caps
from db.enums import RunStatus
from db.models import LabelJob
from db.queries.labelling import ensure_judge, get_unfinished_job


@contextmanager
def charged_to_a_job(
    workspace: Workspace,
    ledger: DatabaseLedger,
    identity: JudgeIdentity,
    *,
    kind: str,
    n: int,
    cap_tokens: int | None = None,
    cap_usd: float | None = None,
) -> Iterator[int]:
    """The id of the job that the ledger's calls are charged to inside the block; an unfinished one goes on.

    What it has spent counts, and its caps stay unless others are given.

    Raises:
        Conflict: another process does the same work in this workspace.
        InputInvalid: a cap is not positive, or in dollars where the price is unknown.
    """
    try:
        alone = FileLock(workspace.settings.workspace / f".{kind}.lock").acquire(timeout=0)
    except Timeout as exc:
        raise Conflict(f"another process does this already: {kind}") from exc
    with alone, ExitStack() as working:
        with workspace.sessions.begin() as session:
            now = workspace.now()
            judge = ensure_judge(session, identity, now=now)
            job = get_unfinished_job(session, judge_id=judge.id)
            token_cap, cost_cap_usd = caps(workspace, token_cap=cap_tokens, cost_cap_usd=cap_usd, before=job)
            if job is None:
                job = LabelJob(judge_id=judge.id, criterion=judge.criterion, n_pairs=n, started_at=now)
                session.add(job)
            job.spec = {"kind": kind}
            job.status, job.message, job.heartbeat_at = RunStatus.RUNNING, "", now
            job.token_cap, job.cost_cap_usd = token_cap, cost_cap_usd
            session.flush()
            job_id = job.id
            # Before anybody can see it run, or it would look left behind.
            working.enter_context(held(workspace, job_id))
        ledger.charge_to(job_id)
        try:
            yield job_id
        except BaseException as exc:
            _close(workspace, job_id, RunStatus.FAILED, message=str(exc))
            raise
        _close(workspace, job_id, RunStatus.DONE)


def _close(workspace: Workspace, job_id: int, status: RunStatus, *, message: str = "") -> None:
    with workspace.sessions.begin() as session:
        job = session.get_one(LabelJob, job_id)
        job.status, job.message = status, message
        if status is RunStatus.DONE:
            job.done, job.finished_at = job.n_pairs, workspace.now()
