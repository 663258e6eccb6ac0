"""A round in a real worker that is killed and started again: every part is done once, and people are waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace, open_workspace
from app.jobs import rounds as round_jobs
from app.services import rounds, runs
from app.services.creating import create_workspace
from app.services.indexing import ensure_dense_index, ensure_live_model
from app.services.round_reading import get_round
from app.services.round_views import Part, RoundView
from builders import TOPICS, add_corpus, audit
from db.enums import RoundStatus
from db.models import Candidate, LabelJob, ModelVersion, Suggestion, TrainingRun

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 200.0


def start_worker(workspace: Workspace) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "app.cli", "worker", "-w", str(workspace.settings.workspace)]
    with (workspace.settings.workspace / "worker.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "2"}, stdout=log, stderr=log)


def kill(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()


def until(workspace: Workspace, round_id: int, done: Callable[[RoundView], bool]) -> RoundView:
    deadline = time.monotonic() + PATIENCE
    while not done(view := get_round(workspace, round_id=round_id)):
        log = (workspace.settings.workspace / "worker.log").read_text(encoding="utf-8")
        assert view.status is not RoundStatus.FAILED, f"{view.message}\n{log}"
        assert time.monotonic() < deadline, f"{view}\n{log}"
        time.sleep(0.05)
    return view


def count(workspace: Workspace, table: type) -> int:
    with workspace.sessions.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


@pytest.fixture
def ready(tmp_path: Path) -> Workspace:
    create_workspace(tmp_path / "w", name="round test")
    (tmp_path / "w" / "relabel.toml").write_text(
        'name = "round test"\nspeed = "adapter"\nmax_length = 64\npool_depth = 8\n'
        "[adapter]\nepochs = 2\nunseen_share = 0.0\n",
        encoding="utf-8",
    )
    opened = open_workspace(tmp_path / "w")
    add_corpus(opened, topics=TOPICS[:6])
    ensure_dense_index(opened, ensure_live_model(opened))
    return opened


def test_a_round_goes_on_in_the_next_worker_and_does_each_part_once(ready: Workspace) -> None:
    """A killed worker loses the round, buys its labels again, trains twice, or trains before anybody audited."""
    round_id = round_jobs.start(ready, person="Ada")
    assert round_jobs.start(ready, person="Grace") == round_id, "a second click began a second round"
    first = start_worker(ready)
    until(ready, round_id, lambda view: view.next_part is not Part.POOL)
    kill(first)
    second = start_worker(ready)
    view = until(ready, round_id, lambda view: view.status is RoundStatus.WAITING)
    assert (view.next_part, view.labels, view.new_pairs) == (
        Part.AUDIT,
        count(ready, Candidate),
        count(ready, Candidate),
    )
    assert (count(ready, LabelJob), count(ready, Suggestion), count(ready, TrainingRun)) == (1, view.labels, 0)
    graded = audit(ready, at_most=8)
    round_jobs.go_on(ready, round_id=round_id, person="Ada")
    until(ready, round_id, lambda view: view.run_id is not None)
    kill(second)
    third = start_worker(ready)
    try:
        view = until(ready, round_id, lambda view: view.status is RoundStatus.DONE)
    finally:
        kill(third)
    assert (view.n_audits, view.ndcg, view.stop) == (graded, None, None)  # nothing is held out here
    assert view.advice.startswith("No held-out question")
    assert (count(ready, TrainingRun), count(ready, LabelJob), count(ready, ModelVersion)) == (1, 1, 2)
    assert runs.get_run(ready, run_id=view.run_id or 0).label_counts["human"] == graded
    ready.close()


def test_a_round_that_was_left_to_a_stopped_worker_is_not_taken_by_two(ready: Workspace) -> None:
    """A command takes the round over, and the old workflow wakes up and does its parts as well."""
    asked = rounds.begin(ready, person="Ada")
    taken = rounds.begin(ready, person="Grace", here=True)
    assert (taken.round_id, taken.workflow_id != asked.workflow_id) == (asked.round_id, True)
    assert rounds.part_of(ready, asked.round_id, workflow_id=asked.workflow_id) is Part.OVER
    assert rounds.part_of(ready, asked.round_id) is Part.POOL
    assert rounds.get_queued(ready) == ()
    given = rounds.begin(ready, person="Ada")
    assert rounds.get_queued(ready) == ((asked.round_id, given.workflow_id),)
    rounds.hand_back(ready, asked.round_id)
    ((_, renewed),) = rounds.get_queued(ready)
    assert renewed != given.workflow_id, "a workflow that ended would never run again"
    ready.close()
