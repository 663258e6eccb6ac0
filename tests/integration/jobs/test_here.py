"""Runs that a command works on itself: no worker takes them over while it lives, and none is stuck when it died."""

from __future__ import annotations

from app.bootstrap import Workspace
from app.services import runs
from builders import Clock, add_candidates, add_corpus, add_suggestions, with_clock
from db.enums import ModelStage
from db.models import LiveModel, ModelVersion


def _ready(workspace: Workspace) -> Workspace:
    add_corpus(workspace)
    add_candidates(workspace)
    add_suggestions(workspace)
    with workspace.sessions.begin() as session:
        model = ModelVersion(
            hash="h", name="m", path="models/h", dim=2, stage=ModelStage.LIVE, base_id=None, created_at=workspace.now()
        )
        session.add(model)
        session.flush()
        session.add(LiveModel(id=1, model_version_id=model.id, index_version_id=None, changed_at=workspace.now()))
    return workspace


def test_a_worker_leaves_a_run_alone_whose_own_process_lives_and_takes_it_when_that_died(workspace: Workspace) -> None:
    """Prevents one run from being trained twice at once, and a killed `relabel train` from blocking all later runs."""
    clock = Clock()
    ready = _ready(with_clock(workspace, clock))
    run_id, workflow_id, _ = runs.create_run(ready, person="Ada", here=True)
    assert runs.get_active_for_queue(ready) is None
    clock.pass_minutes(1.9)
    assert runs.get_active_for_queue(ready) is None
    clock.pass_minutes(0.2)
    assert runs.get_active_for_queue(ready) == (run_id, workflow_id)


def test_a_queued_run_is_the_workers_at_once(workspace: Workspace) -> None:
    """Prevents a click from waiting two minutes for nothing."""
    ready = _ready(workspace)
    run_id, workflow_id, _ = runs.create_run(ready, person="Ada")
    assert runs.get_active_for_queue(ready) == (run_id, workflow_id)
