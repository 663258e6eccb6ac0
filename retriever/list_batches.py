"""Batches of graded lists for the trainer: which lists meet in a step, and their tensors. What counts is in
`training_lists`, the loss in `batch_loss`."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from sentence_transformers import SentenceTransformer

from retriever.training_lists import TrainingList, batch_positions, batch_targets
from retriever.types import TrainingSettings

BUCKET = 16
"""Passages encoded together unless gradient_chunk says otherwise; our choice, for two CPU cores."""


class ListCollator:
    """Positions of lists to the tensors of one batch: queries, passages in buckets of like length, and the targets."""

    def __init__(self, model: SentenceTransformer, lists: Sequence[TrainingList], settings: TrainingSettings) -> None:
        self.valid_label_columns: list[str] = []  # the trainer reads it
        self._model = model
        self._lists = lists
        self._settings = settings

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, object]:
        targets = batch_targets([self._lists[row["position"]] for row in rows], self._settings)
        batch: dict[str, object] = {}
        self._add(batch, "queries", targets.queries, size=self._settings.gradient_chunk or len(targets.queries))
        # Buckets of like length: most of a short passage's row would be padding beside a long one.
        by_length = sorted(range(len(targets.passages)), key=lambda at: len(targets.passages[at]))
        passages = [targets.passages[at] for at in by_length]
        self._add(batch, "passages", passages, size=self._settings.gradient_chunk or BUCKET)
        batch["label"] = {
            "positions": torch.tensor([row["position"] for row in rows]),
            "grades": torch.tensor(targets.grades)[:, by_length],
            "weights": torch.tensor(targets.weights)[:, by_length],
            "labelled": torch.tensor(targets.labelled)[:, by_length],
            "in_batch": torch.tensor(targets.in_batch)[:, by_length],
        }
        return batch

    def _add(self, batch: dict[str, object], column: str, texts: list[str], *, size: int) -> None:
        for number, start in enumerate(range(0, len(texts), size)):
            features: Mapping[str, object] = self._model.preprocess(texts[start : start + size])
            batch.update({f"{column}{number}_{name}": value for name, value in features.items()})


class ListBatchSampler:
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
