"""Labelling as a durable workflow: one step a chunk of pairs, resumed where a kill left it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dbos import DBOS

from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.jobs.durable import LABEL_QUEUE, enqueue
from app.services import label_jobs
from app.services.held_jobs import JobHeld
from app.services.label_jobs import Asked
from db.enums import RunStatus

WORKFLOW = "label"
_log = logging.getLogger(__name__)


def start(
    workspace: Workspace,
    *,
    person: str,
    spec: Mapping[str, Any] | None = None,
    token_cap: int | None = None,
    cost_cap_usd: float | None = None,
    only_failed: bool = False,
    even_final: bool = False,
) -> Asked:
    """Asks a worker for the labels that a judge has not given yet; see `label_jobs.create`.

    Raises:
        NothingToDo, InputInvalid, SettingsInvalid, PromptInvalid: as there.
    """
    asked = label_jobs.create(
        workspace,
        person=person,
        spec=spec,
        token_cap=token_cap,
        cost_cap_usd=cost_cap_usd,
        only_failed=only_failed,
        even_final=even_final,
    )
    # Enqueued again on every click: if a crash came between the row and the queue, the next click mends it.
    resume(workspace)
    return asked


def retry(workspace: Workspace, *, person: str) -> tuple[Asked, ...]:
    """Asks a worker again about what failed and may yet succeed: one job for each judge that such pairs wait for."""
    asked = []
    for spec in label_jobs.specs_to_retry(workspace):
        with suppress(NothingToDo):
            asked.append(start(workspace, person=person, spec=spec, only_failed=True))
    return tuple(asked)


def register(workspace: Workspace) -> None:
    """Makes the label jobs of this workspace known to DBOS; call before it is launched."""

    @DBOS.step(name="label chunk")
    def chunk(job_id: int, mine: str) -> bool:
        try:
            return label_jobs.work_step(workspace, job_id, workflow_id=mine)
        except JobHeld:  # somebody still works on it: look again
            return True

    @DBOS.step(name="decide")
    def decide(job_id: int) -> int:
        return label_jobs.decide_step(workspace, job_id)

    @DBOS.workflow(name=WORKFLOW)
    def label(job_id: int) -> str:
        ended: Exception | None = None
        mine = DBOS.workflow_id or ""
        try:
            while chunk(job_id, mine):
                pass
        except Exception as exc:
            ended = exc
        try:
            # Whatever ended the job: what was proposed before is accepted or waits for people.
            decide(job_id)
        except Exception as exc:
            ended = ended or exc
        if ended is None:
            return str(label_jobs.finish(workspace, job_id, RunStatus.DONE, workflow_id=mine))
        known = isinstance(ended, label_jobs.OUR_ERRORS)
        _log.warning("label job %s stopped: %s", job_id, ended, exc_info=None if known else ended)
        return str(label_jobs.close_after(workspace, job_id, ended, workflow_id=mine))


def resume(workspace: Workspace) -> None:
    """Enqueues every unfinished job that is a worker's to do; a second time changes nothing."""
    for job_id, workflow_id in label_jobs.get_queued(workspace):
        enqueue(workspace, workflow=WORKFLOW, workflow_id=workflow_id, argument=job_id, queue=LABEL_QUEUE)
