"""One training run: lists in, a plain sentence-transformers folder out. Which labels count is in `training_lists`."""

import contextlib
import math
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from retriever.encoder import load_sentence_transformer
from retriever.errors import EmptyTrainingSet, TrainingCancelled, TrainingDiverged
from retriever.losses import make_loss
from retriever.losses.list_loss import ListLoss
from retriever.quiet import quiet_transformers
from retriever.training_lists import (
    PreparedLists,
    TrainingList,
    batch_positions,
    batch_targets,
    is_negative,
    is_positive,
    prepare_lists,
)
from retriever.types import GradedList, TrainingProgress, TrainingReport, TrainingSettings

_BUCKET = 16


def train(
    *,
    base_model: Path | str,
    lists: Sequence[GradedList],
    settings: TrainingSettings,
    output: Path,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingReport:
    """Fine-tunes a copy of the base model on the lists and writes it to output, whole or not at all.

    output must be missing or empty. on_progress and should_cancel are called after each step. The same base, lists (in
    the same order), settings, machine and number of threads give the same weights.
    Raises: EmptyTrainingSet, TrainingCancelled, TrainingDiverged, ModelNotFound, ModelCorrupt; ValueError for lists
    that contradict the settings; FileExistsError when output holds something.
    """
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty: train into a new folder")
    prepared = prepare_lists(lists, settings)
    if not prepared.lists:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(prepared.skipped.items())) or "no lists"
        raise EmptyTrainingSet(
            f"none of {len(lists)} lists can be trained on ({reasons}): label more pairs",
            user_message=f"There is nothing to train on yet ({reasons}).",
        )
    started = clock()
    _poll(should_cancel, 0)
    with _own_randomness(settings.seed), quiet_transformers(), tempfile.TemporaryDirectory() as scratch:
        model = load_sentence_transformer(base_model)
        shipped_length = model.max_seq_length
        model.max_seq_length = min(settings.max_length, shipped_length or settings.max_length)
        if settings.trainable_layers is not None:
            _freeze_lower_layers(model, settings.trainable_layers)
        watch = _Watch(on_progress=on_progress, should_cancel=should_cancel, clock=clock, started=started)
        trainer = _make_trainer(model, prepared.lists, settings, watch=watch, scratch=Path(scratch))
        trainer.train()
        _check_weights(model)
        model.max_seq_length = shipped_length
        _save(model, output)
    return _report(prepared, settings, losses=watch.losses, seconds=clock() - started)


class _Watch(TrainerCallback):
    """Sees each step: keeps the losses, tells the caller, and stops when asked."""

    def __init__(
        self,
        *,
        on_progress: Callable[[TrainingProgress], None] | None,
        should_cancel: Callable[[], bool] | None,
        clock: Callable[[], float],
        started: float,
    ) -> None:
        self.losses: list[float] = []
        self._on_progress = on_progress
        self._should_cancel = should_cancel
        self._clock = clock
        self._started = started

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        if self._on_progress is not None:
            self._on_progress(
                TrainingProgress(
                    step=state.global_step,
                    total_steps=state.max_steps,
                    loss=self.losses[-1],
                    epoch=float(state.epoch or 0.0),
                    seconds=self._clock() - self._started,
                )
            )
        _poll(self._should_cancel, state.global_step)


class _Collator:
    """Positions of lists to the tensors of one batch: queries, passages in buckets of like length, and the targets."""

    def __init__(self, model: SentenceTransformer, lists: Sequence[TrainingList], settings: TrainingSettings) -> None:
        self.valid_label_columns: list[str] = []  # the trainer reads it
        self._model = model
        self._lists = lists
        self._settings = settings

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, object]:
        targets = batch_targets([self._lists[row["position"]] for row in rows], self._settings)
        batch: dict[str, object] = {}
        self._add(batch, "query", targets.queries)
        # Buckets of like length: most of a short passage's row would be padding beside a long one.
        by_length = sorted(range(len(targets.passages)), key=lambda at: len(targets.passages[at]))
        for number, start in enumerate(range(0, len(by_length), _BUCKET)):
            self._add(batch, f"passages{number}", [targets.passages[at] for at in by_length[start : start + _BUCKET]])
        batch["label"] = {
            "grades": torch.tensor(targets.grades)[:, by_length],
            "weights": torch.tensor(targets.weights)[:, by_length],
            "labelled": torch.tensor(targets.labelled)[:, by_length],
            "in_batch": torch.tensor(targets.in_batch)[:, by_length],
        }
        return batch

    def _add(self, batch: dict[str, object], column: str, texts: list[str]) -> None:
        features: Mapping[str, object] = self._model.preprocess(texts)
        batch.update({f"{column}_{name}": value for name, value in features.items()})


