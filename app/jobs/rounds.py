"""Rounds as durable workflows: pool, label, wait for people, retrain, measure; resumed at the part a kill left.

A round has its label job and its training run done by whoever does those: a worker's queues, or this process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dbos import DBOS

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.jobs import labelling, training
from app.jobs.durable import ROUND_QUEUE, enqueue
from app.services import label_jobs, round_parts, rounds, runs
from app.services.indexing import Progress
from app.services.label_jobs import OUR_ERRORS
from app.services.label_views import LabelPlan
from app.services.round_reading import get_round
from app.services.round_views import Part, RoundView
from app.services.training_work import CANCELLED
from retriever.errors import RetrieverError

WORKFLOW = "round"
_POLL_SECONDS = 0.5
_KNOWN = (*OUR_ERRORS, RetrieverError)
_STOPPED = (rounds.RoundCancelled, *CANCELLED)
_WAITS = (Part.CONSENT, Part.AUDIT)
_log = logging.getLogger(__name__)
Bar = Callable[[str], AbstractContextManager[Progress]]


def _no_bar(title: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


def start(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    overrides: Mapping[str, Any] | None = None,
) -> int:
    """Asks a worker for the next round, or to go on with the one that is not over; returns its id.

    Raises:
        NothingToDo, InputInvalid, SettingsInvalid: as `rounds.begin` says.
    """
    asked = rounds.begin(workspace, person=person, criterion=criterion, overrides=overrides)
    # Enqueued again on every click: if a crash came between the row and the queue, the next click mends it.
    resume(workspace)
    return asked.round_id


def go_on(workspace: Workspace, *, round_id: int, person: str) -> None:
    """Has a worker do what the round waited with: label at its price, or retrain.

    Raises:
        NotFound, NothingToDo: as `rounds.go_on` says.
    """
    rounds.go_on(workspace, round_id=round_id, person=person)
    resume(workspace)


def run_here(
    workspace: Workspace, round_id: int, *, bar: Bar = _no_bar, on_plan: Callable[[LabelPlan], None] | None = None
) -> RoundView:
    """Does what can be done of a round in this process, until it is over, fails or waits for people.

    `on_plan` is told what labelling will send and cost, before it begins.

    Raises:
        RoundHeld: another process works on it.
        KeyboardInterrupt: the person stopped it; asked again, it goes on.
    """
    with rounds.driving(workspace, round_id):
        try:
            while (part := rounds.part_of(workspace, round_id)) is not Part.OVER:
                if part in _WAITS:
                    round_parts.wait_for_people(workspace, round_id)
                    break
                _do_here(workspace, round_id, part, bar=bar, on_plan=on_plan)
        except BaseException as exc:
            _close_after(workspace, round_id, exc)
            if not isinstance(exc, Exception):
                raise
    return get_round(workspace, round_id=round_id)


def _do_here(
    workspace: Workspace, round_id: int, part: Part, *, bar: Bar, on_plan: Callable[[LabelPlan], None] | None
) -> None:
    if part is Part.POOL:
        with bar("Encoding passages") as progress:
            round_parts.pool_part(workspace, round_id, on_index=progress)
    elif part is Part.LABEL:
        if on_plan is not None:
            on_plan(round_parts.plan(workspace, round_id))
        job_id = round_parts.begin_labelling(workspace, round_id, here=True)
        if job_id is not None:
            with bar("Proposals") as progress:
                label_jobs.run_here(workspace, job_id, on_progress=progress)
        round_parts.end_labelling(workspace, round_id)
    elif part is Part.TRAIN:
        run_id = round_parts.begin_training(workspace, round_id, here=True)
        with bar("Retraining") as progress:
            training.work_here(workspace, run_id, on_progress=progress)
        round_parts.end_training(workspace, round_id)
    elif part is Part.MEASURE:
        with bar("Measuring the gain") as progress:
            round_parts.measure_part(workspace, round_id, progress=progress)


class _Stopping(Exception):
    """The worker is to stop; the round is for the next one."""


def register(workspace: Workspace, *, stopping: Callable[[], bool]) -> None:
    """Makes the rounds of this workspace known to DBOS; call before it is launched. `stopping`: the worker ends."""

    @DBOS.step(name="round part")
    def part(round_id: int, mine: str) -> bool:
        try:
            with rounds.driving(workspace, round_id, timeout=60):
                return _do_queued(workspace, round_id, mine, stopping=stopping)
        except rounds.RoundHeld:  # somebody else took it over
            return False
        except _Stopping:
            rounds.hand_back(workspace, round_id)
            return False

    @DBOS.workflow(name=WORKFLOW)
    def drive(round_id: int) -> str:
        mine = DBOS.workflow_id or ""
        try:
            while part(round_id, mine):
                pass
        except Exception as exc:
            _close_after(workspace, round_id, exc)
        return str(get_round(workspace, round_id=round_id).status)


def _do_queued(workspace: Workspace, round_id: int, mine: str, *, stopping: Callable[[], bool]) -> bool:
    """Does one part for a worker; returns whether there is more that needs nobody."""
    part = rounds.part_of(workspace, round_id, workflow_id=mine)
    if part is Part.OVER:
        return False
    if part in _WAITS:
        round_parts.wait_for_people(workspace, round_id)
        return False

    def wait_while(going: Callable[[], bool]) -> None:
        while going():
            if stopping():
                raise _Stopping
            time.sleep(_POLL_SECONDS)

    if part is Part.LABEL:
        job_id = round_parts.begin_labelling(workspace, round_id, here=False)
        if job_id is not None:
            labelling.resume(workspace)
            wait_while(lambda: label_jobs.get_job(workspace, job_id=job_id).status.is_active)
        round_parts.end_labelling(workspace, round_id)
    elif part is Part.TRAIN:
        wait_while(lambda: _another_runs(workspace, round_id))
        run_id = round_parts.begin_training(workspace, round_id, here=False)
        training.resume(workspace)
        wait_while(lambda: runs.get_run(workspace, run_id=run_id).status.is_active)
        round_parts.end_training(workspace, round_id)
    else:
        _do_here(workspace, round_id, part, bar=_no_bar, on_plan=None)
    return True


def _another_runs(workspace: Workspace, round_id: int) -> bool:
    """Whether a training run is going on that is not the round's."""
    run_id = get_round(workspace, round_id=round_id).run_id
    latest = runs.get_latest_run(workspace)
    return latest is not None and latest.status.is_active and latest.id != run_id


def _close_after(workspace: Workspace, round_id: int, exc: BaseException) -> None:
    """Marks a round that an error ended; one that was cancelled is marked already."""
    if isinstance(exc, _STOPPED) and rounds.is_cancelled(workspace, round_id):
        return
    if isinstance(exc, KeyboardInterrupt):
        rounds.close_after(workspace, round_id, "It was interrupted. Ask again, and it goes on from here.")
    elif isinstance(exc, _KNOWN):
        _log.warning("round %s stopped: %s", round_id, exc)
        rounds.close_after(workspace, round_id, exc.user_message)
    else:
        _log.error("round %s stopped", round_id, exc_info=exc)
        rounds.close_after(workspace, round_id, f"Something unexpected: {type(exc).__name__}: {exc}")


def resume(workspace: Workspace) -> None:
    """Enqueues every running round that is a worker's to do; a second time changes nothing."""
    for round_id, workflow_id in rounds.get_queued(workspace):
        enqueue(workspace, workflow=WORKFLOW, workflow_id=workflow_id, argument=round_id, queue=ROUND_QUEUE)
