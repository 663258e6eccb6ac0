"""What a worker does for a training run, in steps that can each be repeated: train, index, evaluate, finish.

Each step reads what it needs from the database and writes its result there before it returns: a killed worker
resumes at the step it was in, and a repeated step finds what the first attempt stored.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.config import Speed
from app.errors import AppError, NothingToDo
from app.services.evaluating import run_evaluation, why_not_compared
from app.services.indexing import Progress, ensure_dense_index, register_model
from app.services.label_sets import load_stages
from app.services.model_making import Made, Work, make_model
from app.services.recipes import read_recipe
from app.services.run_remarks import ON_TOP_REPORT
from db.enums import ModelStage, RunStatus
from db.errors import DbError
from db.models import Evaluation, LabelSet, ModelVersion, TrainingPoint, TrainingRun
from db.queries import training as training_queries
from db.queries.registry import get_live, get_model_or_raise
from retriever.errors import EncodingCancelled, RetrieverError, TrainingCancelled
from retriever.types import TrainingProgress

_REPORT_SECONDS = 0.5
LEFT_ALONE = timedelta(days=1)
OUR_ERRORS = (AppError, DbError, RetrieverError)
CANCELLED = (TrainingCancelled, EncodingCancelled)


class _Follower:
    """Writes where a run stands, at most twice a second, and hears whether it was asked to stop."""

    def __init__(
        self,
        workspace: Workspace,
        run_id: int,
        *,
        on_progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_progress = on_progress
        self._workspace = workspace
        self._run_id = run_id
        self._clock = clock
        self._last = -math.inf
        self._points: dict[int, tuple[float, float]] = {}
        self._after_step = 0
        self._cancel = False

    def begin(self, *, after_step: int) -> None:
        """The loss curve goes on after that step; what an interrupted attempt drew beyond it is gone."""
        self._after_step = after_step
        with self._workspace.sessions.begin() as session:
            drawn = TrainingPoint.run_id == self._run_id
            session.execute(sa.delete(TrainingPoint).where(drawn, TrainingPoint.step > after_step))

    def loss(self, progress: TrainingProgress) -> None:
        self._points[self._after_step + progress.step] = (progress.loss, progress.seconds)
        self.at(progress.step, progress.total_steps)

    def at(self, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(done, total)
        if done < total and self._clock() - self._last < _REPORT_SECONDS:
            return
        self._last = self._clock()
        with self._workspace.sessions.begin() as session:
            run = session.get_one(TrainingRun, self._run_id)
            run.done, run.total, run.heartbeat_at = done, total, self._workspace.now()
            self._cancel = run.cancel_requested
            for step, (loss, seconds) in self._points.items():
                session.merge(TrainingPoint(run_id=self._run_id, step=step, loss=loss, seconds=seconds))
        self._points.clear()

    def should_cancel(self) -> bool:
        if not self._cancel and self._clock() - self._last >= _REPORT_SECONDS:
            with self._workspace.sessions.read() as session:
                self._cancel = session.get_one(TrainingRun, self._run_id).cancel_requested
        return self._cancel


def _enter(workspace: Workspace, run_id: int, stage: str) -> TrainingRun:
    """Marks the stage a run is in; raises TrainingCancelled when it was asked to stop."""
    with workspace.sessions.begin() as session:
        run = _locked_run(session, run_id)
        now = workspace.now()
        run.status, run.stage, run.done, run.total, run.heartbeat_at = RunStatus.RUNNING, stage, 0, 0, now
        run.started_at = run.started_at or now
        return run


def _locked_run(session: Session, run_id: int) -> TrainingRun:
    """The run, held until the transaction ends; raises TrainingCancelled when it was asked to stop."""
    run = session.get_one(TrainingRun, run_id, with_for_update=True)
    if run.cancel_requested or not run.status.is_active:
        raise TrainingCancelled(f"run {run_id} was cancelled", user_message="Training was cancelled.")
    return run


def train_step(workspace: Workspace, run_id: int, *, on_progress: Progress | None = None) -> int:
    """Trains the run's model from its label set and base; returns the model version's id.

    A run after an adapter on top of a trained encoder makes both, each a model version of its own. An encoder that was
    stored before a kill is not trained again.
    """
    run = _enter(workspace, run_id, "training")
    if run.model_version_id is not None:
        return run.model_version_id
    recipe = read_recipe(run.settings)
    with workspace.sessions.read() as session:
        stages = load_stages(
            session,
            run.label_set_id,
            relevant_from=workspace.settings.relevant_from,
            curriculum=recipe.curriculum,
            human=recipe.human,
        )
        base = get_model_or_raise(session, run.base_model_id)
    follower = _Follower(workspace, run_id, on_progress=on_progress)
    work = Work(
        base=base,
        stages=stages,
        recipe=recipe,
        on_stage=lambda stage: _enter(workspace, run_id, stage),
        on_progress=follower.at,
        on_loss=follower.loss,
        should_cancel=follower.should_cancel,
    )
    if recipe.on_top is None:
        follower.begin(after_step=0)
        return _make(workspace, run_id, work, _Part.WHOLE).id
    if run.trained_encoder_id is None:
        follower.begin(after_step=0)
        _make(workspace, run_id, work, _Part.ENCODER)
    encoder, steps = _trained_encoder(workspace, run_id)
    follower.begin(after_step=steps)
    # What people's stage was told is the encoder's: an adapter stops where its unseen slice says.
    plain = [replace(stage, epochs=None, learning_rate=None, one_positive=False) for stage in stages]
    on_top = replace(work, base=encoder, stages=plain, recipe=replace(recipe, training=recipe.on_top, on_top=None))
    return _make(workspace, run_id, on_top, _Part.ON_TOP).id


class _Part(Enum):
    """What of a run is made: all that it is after, or an encoder first and then an adapter on top of it."""

    WHOLE = auto()
    ENCODER = auto()
    ON_TOP = auto()


_KINDS = {_Part.ENCODER: Speed.FULL, _Part.ON_TOP: Speed.FULL_ADAPTER}
"""How a part's model is called; what is whole, by its speed."""


