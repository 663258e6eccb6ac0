"""One training run: stages of lists in, a plain sentence-transformers folder out.

Which labels count is in `training_lists`, one stage's steps in `list_trainer`, the loss of a batch in `batch_loss`.
"""

import contextlib
import math
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from retriever.batch_loss import BatchLoss, Encode, frozen_encode
from retriever.encoder import load_sentence_transformer
from retriever.errors import EmptyTrainingSet, TrainingDiverged
from retriever.keep_choice import keep_best, make_pool
from retriever.learning_weights import (
    LowRank,
    freeze_lower_layers,
    learning,
    linear_weights,
    snapshot,
)
from retriever.list_trainer import Watch, count_steps, run_stage
from retriever.losses import make_loss
from retriever.quiet import quiet_transformers
from retriever.training_lists import PreparedLists, is_negative, is_positive, known_labels, prepare_lists
from retriever.types import (
    GradedList,
    LabelledPassage,
    StageReport,
    TrainingProgress,
    TrainingReport,
    TrainingSettings,
    TrainingStage,
)
from retriever.unseen_slice import split_unseen


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage made ready: settings are the run's, changed by what the stage says."""

    name: str
    settings: TrainingSettings
    prepared: PreparedLists


def train(
    *,
    base_model: Path | str,
    stages: Sequence[TrainingStage],
    settings: TrainingSettings,
    output: Path,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingReport:
    """Fine-tunes a copy of the base model on the stages, one after the other, and writes it to output, whole or not.

    Each stage has an optimizer and a learning-rate schedule of its own and starts from the weights the one before left.
    A stage without a list that can be trained on is left out and reported so. What one stage grades positive or weak
    for a query is no negative of that query in any other, unless graded 0 there. output must be missing or empty.
    on_progress and should_cancel are called after each step; steps count over all stages. The same base, stages (lists
    in the same order), settings, machine and number of threads give the same weights. Weights of half precision are
    trained and written in float32.

    With an anchor the reference is the base model, in every stage. With unseen_share some queries are put aside from
    all stages by `split_unseen`; after the training the whole of settings.keep, a half and a quarter of it are tried on
    them (`keep_choice`), and the best that is not below the base model is written; if all are below, the one that loses
    least, and the report's unseen says "below_base": 1. The labels put aside are not trained on afterwards: a second
    training would cost as much as the first, and nothing would vouch for its weights. So the share should be small.
    Source: interpolation after Wortsman et al. 2022 (arXiv 2109.01903); choosing it so is our choice.
    Raises: EmptyTrainingSet, TrainingCancelled, TrainingDiverged, ModelNotFound, ModelCorrupt; ValueError for lists
    that contradict the settings or a model that has nothing to adapt; FileExistsError when output holds something.
    """
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty: train into a new folder")
    known = known_labels([stage.lists for stage in stages])
    stages, aside = _put_aside(stages, settings)
    ready = [_prepare(stage, settings, known, seed=settings.seed + number) for number, stage in enumerate(stages)]
    _check_not_empty(ready, n_lists=sum(len(stage.lists) for stage in stages))
    watch = Watch(
        total_steps=sum(count_steps(stage.prepared.lists, stage.settings) for stage in ready if stage.prepared.lists),
        on_progress=on_progress,
        should_cancel=should_cancel,
        clock=clock,
    )
    watch.poll()
    with _own_randomness(settings.seed), quiet_transformers(), tempfile.TemporaryDirectory() as scratch:
        model = load_sentence_transformer(base_model).float()
        shipped_length = model.max_seq_length
        if shipped_length is None or math.isfinite(shipped_length):  # static embeddings read all, and say infinity
            model.max_seq_length = min(settings.max_length, shipped_length or settings.max_length)
        reference = frozen_encode(model, bf16=settings.bf16) if settings.anchor else None
        if settings.trainable_layers is not None:
            freeze_lower_layers(model, settings.trainable_layers)
        changing = learning(model) if settings.lora_rank is None else linear_weights(model)
        base = snapshot(model, changing) if settings.keep < 1 or aside else {}
        low_rank = None if settings.lora_rank is None else LowRank(model, rank=settings.lora_rank)
        reports = [
            _train_stage(model, stage, watch=watch, scratch=Path(scratch), reference=reference) for stage in ready
        ]
        if low_rank is not None:
            low_rank.merge()
        _check_weights(model)
        pool = make_pool(aside, [graded for stage in stages for graded in stage.lists], seed=settings.seed)
        unseen, keep = keep_best(model, base=base, pool=pool, settings=settings, poll=watch.poll)
        if model.max_seq_length != shipped_length:
            model.max_seq_length = shipped_length
        _save(model, output)
    return _report(reports, seconds=watch.seconds, unseen=unseen, keep=keep)


def _put_aside(
    stages: Sequence[TrainingStage], settings: TrainingSettings
) -> tuple[list[TrainingStage], list[GradedList]]:
    if not settings.unseen_share:
        return list(stages), []
    everything = [graded for stage in stages for graded in stage.lists]
    _, aside = split_unseen(
        everything, share=settings.unseen_share, seed=settings.seed, relevant_from=settings.relevant_from
    )
    ids = {id(graded) for graded in aside}  # one list in two stages is on one side: it asks the same
    kept = [replace(stage, lists=tuple(graded for graded in stage.lists if id(graded) not in ids)) for stage in stages]
    return kept, aside


def _prepare(
    stage: TrainingStage,
    settings: TrainingSettings,
    known: Mapping[str, Mapping[str, LabelledPassage]],
    *,
    seed: int,
) -> _Stage:
    own = replace(
        settings,
        loss=stage.loss or settings.loss,
        epochs=stage.epochs or settings.epochs,
        learning_rate=stage.learning_rate or settings.learning_rate,
        seed=seed,
    )
    prepared = prepare_lists(stage.lists, own, one_positive=stage.one_positive, known=known)
    return _Stage(name=stage.name, settings=own, prepared=prepared)


def _check_not_empty(stages: Sequence[_Stage], *, n_lists: int) -> None:
    if any(stage.prepared.lists for stage in stages):
        return
    skipped: Counter[str] = Counter()
    for stage in stages:
        skipped.update(stage.prepared.skipped)
    reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(skipped.items())) or "no lists"
    raise EmptyTrainingSet(
        f"none of {n_lists} lists can be trained on ({reasons}): label more pairs",
        user_message=f"There is nothing to train on yet ({reasons}).",
    )


