"""Retraining as a durable workflow: train, index and evaluate, a step each, resumed where a kill left it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from dbos import DBOS

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict
from app.jobs.durable import enqueue
from app.services import lineage, runs, training_work
from app.services.lineage_views import Author
from db.enums import RunStatus

WORKFLOW = "retrain"
_log = logging.getLogger(__name__)


def start(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    overrides: dict[str, object] | None = None,
    judge: str | None = None,
) -> int:
    """Asks for a retraining on the curated labels; returns the run's id, that of the active run if there is one.

    Raises:
        NothingToDo: there is nothing to train on yet.
    """
    run_id, _, _ = runs.create_run(workspace, person=person, criterion=criterion, overrides=overrides, judge=judge)
    # Enqueued again on every click: if a crash came between the row and the queue, the next click mends it.
    resume(workspace)
    return run_id


def start_after_revocation(workspace: Workspace, *, author: Author, person: str) -> int:
    """Asks for a retraining on what counts after an author was revoked or given back; returns the run's id.

    It learns what the author's labels were for, and begins at the base where the live encoder learnt revoked labels.

    Raises:
        NothingToDo: nothing is left to train on.
        Conflict: a run is queued or running, on labels that were frozen before.
    """
    run_id, _, new = runs.create_run(
        workspace,
        person=person,
        criterion=lineage.criterion_of(workspace, author),
        overrides=lineage.settings_without_revoked(workspace),
    )
    if not new:
        raise Conflict(
            f"training run {run_id} is active",
            user_message=f"Training run {run_id} goes on with labels that were frozen before. Cancel it, then retrain.",
        )
    resume(workspace)
    return run_id


def run_here(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    overrides: dict[str, object] | None = None,
    judge: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Retrains in this process, without queue or worker, and returns the run's id when it is over, well or not.

    Raises:
        NothingToDo: there is nothing to train on yet.
        Conflict: another run is queued or running.
    """
    run_id, workflow_id, new = runs.create_run(
        workspace, person=person, criterion=criterion, overrides=overrides, judge=judge, here=True
    )
    # One that was begun like this and whose process is gone goes on here, from the step it was in.
    left_behind = workflow_id.startswith(runs.HERE) and runs.get_active_for_queue(workspace) is not None
    if not new and not left_behind:
        raise Conflict(f"training run {run_id} is going on already; wait for it or cancel it")
    work_here(workspace, run_id, on_progress=on_progress)
    return run_id


def work_here(workspace: Workspace, run_id: int, *, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Does what is left of a run in this process; afterwards it is over, well or not.

    For whoever knows that nobody else works on it.
    """
    try:
        for step in (training_work.train_step, training_work.index_step, training_work.evaluate_step):
            step(workspace, run_id, on_progress=on_progress)
    except BaseException as exc:
        _close_after(workspace, run_id, exc)
        if not isinstance(exc, Exception):
            raise
    else:
        training_work.finish(workspace, run_id, RunStatus.DONE)


def register(workspace: Workspace) -> None:
    """Makes the retraining of this workspace known to DBOS; call before it is launched."""

    @DBOS.step(name="train")
    def train(run_id: int) -> int:
        return training_work.train_step(workspace, run_id)

    @DBOS.step(name="index")
    def index(run_id: int) -> str:
        return training_work.index_step(workspace, run_id)

    @DBOS.step(name="evaluate")
    def evaluate(run_id: int) -> int | None:
        return training_work.evaluate_step(workspace, run_id)

    @DBOS.workflow(name=WORKFLOW)
    def retrain(run_id: int) -> str:
        try:
            train(run_id)
            index(run_id)
            evaluate(run_id)
        except Exception as exc:
            return _close_after(workspace, run_id, exc)
        training_work.finish(workspace, run_id, RunStatus.DONE)
        return str(RunStatus.DONE)


def _close_after(workspace: Workspace, run_id: int, exc: BaseException) -> str:
    """Closes a run that an error ended: whatever it was, the run must not look as if it were still going."""
    status, message = RunStatus.FAILED, f"Something unexpected: {type(exc).__name__}: {exc}"
    if isinstance(exc, (*training_work.CANCELLED, KeyboardInterrupt)):
        status, message = RunStatus.CANCELLED, ""
    elif isinstance(exc, training_work.OUR_ERRORS):
        message = exc.user_message
        _log.warning("training run %s failed: %s", run_id, exc)
    else:
        _log.error("training run %s failed", run_id, exc_info=exc)
    training_work.finish(workspace, run_id, status, message)
    return str(status)


def resume(workspace: Workspace) -> None:
    """Enqueues the active run, if it is a worker's to do; a second time changes nothing."""
    active = runs.get_active_for_queue(workspace)
    if active is not None:
        run_id, workflow_id = active
        enqueue(workspace, workflow=WORKFLOW, workflow_id=workflow_id, argument=run_id)