def _trained_encoder(workspace: Workspace, run_id: int) -> tuple[ModelVersion, int]:
    """The encoder under the adapter that is to come, and how many steps it took."""
    with workspace.sessions.read() as session:
        run = session.get_one(TrainingRun, run_id)
        if run.trained_encoder_id is None:
            raise AppError(f"run {run_id} has no encoder yet")
        return get_model_or_raise(session, run.trained_encoder_id), int(run.report["steps"])


def _make(workspace: Workspace, run_id: int, work: Work, part: _Part) -> ModelVersion:
    """Trains a model, stores it and records it of the run, together or not at all.

    An encoder that an adapter is to stand on is no candidate: nobody asked for it by itself. An adapter on top that
    keeps nothing of what it learned is left out, and the encoder is the run's model then, and the candidate.
    """
    adapter = work.recipe.speed is Speed.ADAPTER
    with tempfile.TemporaryDirectory(prefix=".training-", dir=workspace.settings.models) as scratch:
        output = Path(scratch) / "model"
        made = make_model(workspace, work, output)

        def record(session: Session, model: ModelVersion) -> None:
            _record(_locked_run(session, run_id), model, made, part)

        if part is _Part.ON_TOP and made.keeps_nothing:
            with workspace.sessions.begin() as session:
                encoder = get_model_or_raise(session, work.base.id)
                record(session, encoder)
                if encoder.stage is ModelStage.RETIRED:
                    encoder.stage = ModelStage.CANDIDATE
                return encoder
        with workspace.sessions.read() as session:
            _locked_run(session, run_id)  # asked to stop in the last moment: leave no folder either
        kind = _KINDS.get(part, work.recipe.speed)
        return register_model(
            workspace,
            staging=output,
            name=f"run {run_id} ({'' if kind is Speed.FULL else f'{kind}, '}{work.recipe.training.loss})",
            base_id=work.base.id,
            dim=made.dim,
            stage=ModelStage.RETIRED if part is _Part.ENCODER else ModelStage.CANDIDATE,
            encoder_id=work.base.id if adapter else None,
            on_record=record,
        )


