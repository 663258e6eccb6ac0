"""Training runs: asked for, followed, cancelled; the work itself is in `training_work`, the queue in `app.jobs`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.config import Speed
from app.errors import NothingToDo
from app.services.evaluation_views import evaluation_view
from app.services.indexing import encoder_model
from app.services.label_sets import freeze, load_stages
from app.services.label_sets import get_trainable as get_trainable
from app.services.models import model_view
from app.services.recipes import FROM_LIVE, Recipe, make_recipe, stored_recipe
from app.services.run_remarks import remarks_on
from app.services.views import LossPoint, RunView
from db.enums import RunStatus
from db.errors import NotFound
from db.models import Evaluation, LabelSet, ModelVersion, TrainingRun
from db.queries import training as training_queries
from db.queries.people import person_named
from db.queries.registry import get_live
from db.queries.workspace_values import get_value, set_value

HEARTBEAT = "worker_heartbeat"
HERE = "here-"
"""How the workflow id begins of a run that its own process works on, without the queue."""
HERE_LOST = timedelta(minutes=2)
HEARTBEAT_LOST = timedelta(seconds=30)


def create_run(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    overrides: dict[str, object] | None = None,
    judge: str | None = None,
    here: bool = False,
    on_record: Callable[[Session, TrainingRun], None] | None = None,
) -> tuple[int, str, bool]:
    """Freezes a label set and records a run on it: (run id, workflow id, whether it is new).

    `here` marks a run that this process will work on itself. `overrides` change the workspace's recipe (see
    `recipes.make_recipe`); `judge` trains on that judge's proposals alone (see `label_sets.freeze`). While a run is
    queued or running, that run is returned: two clicks never train twice. `on_record` writes what must be stored
    together with a new run or not at all.

    Raises:
        NothingToDo: there is nothing to train on, or no model is live yet.
        InputInvalid: an override is unknown or not allowed.
    """
    recipe = make_recipe(workspace.settings, overrides or {})
    try:
        with workspace.sessions.begin() as session:
            active = training_queries.get_active_run(session)
            if active is not None:
                return active.id, active.workflow_id, False
            base = _base_model(session, recipe)
            label_set = freeze(workspace, session, criterion=criterion, person=person, judge=judge)
            _check_stages(workspace, session, label_set, recipe)
            now = workspace.now()
            run = TrainingRun(
                active=True,
                workflow_id=f"{HERE if here else 'train-'}{secrets.token_hex(8)}",
                label_set_id=label_set.id,
                base_model_id=base.id,
                status=RunStatus.QUEUED,
                stage="waiting for the worker",
                settings=stored_recipe(recipe),
                report={},
                person_id=person_named(session, person, now=now).id,
                created_at=now,
            )
            session.add(run)
            session.flush()
            if on_record is not None:
                on_record(session, run)
            return run.id, run.workflow_id, True
    except IntegrityError:
        with workspace.sessions.read() as session:
            active = training_queries.get_active_run(session)
        if active is None:
            raise
        return active.id, active.workflow_id, False


def _base_model(session: Session, recipe: Recipe) -> ModelVersion:
    """What a run starts from.

    A full training starts from the first base, never on top of an earlier fine-tune, which can lower scores; unless it
    is anchored and was asked to start from the live full model, the reference then. An adapter is trained for the
    encoder that is live, or that the live adapter stands on: never on top of another adapter.
    """
    model = get_live(session)
    if model is None:
        raise NothingToDo("no model is live yet", user_message="Pool candidates first: relabel pool")
    if recipe.speed is Speed.ADAPTER or recipe.start_from == FROM_LIVE:
        return encoder_model(session, model)
    while model.base_id is not None:
        model = session.get_one(ModelVersion, model.base_id)
    return model


def _check_stages(workspace: Workspace, session: Session, label_set: LabelSet, recipe: Recipe) -> None:
    stages = load_stages(
        session, label_set.id, relevant_from=workspace.settings.relevant_from, curriculum=recipe.curriculum
    )
    if not stages:
        raise NothingToDo(
            f"label set {label_set.hash[:12]} has nothing for the curriculum {recipe.curriculum!r}",
            user_message=f"The curriculum {recipe.curriculum!r} has no relevant label to train on: "
            + (
                "people have graded none yet." if recipe.curriculum == "human" else "no judge's label is trainable yet."
            ),
        )


def get_run(workspace: Workspace, *, run_id: int) -> RunView:
    """A run as it is now.

    Raises:
        NotFound: there is no such run.
    """
    with workspace.sessions.read() as session:
        run = session.get(TrainingRun, run_id)
        if run is None:
            raise NotFound(f"there is no training run {run_id}")
        return _view(workspace, session, run)


def get_latest_run(workspace: Workspace) -> RunView | None:
    """The newest run, or None."""
    found = list_runs(workspace, limit=1)
    return found[0] if found else None


def list_runs(workspace: Workspace, *, limit: int = 20) -> tuple[RunView, ...]:
    """Runs, newest first."""
    with workspace.sessions.read() as session:
        return tuple(_view(workspace, session, run) for run in training_queries.list_runs(session, limit=limit))


def _view(workspace: Workspace, session: Session, run: TrainingRun) -> RunView:
    label_set = session.get_one(LabelSet, run.label_set_id)
    evaluation = None if run.evaluation_id is None else session.get_one(Evaluation, run.evaluation_id)
    model = None if run.model_version_id is None else session.get_one(ModelVersion, run.model_version_id)
    recipe: Mapping[str, Any] = run.settings.get("training", run.settings)
    speed = Speed(run.settings.get("speed", Speed.FULL))
    return RunView(
        id=run.id,
        status=run.status,
        stage=run.stage,
        done=run.done,
        total=run.total,
        message=run.message,
        cancel_requested=run.cancel_requested,
        worker_alive=worker_alive(workspace, session),
        label_set=label_set.hash[:12],
        n_labels=label_set.n_labels,
        label_counts={name: int(count) for name, count in label_set.counts.items()},
        speed=speed,
        loss_name=str(recipe["loss"]),
        settings=run.settings,
        report=run.report,
        remarks=remarks_on(run.report, speed=speed, message=run.message),
        points=tuple(LossPoint(p.step, p.loss, p.seconds) for p in training_queries.list_points(session, run.id)),
        model=None if model is None else model_view(session, model),
        evaluation=None if evaluation is None else evaluation_view(session, evaluation),
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def request_cancel(workspace: Workspace, *, run_id: int, person: str) -> None:
    """Asks a run to stop; one that no worker has begun stops at once. A finished run stays as it is.

    Raises:
        NotFound: there is no such run.
    """
    with workspace.sessions.begin() as session:
        run = session.get(TrainingRun, run_id, with_for_update=True)
        if run is None:
            raise NotFound(f"there is no training run {run_id}")
        if not run.status.is_active:
            return
        run.cancel_requested = True
        run.message = f"cancelled by {person}"
        if run.status is RunStatus.QUEUED:
            run.status, run.active, run.stage = RunStatus.CANCELLED, None, "cancelled"
            run.finished_at = workspace.now()


def beat(workspace: Workspace) -> None:
    """Says that a worker lives."""
    with workspace.sessions.begin() as session:
        set_value(session, HEARTBEAT, {}, now=workspace.now())


def worker_alive(workspace: Workspace, session: Session) -> bool:
    """Whether a worker said so within the last half minute."""
    from db.models import WorkspaceValue

    if get_value(session, HEARTBEAT) is None:
        return False
    last = session.scalar(sa.select(WorkspaceValue.updated_at).where(WorkspaceValue.name == HEARTBEAT))
    return last is not None and workspace.now() - last < HEARTBEAT_LOST


def is_worker_alive(workspace: Workspace) -> bool:
    """Whether a worker said so within the last half minute."""
    with workspace.sessions.read() as session:
        return worker_alive(workspace, session)


def get_active_for_queue(workspace: Workspace) -> tuple[int, str] | None:
    """The id and workflow id of the active run if a worker is to see to it, or None.

    A run that another process works on itself (`here`) belongs to the queue only when that process has given no sign of
    life for two minutes.
    """
    with workspace.sessions.read() as session:
        run = training_queries.get_active_run(session)
        if run is None:
            return None
        alive = workspace.now() - (run.heartbeat_at or run.created_at) < HERE_LOST
        return None if run.workflow_id.startswith(HERE) and alive else (run.id, run.workflow_id)
