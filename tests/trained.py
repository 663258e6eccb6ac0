"""What tests of the training loop share: a quick recipe, copies of a workspace, power cuts, and a whole run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace, open_with
from app.config import Settings, settings_from
from app.services import promotion, runs, training_work
from db.enums import ModelStage, RunStatus
from db.models import ModelVersion

QUICK = {
    "person": "Ada",
    "speed": "adapter",
    "epochs": 1,
    "batch_queries": 4,
    "train_max_length": 32,
    "list_size": 4,
    "max_length": 64,
    "pool_depth": 8,
    "pool_per_system": 8,
    "adapter": {"epochs": 2, "unseen_share": 0.0, "batch_queries": 4},
}
"""Little of everything; the adapter keeps whatever it learned, so that there is a change to look at."""


@dataclass(frozen=True)
class Trained:
    """A workspace with a finished run, at rest; `run_id` made `model_id`."""

    settings: Settings
    run_id: int
    model_id: int
    trained_twice: bool
    models_after_kill: int


def copy_of(settings: Settings, folder: Path, changes: Mapping[str, object] | None = None) -> Workspace:
    """Another workspace with a copy of the database; the immutable models and indexes are shared."""
    folder.mkdir()
    shutil.copy(settings.workspace / "relabel.sqlite", folder)
    for name in ("models", "indexes"):
        shutil.copytree(settings.workspace / name, folder / name, copy_function=os.link)
    return open_with(settings_from(folder, {**QUICK, **(changes or {})}))


def train_killed_and_repeated(workspace: Workspace, *, speed: str = "full") -> Trained:
    """A run killed before its model was stored, then each of its steps done twice; the workspace is closed."""
    run_id = train_until_killed(workspace, speed=speed)
    models_after_kill = count(workspace, ModelVersion)
    first = training_work.train_step(workspace, run_id)
    steps: list[tuple[int, int]] = []
    again = training_work.train_step(workspace, run_id, on_progress=lambda *at: steps.append(at))
    assert training_work.index_step(workspace, run_id) == training_work.index_step(workspace, run_id)
    assert training_work.evaluate_step(workspace, run_id) == training_work.evaluate_step(workspace, run_id)
    training_work.finish(workspace, run_id, RunStatus.DONE)
    workspace.close()
    return Trained(
        workspace.settings,
        run_id,
        first,
        trained_twice=bool(steps) or again != first,
        models_after_kill=models_after_kill,
    )


def train_until_killed(workspace: Workspace, *, speed: str) -> int:
    """A new run, killed at the moment when the model that it is after was to be stored; its id."""
    run_id, _, _ = runs.create_run(workspace, person="Ada", overrides={"speed": speed})
    power_cut(workspace, "training_run", "UPDATE OF model_version_id")
    with pytest.raises(sa.exc.IntegrityError):
        training_work.train_step(workspace, run_id)
    power_back(workspace)
    return run_id


def count(workspace: Workspace, table: type) -> int:
    with workspace.sessions.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def stages(workspace: Workspace) -> dict[int, ModelStage]:
    return {model.id: model.stage for model in promotion.list_models(workspace)}


def live_id(workspace: Workspace) -> int:
    live = promotion.get_live_view(workspace)
    assert live is not None
    return live.id


def power_cut(workspace: Workspace, table: str, event: str) -> None:
    """From now on that write breaks off the transaction it is in."""
    with workspace.sessions.begin() as session:
        session.execute(
            sa.text(f"CREATE TRIGGER power_cut BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'power cut'); END")
        )


def power_back(workspace: Workspace) -> None:
    with workspace.sessions.begin() as session:
        session.execute(sa.text("DROP TRIGGER power_cut"))
