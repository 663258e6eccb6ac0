"""DBOS, set up for one workspace: where its state lives, how a worker names itself, that nothing is pickled."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer

from app.bootstrap import Workspace
from db.session import normalise_url

NAME = "relabel"
VERSION = "1"
"""Counted up when a workflow's steps change, so that a half-done run of the old kind is not resumed by the new code."""
TRAIN_QUEUE = "train"
LABEL_QUEUE = "label"
"""Label jobs wait in a line of their own: they spend their time waiting for a server, training spends the processor."""
ROUND_QUEUE = "round"
"""Rounds wait for label jobs and trainings, so they are in neither's line."""


def _config(workspace: Workspace) -> DBOSConfig:
    here = f"{socket.gethostname()}:{workspace.settings.workspace}"
    return {
        "name": NAME,
        "system_database_url": normalise_url(workspace.settings.jobs_database),
        "application_version": VERSION,
        # A worker that comes back under the same name resumes what it was doing when it was killed.
        "executor_id": hashlib.sha256(here.encode()).hexdigest()[:16],
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "WARNING",
        "console_log_level": "WARNING",
        "enable_otlp": False,
    }


@contextmanager
def launched(workspace: Workspace) -> Iterator[None]:
    """A running DBOS that takes work from the queue until the block ends; unfinished workflows are resumed first."""
    _quiet()
    DBOS(config=_config(workspace))
    try:
        DBOS.launch()
        for queue in (TRAIN_QUEUE, LABEL_QUEUE, ROUND_QUEUE):
            DBOS.register_queue(queue, worker_concurrency=1, global_concurrency=1, polling_interval_sec=0.5)
        yield
    finally:
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=0)


def enqueue(
    workspace: Workspace, *, workflow: str, workflow_id: str, argument: int | str, queue: str = TRAIN_QUEUE
) -> None:
    """Puts one workflow on a queue, by name; a second time with the same id changes nothing."""
    _quiet()
    url = normalise_url(workspace.settings.jobs_database)
    DBOS.migrate(url)
    client = DBOSClient(system_database_url=url, serializer=DBOSPortableJSONSerializer())
    try:
        client.enqueue(
            {
                "workflow_name": workflow,
                "queue_name": queue,
                "workflow_id": workflow_id,
                "app_version": VERSION,
            },
            argument,
        )
    finally:
        client.destroy()


def _quiet() -> None:
    logging.getLogger("dbos").setLevel(logging.WARNING)
