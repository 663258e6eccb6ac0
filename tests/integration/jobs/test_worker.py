"""The worker as a real process: runs are done, a killed worker goes on where it stood, a second one is refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace, open_workspace
from app.config import Speed
from app.errors import Conflict
from app.jobs import training
from app.jobs.worker import run_worker
from app.services import runs
from app.services.creating import create_workspace
from app.services.indexing import ensure_dense_index, ensure_live_model
from builders import add_candidates, add_corpus, add_suggestions, judge_held_out
from db.enums import RunStatus
from db.models import Evaluation, ModelVersion, TrainingRun

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 150.0
ADAPTER: dict[str, object] = {"speed": "adapter", "epochs": 2, "unseen_share": 0.0}
"""Quick, and it keeps whatever it learned."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small workspace with labels to train on, held-out judgements and the base model's index."""
    folder = tmp_path_factory.mktemp("prepared") / "w"
    create_workspace(folder, name="worker test")
    opened = open_workspace(folder)
    add_corpus(opened)
    add_candidates(opened)
    add_suggestions(opened)
    judge_held_out(opened)
    ensure_dense_index(opened, ensure_live_model(opened))
    opened.close()
    return folder


@pytest.fixture
def ready(prepared: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of it, in a directory that a worker process can open."""
    shutil.copytree(prepared, tmp_path / "w")
    opened = open_workspace(tmp_path / "w")
    yield opened
    opened.close()


def start_worker(workspace: Workspace) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "worker", "-w", str(workspace.settings.workspace)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for(what: Callable[[], bool], *, worker: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        if worker is not None and worker.poll() is not None:
            raise AssertionError(f"the worker ended: {worker.stderr.read().decode() if worker.stderr else ''}")
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)


def end(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGTERM)
    try:
        worker.wait(20)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    if worker.stderr is not None:
        worker.stderr.close()


@pytest.mark.parametrize("recipe", [{"speed": "full"}, ADAPTER], ids=["full", "adapter"])
def test_a_run_whose_worker_is_killed_is_finished_by_the_next_worker_and_made_once(
    ready: Workspace, recipe: dict[str, object]
) -> None:
    """Prevents a crash from losing a training run, or from leaving two models and two looks where one was asked for."""
    run_id = training.start(ready, person="Ada", overrides=recipe)
    assert training.start(ready, person="Bob") == run_id
    first = start_worker(ready)
    wait_for(lambda: runs.get_run(ready, run_id=run_id).stage == "training", worker=first)
    first.kill()
    first.wait()
    if first.stderr is not None:
        first.stderr.close()
    assert runs.get_run(ready, run_id=run_id).status is RunStatus.RUNNING
    second = start_worker(ready)
    try:
        wait_for(lambda: not runs.get_run(ready, run_id=run_id).status.is_active, worker=second)
    finally:
        end(second)
    run = runs.get_run(ready, run_id=run_id)
    assert (run.status, run.message) == (RunStatus.DONE, "")
    assert run.model is not None
    assert run.evaluation is not None
    assert [point.step for point in run.points] == sorted({point.step for point in run.points})
    assert len(run.points) == len({point.step for point in run.points}) > 0
    if run.speed is Speed.FULL:
        assert len(run.points) == run.report["steps"]
    with ready.sessions.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(ModelVersion)) == 2
        assert session.scalar(sa.select(sa.func.count()).select_from(Evaluation)) == 1
    assert len(list(ready.settings.models.glob("[!.]*"))) == 2, "the killed attempt left a model of its own"


def test_a_running_run_stops_when_asked_and_leaves_no_model(ready: Workspace) -> None:
    """Prevents a cancel button that changes a word on screen while the machine trains on."""
    run_id = training.start(ready, person="Ada", overrides={"speed": "full", "epochs": 100})
    worker = start_worker(ready)
    try:
        wait_for(lambda: len(runs.get_run(ready, run_id=run_id).points) > 0, worker=worker)
        runs.request_cancel(ready, run_id=run_id, person="Ada")
        wait_for(lambda: not runs.get_run(ready, run_id=run_id).status.is_active, worker=worker)
    finally:
        end(worker)
    run = runs.get_run(ready, run_id=run_id)
    assert run.status is RunStatus.CANCELLED
    assert run.message == "cancelled by Ada"
    assert run.model is None


def test_a_run_recorded_but_never_queued_is_found_by_the_worker(ready: Workspace) -> None:
    """Prevents a click whose process died between the row and the queue from waiting for ever."""
    run_id, _, _ = runs.create_run(ready, person="Ada")
    runs.request_cancel(ready, run_id=run_id, person="Ada")
    run_id, _, new = runs.create_run(ready, person="Ada", overrides=ADAPTER)
    assert new
    stop = threading.Event()
    run_worker(ready, stop=stop, until=lambda: not runs.get_run(ready, run_id=run_id).status.is_active)
    run = runs.get_run(ready, run_id=run_id)
    assert (run.status, run.message) == (RunStatus.DONE, "")


def test_a_second_worker_on_the_same_directory_is_refused(ready: Workspace) -> None:
    """Prevents two workers from resuming, and so training, the same run twice."""
    worker = start_worker(ready)
    try:
        wait_for(lambda: runs.is_worker_alive(ready), worker=worker)
        with pytest.raises(Conflict, match="held"):
            run_worker(ready, stop=threading.Event())
    finally:
        end(worker)


def test_at_most_one_run_is_active_whatever_the_code_does(ready: Workspace) -> None:
    """Prevents two trainings at once after a bug or a race above the database."""
    run_id, _, _ = runs.create_run(ready, person="Ada")
    with ready.sessions.read() as session:
        run = session.get_one(TrainingRun, run_id)
        values = {c.name: getattr(run, c.name) for c in TrainingRun.__table__.columns if c.name != "id"}
    with pytest.raises(sa.exc.IntegrityError), ready.sessions.begin() as session:
        session.execute(sa.insert(TrainingRun).values(**values | {"workflow_id": "another"}))