def _train_stage(
    model: SentenceTransformer, stage: _Stage, *, watch: Watch, scratch: Path, reference: Encode | None
) -> StageReport:
    settings, prepared = stage.settings, stage.prepared
    before = len(watch.losses)
    skipped = Counter(prepared.skipped)
    if prepared.lists:
        loss = make_loss(
            settings.loss,
            temperature=settings.temperature,
            relevant_from=settings.relevant_from,
            max_grade=settings.max_grade,
            generator=torch.Generator().manual_seed(settings.seed),
        )
        batch_loss = BatchLoss(model, loss, settings, losses=watch.losses, reference=reference)
        run_stage(batch_loss, prepared.lists, settings, watch=watch, scratch=scratch)
        skipped["nothing to compare with in any batch"] = len(prepared.lists) - len(batch_loss.compared)
    losses = watch.losses[before:]
    last_epoch = losses[-max(1, len(losses) // settings.passes(len(prepared.lists))) :]
    kept = [passage for entry in prepared.lists for passage in entry.kept]
    return StageReport(
        name=stage.name,
        loss=settings.loss,
        steps=len(losses),
        final_loss=math.fsum(last_epoch) / max(1, len(last_epoch)),
        n_queries=len(prepared.lists),
        n_passages=len(kept),
        n_positives=sum(is_positive(passage, settings) for passage in kept),
        n_hard_negatives=sum(is_negative(passage) for passage in kept),
        skipped_lists=dict(+skipped),
        cut_passages=prepared.cut_passages,
    )


def _report(
    reports: Sequence[StageReport], *, seconds: float, unseen: Mapping[str, float], keep: float
) -> TrainingReport:
    trained = [report for report in reports if report.steps]
    skipped: Counter[str] = Counter()
    for report in reports:
        skipped.update(report.skipped_lists)
    return TrainingReport(
        steps=sum(report.steps for report in trained),
        seconds=seconds,
        final_loss=trained[-1].final_loss,
        n_queries=sum(report.n_queries for report in trained),
        n_passages=sum(report.n_passages for report in trained),
        n_positives=sum(report.n_positives for report in trained),
        n_hard_negatives=sum(report.n_hard_negatives for report in trained),
        skipped_lists=dict(skipped),
        cut_passages=sum(report.cut_passages for report in reports),
        stages=tuple(report.name for report in trained),
        by_stage=tuple(reports),
        unseen=unseen,
        keep=keep,
    )


def _check_weights(model: SentenceTransformer) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise TrainingDiverged(
                f"the weights {name} hold NaN or infinite numbers after training: lower the learning rate",
                user_message="Training ended with broken weights. Nothing was saved.",
            )


def _save(model: SentenceTransformer, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        model.save(str(unfinished), create_model_card=False)
        if output.exists():
            output.rmdir()
        os.replace(unfinished, output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """The trainer seeds the generators of the whole process: gives the caller's back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
