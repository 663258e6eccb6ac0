"""Making a model from labels, at either speed: files in, files out; what becomes of them is in `training_work`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.bootstrap import Workspace
from app.services.hard_negatives import mine_stages
from app.services.indexing import Progress, model_path
from app.services.label_sets import stage_names
from app.services.recipes import Recipe
from app.services.retrievers import open_index, open_retriever
from app.services.run_remarks import warn
from db.models import ModelVersion
from db.queries import training as training_queries
from db.queries.registry import get_live
from retriever.types import AdapterSettings, TrainingProgress, TrainingSettings, TrainingStage

if TYPE_CHECKING:
    from retriever.adapter_training import Baseline

ENCODER_FILE = "encoder.json"
"""Names in an adapter's folder the model that it is for: equal weights for two encoders are two models."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be made, from which labels, and who hears of it; `on_stage` is told in words what is being done."""

    base: ModelVersion
    stages: Sequence[TrainingStage]
    recipe: Recipe
    on_stage: Callable[[str], object]
    on_progress: Progress
    on_loss: Callable[[TrainingProgress], None]
    should_cancel: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Made:
    """A finished model folder's vector length, what its training used and did, and what people must know of it."""

    dim: int
    report: dict[str, Any]
    remark: str = ""

    @property
    def keeps_nothing(self) -> bool:
        """Whether the model ranks as the one it was made from: no change that was learned was better than none."""
        return bool(self.report.get("keep") == 0)


def make_model(workspace: Workspace, work: Work, output: Path) -> Made:
    """Trains into the folder `output`, which must not be there yet.

    Raises:
        EmptyTrainingSet, TrainingCancelled, TrainingDiverged, EncodingCancelled: as the training says.
    """
    training = work.recipe.training
    made = (
        _make_adapter(workspace, work, training, output)
        if isinstance(training, AdapterSettings)
        else _make_full(workspace, work, training, output)
    )
    there = {stage.name for stage in work.stages}
    left_out = [name for name in stage_names(work.recipe.curriculum) if name not in there]
    return Made(made.dim, {**made.report, "left_out_stages": left_out}, warn(made.report))


def _make_full(workspace: Workspace, work: Work, settings: TrainingSettings, output: Path) -> Made:
    from retriever.encoder import Encoder
    from retriever.training import train

    stages, mined = list(work.stages), None
    wanted = work.recipe.mined_negatives
    few = any(len(entry.passages) < settings.list_size for stage in stages for entry in stage.lists)
    if wanted or (wanted is None and few):
        work.on_stage("mining negatives")
        stages, mined = mine_stages(
            workspace,
            stages,
            per_query=wanted or settings.list_size,
            fill_to=settings.list_size if wanted is None else None,
            on_progress=work.on_progress,
            should_cancel=work.should_cancel,
        )
        work.on_stage("training")
    report = train(
        base_model=model_path(workspace, work.base),
        stages=stages,
        settings=settings,
        output=output,
        on_progress=work.on_loss,
        should_cancel=work.should_cancel,
    )
    return Made(Encoder.load(output).dim, asdict(report) | ({} if mined is None else {"mined_negatives": mined}))


def _make_adapter(workspace: Workspace, work: Work, settings: AdapterSettings, output: Path) -> Made:
    from retriever.adapter_training import train_adapter

    if open_index(workspace, work.base) is None:
        work.on_stage("encoding passages")
    retriever = open_retriever(
        workspace, work.base, build=True, progress=work.on_progress, should_cancel=work.should_cancel
    )
    work.on_stage("training")
    queries = {entry.query_id: entry.query for stage in work.stages for entry in stage.lists}
    vectors = retriever.encoder.encode_queries(list(queries.values()))
    report = train_adapter(
        stages=work.stages,
        query_vectors=dict(zip(queries, vectors, strict=True)),
        passage_ids=retriever.index.passage_ids,
        passage_vectors=retriever.index.vectors,
        settings=settings,
        output=output,
        baseline=_baseline(workspace, work.base),
        on_progress=work.on_loss,
        should_cancel=work.should_cancel,
    )
    (output / ENCODER_FILE).write_text(json.dumps({"encoder": work.base.hash}) + "\n", encoding="utf-8")
    return Made(retriever.index.dim, asdict(report))


def _baseline(workspace: Workspace, encoder: ModelVersion) -> Baseline | None:
    """The live adapter where it stands on that encoder, and what it was trained on; None for no adapter."""
    from retriever.adapter import QueryAdapter
    from retriever.adapter_training import Baseline

    with workspace.sessions.read() as session:
        live = get_live(session)
        if live is None or live.encoder_id != encoder.id:
            return None
        trained_on = training_queries.list_trained_positives(
            session,
            label_set_ids=training_queries.label_sets_of(session, [live.id]),
            relevant_from=workspace.settings.relevant_from,
        )
    return Baseline(QueryAdapter.load(model_path(workspace, live)), trained_on)