class _BatchSampler:
    """Shuffled batches of positions, the same number each epoch, no query text twice in one."""

    def __init__(self, keys: Sequence[str], *, batch_size: int, generator: torch.Generator) -> None:
        self._keys = keys
        self._batch_size = batch_size
        self._generator = generator
        self._length = len(batch_positions(keys, range(len(keys)), batch_size=batch_size))
        self.drop_last = False  # accelerate reads both
        self.batch_size = batch_size

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(self._keys), generator=self._generator).tolist()
        yield from batch_positions(self._keys, order, batch_size=self._batch_size)


class _BatchLoss(nn.Module):
    """Encodes a batch and applies the list loss; the scores are cosines, so any model can be trained."""

    def __init__(self, model: SentenceTransformer, loss: ListLoss, *, margin: float, losses: list[float]) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.margin = margin
        self._losses = losses

    def forward(self, features: Sequence[dict[str, Tensor]], labels: Mapping[str, Tensor]) -> Tensor:
        queries, *buckets = [
            nn.functional.normalize(self.model(feature)["sentence_embedding"], dim=1) for feature in features
        ]
        scores = queries @ torch.cat(buckets).T
        labelled, grades = labels["labelled"], labels["grades"]
        positive = labelled & (grades >= self.loss.relevant_from)
        negatives = labels["in_batch"] & below_margin(scores.detach(), positive=positive, margin=self.margin)
        loss: Tensor = self.loss(scores, grades, labelled | negatives, labels["weights"])
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"the loss is {value} at step {len(self._losses) + 1}: lower the learning rate or check the base model",
                user_message="Training stopped: its loss is no longer a number. Nothing was saved.",
            )
        self._losses.append(value)
        return loss


class _ListTrainer(SentenceTransformerTrainer):
    """The library's trainer with our batches, and without the model card it would write about our data."""

    sampler_keys: Sequence[str] = ()

    def get_batch_sampler(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> Any:
        """Batches that never hold one query twice, of `batch_positions`."""
        generator = generator or torch.Generator().manual_seed(seed)
        return _BatchSampler(self.sampler_keys, batch_size=batch_size, generator=generator)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds nothing: the card would quote the training data."""


def below_margin(scores: Tensor, *, positive: Tensor, margin: float) -> Tensor:
    """Where a score lies below the query's weakest positive s by more than margin·|s|; (n_queries, n_passages) bool.

    An unlabelled passage above that line may well be a positive nobody judged. A query without a positive has none.
    Source: relative_margin of sentence-transformers' mine_hard_negatives; measured against the weakest positive and
    with the current weights, our choice.
    """
    weakest = scores.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    limit = weakest - margin * weakest.abs()
    return (scores < limit) & positive.any(dim=1, keepdim=True)


def _make_trainer(
    model: SentenceTransformer,
    lists: Sequence[TrainingList],
    settings: TrainingSettings,
    *,
    watch: _Watch,
    scratch: Path,
) -> _ListTrainer:
    keys = [entry.key for entry in lists]
    steps = settings.epochs * len(batch_positions(keys, range(len(keys)), batch_size=settings.batch_queries))
    loss = make_loss(settings.loss, temperature=settings.temperature, relevant_from=settings.relevant_from)
    trainer = _ListTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(scratch),
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_queries,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=math.ceil(settings.warmup_ratio * steps),
            seed=settings.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list([{"position": position} for position in range(len(lists))]),
        data_collator=_Collator(model, lists, settings),  # type: ignore[arg-type]
        loss=_BatchLoss(model, loss, margin=settings.in_batch_margin, losses=watch.losses),
        callbacks=[watch],
    )
    trainer.sampler_keys = keys
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    return trainer


def _freeze_lower_layers(model: SentenceTransformer, trainable: int) -> None:
    first = model[0]
    stacks = [module for module in first.modules() if isinstance(module, nn.ModuleList)]
    if not stacks:  # static embeddings, for one: there is nothing below to freeze
        return
    layers = max(stacks, key=len)
    for parameter in first.parameters():
        parameter.requires_grad_(False)
    for layer in list(layers)[-trainable:]:
        for parameter in layer.parameters():
            parameter.requires_grad_(True)


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


def _report(
    prepared: PreparedLists, settings: TrainingSettings, *, losses: Sequence[float], seconds: float
) -> TrainingReport:
    kept = [passage for entry in prepared.lists for passage in entry.kept]
    last_epoch = losses[-max(1, len(losses) // settings.epochs) :]
    return TrainingReport(
        steps=len(losses),
        seconds=seconds,
        final_loss=math.fsum(last_epoch) / len(last_epoch),
        n_queries=len(prepared.lists),
        n_passages=len(kept),
        n_positives=sum(is_positive(passage, settings) for passage in kept),
        n_hard_negatives=sum(is_negative(passage) for passage in kept),
        skipped_lists=prepared.skipped,
        cut_passages=prepared.cut_passages,
    )


def _poll(should_cancel: Callable[[], bool] | None, step: int) -> None:
    if should_cancel is not None and should_cancel():
        raise TrainingCancelled(
            f"training stopped on request after step {step}",
            user_message="Training was cancelled. Nothing was saved.",
        )


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