def _record(run: TrainingRun, model: ModelVersion, made: Made, part: _Part) -> None:
    if part is _Part.ENCODER:
        if run.trained_encoder_id is not None:
            return  # another process took the run over meanwhile, and has gone on with its own
        run.trained_encoder_id = model.id
    else:
        run.model_version_id = model.id
    if part is _Part.ON_TOP:
        run.report = {**run.report, ON_TOP_REPORT: _plain(made.report)}
    else:
        run.report, run.message = _plain(made.report), made.remark


def _plain(value: Any) -> Any:
    """The value as JSON holds it: tuples become lists, at every depth."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def index_step(workspace: Workspace, run_id: int, *, on_progress: Progress | None = None) -> str:
    """Completes the index that the new model searches, before anybody can be served from it; returns its folder's name.

    A full model's is built aside. An adapter searches its encoder's, which is there already unless passages came since.
    """
    run = _enter(workspace, run_id, "encoding passages")
    with workspace.sessions.read() as session:
        model = get_model_or_raise(session, _model_of(run))
    follower = _Follower(workspace, run_id, on_progress=on_progress)
    return ensure_dense_index(workspace, model, progress=follower.at, should_cancel=follower.should_cancel).name


def evaluate_step(workspace: Workspace, run_id: int, *, on_progress: Progress | None = None) -> int | None:
    """Compares the new model with the live one on the held-out questions; returns the evaluation's id.

    Without held-out judgements there is nothing to compare on, and nor is there for a model that ranks as the live one
    does: the run says so, the model stays a candidate, and None is returned.
    """
    run = _enter(workspace, run_id, "evaluating on held-out questions")
    if run.evaluation_id is not None:
        return run.evaluation_id
    with workspace.sessions.read() as session:
        model = get_model_or_raise(session, _model_of(run))
        live = get_live(session)
        if live is not None and live.id == model.id:
            live = None  # retrained to the very same weights: there is nothing to compare, and no look to spend
        same = "" if live is None else why_not_compared(session, model, live)
        label_sets = training_queries.label_sets_of(session, [m.id for m in (live, model) if m is not None])
        criterion = session.get_one(LabelSet, run.label_set_id).criterion
    if same:
        with workspace.sessions.begin() as session:
            run = _locked_run(session, run_id)
            run.message = " ".join(part for part in (run.message.removesuffix(same).strip(), same) if part)
        return None
    follower = _Follower(workspace, run_id, on_progress=on_progress)

    def record(session: Session, evaluation: Evaluation) -> None:
        _locked_run(session, run_id).evaluation_id = evaluation.id

    try:
        return run_evaluation(
            workspace,
            model=model,
            baseline=live,
            label_set_ids=label_sets,
            criterion=criterion,
            progress=follower.at,
            should_cancel=follower.should_cancel,
            on_record=record,
        )
    except NothingToDo as exc:
        with workspace.sessions.begin() as session:
            _locked_run(session, run_id).message = f"Trained, but not compared. {exc.user_message}"
        return None


def _model_of(run: TrainingRun) -> int:
    if run.model_version_id is None:
        raise AppError(f"run {run.id} has no model yet")
    return run.model_version_id


def finish(workspace: Workspace, run_id: int, status: RunStatus, message: str = "") -> None:
    """Closes a run: done, failed with a message for the screen, or cancelled. A closed run stays closed."""
    with workspace.sessions.begin() as session:
        run = session.get_one(TrainingRun, run_id, with_for_update=True)
        if not run.status.is_active:
            return
        run.status, run.active, run.stage, run.finished_at = status, None, str(status), workspace.now()
        run.message = message or run.message


def remove_leftovers(workspace: Workspace) -> None:
    """Deletes half-made folders that nobody has touched for a day; finished ones have other names.

    Younger ones may be in the making: `relabel pool` beside the worker, or another machine on the same disk.
    """
    for root in (workspace.settings.models, workspace.settings.indexes):
        for folder in root.glob(".*-*"):
            with contextlib.suppress(FileNotFoundError):  # finished and moved away while we looked
                touched = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
                if workspace.now().timestamp() - touched > LEFT_ALONE.total_seconds():
                    shutil.rmtree(folder, ignore_errors=True)
