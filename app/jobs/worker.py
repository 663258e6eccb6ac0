"""The worker: one process for each workspace directory that does the long work and says that it lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from filelock import FileLock, Timeout

from app.bootstrap import Workspace
from app.errors import Conflict
from app.jobs import labelling, rounds, training
from app.jobs.durable import launched
from app.services import queue_order, runs, training_work

BEAT_SECONDS = 5.0
_log = logging.getLogger(__name__)


def run_worker(
    workspace: Workspace, *, stop: threading.Event, until: Callable[[], bool] | None = None, poll_seconds: float = 0.5
) -> None:
    """Works until `stop` is set, or until `until` says that there is nothing left to wait for.

    Raises:
        Conflict: another worker already works on this workspace directory.
    """
    lock = FileLock(workspace.settings.workspace / "worker.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise Conflict(
            f"{lock.lock_file} is held", user_message="A worker is already running for this workspace."
        ) from exc
    try:
        training_work.remove_leftovers(workspace)
        for kind in (training, labelling):
            kind.register(workspace)
            kind.resume(workspace)
        rounds.register(workspace, stopping=stop.is_set)
        rounds.resume(workspace)
        beating = threading.Thread(target=_beat, args=(workspace, stop), daemon=True)
        beating.start()
        minding = threading.Thread(target=_mind_queue, args=(workspace, stop), daemon=True)
        minding.start()
        with launched(workspace):
            while not stop.wait(poll_seconds):
                if until is not None and until():
                    break
        stop.set()
        beating.join(timeout=BEAT_SECONDS)
        minding.join(timeout=BEAT_SECONDS)
    finally:
        lock.release()


def _beat(workspace: Workspace, stop: threading.Event) -> None:
    while True:
        try:
            runs.beat(workspace)
        except Exception:  # a database that is away for a moment must not make a living worker look dead for good
            _log.warning("the worker could not say that it lives", exc_info=True)
        if stop.wait(BEAT_SECONDS):
            return


def _mind_queue(workspace: Workspace, stop: threading.Event) -> None:
    """Builds the audit queue anew where a transaction could not: one stopped half way is built by the next worker."""
    while not stop.wait(BEAT_SECONDS):
        try:
            queue_order.catch_up(workspace)
        except Exception:  # as for the beat; it is tried again
            _log.warning("the worker could not build the audit queue", exc_info=True)
