"""sentence-transformers' trainer for one stage of graded lists, and what watches its steps. The order of stages, and
what becomes of the weights, is in `training`."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from retriever.batch_loss import BatchLoss
from retriever.errors import TrainingCancelled
from retriever.list_batches import ListBatchSampler, ListCollator
from retriever.training_lists import TrainingList, batch_positions
from retriever.types import TrainingProgress, TrainingSettings


class Watch:
    """Sees each step of all stages: keeps the losses, tells the caller, and stops when asked.

    total_steps: of all stages together.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        on_progress: Callable[[TrainingProgress], None] | None = None,
        should_cancel: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.losses: list[float] = []
        self.epochs = 0.0
        self._total_steps = total_steps
        self._on_progress = on_progress
        self._should_cancel = should_cancel
        self._clock = clock
        self._started = clock()

    @property
    def seconds(self) -> float:
        """Seconds since the training began."""
        return self._clock() - self._started

    def step(self, epoch: float) -> None:
        """Tells the caller of a step just done, epoch passes over the present stage's lists; see `poll`."""
        if self._on_progress is not None:
            self._on_progress(
                TrainingProgress(
                    step=len(self.losses),
                    total_steps=self._total_steps,
                    loss=self.losses[-1],
                    epoch=self.epochs + epoch,
                    seconds=self.seconds,
                )
            )
        self.poll()

    def poll(self) -> None:
        """Raises TrainingCancelled when the caller wants to stop."""
        if self._should_cancel is not None and self._should_cancel():
            raise TrainingCancelled(
                f"training stopped on request after step {len(self.losses)}",
                user_message="Training was cancelled. Nothing was saved.",
            )


def count_steps(lists: Sequence[TrainingList], settings: TrainingSettings) -> int:
    """Steps that a stage with these lists takes."""
    keys = [entry.key for entry in lists]
    return settings.passes(len(keys)) * len(batch_positions(keys, range(len(keys)), batch_size=settings.batch_queries))


def run_stage(
    loss: BatchLoss,
    lists: Sequence[TrainingList],
    settings: TrainingSettings,
    *,
    watch: Watch,
    scratch: Path,
) -> None:
    """Trains the model of the loss on the lists, with an optimizer and schedule of its own, as the settings say.

    scratch: a folder the trainer may use; nothing is kept there. Raises: TrainingCancelled, TrainingDiverged.
    """
    model: SentenceTransformer = loss.model
    trainer = _ListTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(scratch),
            num_train_epochs=settings.passes(len(lists)),
            per_device_train_batch_size=settings.batch_queries,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=math.ceil(settings.warmup_ratio * count_steps(lists, settings)),
            seed=settings.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list([{"position": position} for position in range(len(lists))]),
        data_collator=ListCollator(model, lists, settings),  # type: ignore[arg-type]
        loss=loss,
        callbacks=[_StepCallback(watch)],
    )
    trainer.sampler_keys = [entry.key for entry in lists]
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    trainer.train()
    watch.epochs += settings.passes(len(lists))


class _StepCallback(TrainerCallback):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: object,
    ) -> None:
        self._watch.step(float(state.epoch or 0.0))


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
        return ListBatchSampler(self.sampler_keys, batch_size=batch_size, generator=generator)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds nothing: the card would quote the training data."""
