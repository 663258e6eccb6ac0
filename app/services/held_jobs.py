"""Who works on a label job: its process holds a lock file, which the system lets go of when that process dies."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock, Timeout

from app.bootstrap import Workspace
from app.errors import Conflict
from db.enums import RunStatus
from db.models import LabelJob

HERE = "here-"
"""How the workflow id begins of a job that its own process works on, without the queue."""
_SILENT = timedelta(minutes=2)
"""A job that was begun in another directory is given up after so long without a sign of life. Our choice."""


class JobHeld(Conflict):
    """Another process works on the job."""


def here_id() -> str:
    """A workflow id for a job that this process works on itself."""
    return f"{HERE}{secrets.token_hex(8)}"


@contextmanager
def held(workspace: Workspace, job_id: int, *, timeout: float = 1.0) -> Iterator[None]:
    """One process at a time works on a job in this directory; waits for it so many seconds.

    Raises:
        JobHeld: another process works on it.
    """
    path = _file(workspace, job_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as exc:
        raise JobHeld(f"{path} is held", user_message=f"Another process is working on label job {job_id}.") from exc
    try:
        yield
    finally:
        lock.release()


def is_left_behind(workspace: Workspace, job: LabelJob) -> bool:
    """Whether an active job was its own process's to do, and that process is gone; a worker comes back to its own."""
    if not job.status.is_active or not (job.workflow_id or HERE).startswith(HERE):
        return False
    if _file(workspace, job.id).exists():
        try:
            with held(workspace, job.id, timeout=0):
                return True
        except JobHeld:
            return False
    return job.status is RunStatus.QUEUED or workspace.now() - (job.heartbeat_at or job.started_at) >= _SILENT


def close_left_behind(workspace: Workspace) -> None:
    """Closes jobs that were begun and whose process is gone, so that nothing looks alive that is not."""
    running = sa.select(LabelJob).where(LabelJob.status == RunStatus.RUNNING)
    with workspace.sessions.read() as session:
        ids = [job.id for job in session.scalars(running) if is_left_behind(workspace, job)]
    if not ids:
        return
    with workspace.sessions.begin() as session:
        for job in session.scalars(running.where(LabelJob.id.in_(ids)).with_for_update()):
            if is_left_behind(workspace, job):  # nobody can begin while the row is held
                job.status = RunStatus.CANCELLED if job.cancel_requested else RunStatus.FAILED
                job.message = job.message or "The process that worked on it ended. Ask again, and it goes on from here."
                job.finished_at = workspace.now()


def close_after_error(
    workspace: Workspace, job_id: int, kind: type[BaseException] | None, error: BaseException | None, trace: object
) -> None:
    """Closes a job that an error ended, as an `ExitStack` calls it; without an error the job stays as it is."""
    if error is None:
        return
    with workspace.sessions.begin() as session:
        job = session.get_one(LabelJob, job_id)
        job.status = RunStatus.CANCELLED if isinstance(error, KeyboardInterrupt) else RunStatus.FAILED
        job.message = str(getattr(error, "user_message", None) or f"Something unexpected: {error!r}")
        job.finished_at = workspace.now()


def _file(workspace: Workspace, job_id: int) -> Path:
    return workspace.settings.workspace / ".callers" / f"job-{job_id}.held"
