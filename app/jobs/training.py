"""Retraining as a durable workflow: one step each for training, indexing and evaluating, resumed where a kill left it."""

from __future__ import annotations

import logging

from dbos import DBOS

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.jobs.durable import enqueue
from app.services import runs, training_work
from db.enums import RunStatus

WORKFLOW = "retrain"
_log = logging.getLogger(__name__)


def start(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> int:
    """Asks for a retraining on the curated labels; returns the run's id, that of the active run if there is one.

    Raises:
        NothingToDo: there is nothing to train on yet.
    """
    run_id, workflow_id, _ = runs.create_run(workspace, person=person, criterion=criterion)
    # Enqueued again on every click: if a crash came between the row and the queue, the next click mends it.
    enqueue(workspace, workflow=WORKFLOW, workflow_id=workflow_id, argument=run_id)
    return run_id


def register(workspace: Workspace) -> None:
    """Makes the retraining of this workspace known to DBOS; call before it is launched."""

    @DBOS.step(name="train")
    def train(run_id: int) -> int:
        return training_work.train_step(workspace, run_id)

    @DBOS.step(name="index")
    def index(run_id: int) -> str:
        return training_work.index_step(workspace, run_id)

    @DBOS.step(name="evaluate")
    def evaluate(run_id: int) -> int:
        return training_work.evaluate_step(workspace, run_id)

    @DBOS.workflow(name=WORKFLOW)
    def retrain(run_id: int) -> str:
        try:
            train(run_id)
            index(run_id)
            evaluate(run_id)
        except training_work.CANCELLED:
            return _close(workspace, run_id, RunStatus.CANCELLED)
        except training_work.OUR_ERRORS as exc:
            _log.warning("training run %s failed: %s", run_id, exc)
            return _close(workspace, run_id, RunStatus.FAILED, exc.user_message)
        except Exception as exc:  # whatever it is, the run must not look as if it were still going
            _log.exception("training run %s failed", run_id)
            return _close(workspace, run_id, RunStatus.FAILED, f"Something unexpected: {type(exc).__name__}: {exc}")
        return _close(workspace, run_id, RunStatus.DONE)


def _close(workspace: Workspace, run_id: int, status: RunStatus, message: str = "") -> str:
    training_work.finish(workspace, run_id, status, message)
    return str(status)


def resume(workspace: Workspace) -> None:
    """Enqueues the active run, if there is one, in case the process that recorded it died before it could."""
    active = runs.get_active(workspace)
    if active is not None:
        run_id, workflow_id = active
        enqueue(workspace, workflow=WORKFLOW, workflow_id=workflow_id, argument=run_id)
