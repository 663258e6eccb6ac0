"""The gradient steps of a query adapter on cached vectors, and how well it ranks; `adapter_training` chooses."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retriever.adapter import Transform
from retriever.adapter_lists import VectorList
from retriever.errors import TrainingDiverged
from retriever.losses.list_loss import UNLABELLED, ListLoss
from retriever.training_lists import batch_positions
from retriever.types import AdapterSettings

FEWEST_STEPS = 8
"""Steps of an epoch, where there are as many lists: with one or two nothing would move before patience ends."""

_DEPTH = 10
_ROWS = 256


@dataclass(frozen=True, slots=True)
class Corpus:
    """The vectors that a training sees.

    queries: (n_queries, dim) float32. passages: (n_passages, dim), may be a memmap, only touched row by row. pool:
    (n_pool, dim) float32 in memory, the passages that may be unlabelled negatives. column: row of a passage -> its
    place in the pool, -1 for those outside, (n_passages,) int64.
    """

    queries: NDArray[np.float32]
    passages: NDArray[np.float32]
    pool: Tensor
    column: NDArray[np.int64]


def open_corpus(
    queries: NDArray[np.float32],
    passages: NDArray[np.float32],
    lists: Sequence[VectorList],
    *,
    negatives: int,
    seed: int,
) -> Corpus:
    """The corpus, with a pool of at most `negatives` passages: all of them, or by half labelled and drawn ones.

    Labelled passages are hard negatives of other queries; drawn ones stand for the rest. Our choice.
    """
    draw = np.random.default_rng(seed)
    if negatives >= len(passages):
        rows = np.arange(len(passages))
    else:
        labelled = np.unique(np.concatenate([entry.passages for entry in lists])) if lists else np.empty(0, np.int64)
        some = draw.permutation(labelled)[: negatives // 2]
        others = np.setdiff1d(draw.choice(len(passages), size=negatives, replace=False), some)
        rows = np.sort(np.concatenate([some, draw.permutation(others)[: negatives - len(some)]]))
    column = np.full(len(passages), -1, dtype=np.int64)
    column[rows] = np.arange(len(rows))
    return Corpus(queries, passages, torch.tensor(np.asarray(passages[rows], dtype=np.float32)), column)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Tensors of some lists: queries (b, dim); labelled (b, n, dim) with grades, weights and mask (b, n); and the
    coordinates in (b, n_pool) of passages that are never unlabelled negatives."""

    queries: Tensor
    labelled: Tensor
    grades: Tensor
    weights: Tensor
    mask: Tensor
    known_row: Tensor
    known_column: Tensor


def _batch(lists: Sequence[VectorList], corpus: Corpus) -> _Batch:
    longest = max(len(entry.passages) for entry in lists)
    rows = np.zeros((len(lists), longest), dtype=np.int64)
    grades, weights = np.zeros((2, len(lists), longest), dtype=np.float32)
    mask = np.zeros((len(lists), longest), dtype=np.bool_)
    known_row, known_column = [], []
    for at, entry in enumerate(lists):
        n = len(entry.passages)
        rows[at, :n], grades[at, :n], weights[at, :n], mask[at, :n] = entry.passages, entry.grades, entry.weights, True
        columns = corpus.column[np.concatenate([entry.passages, entry.spared])]
        columns = columns[columns >= 0]
        known_row.append(np.full(len(columns), at))
        known_column.append(columns)
    distinct, places = np.unique(rows, return_inverse=True)
    vectors = torch.tensor(np.asarray(corpus.passages[distinct], dtype=np.float32))
    return _Batch(
        queries=torch.tensor(np.asarray(corpus.queries[[entry.row for entry in lists]], dtype=np.float32)),
        labelled=vectors[torch.tensor(places.reshape(rows.shape))],
        grades=torch.tensor(grades),
        weights=torch.tensor(weights),
        mask=torch.tensor(mask),
        known_row=torch.tensor(np.concatenate(known_row)),
        known_column=torch.tensor(np.concatenate(known_column)),
    )


def batch_size(n_lists: int, settings: AdapterSettings) -> int:
    """Queries of a step: settings.batch_queries, or fewer, so that an epoch of a small label set has `FEWEST_STEPS`."""
    return max(1, min(settings.batch_queries, math.ceil(n_lists / FEWEST_STEPS)))


def train_epochs(
    transform: Transform,
    lists: Sequence[VectorList],
    corpus: Corpus,
    *,
    loss: ListLoss,
    learning_rate: float,
    epochs: int,
    settings: AdapterSettings,
    generator: torch.Generator,
    poll: Callable[[], None],
) -> Iterator[float]:
    """Trains the transform in place; yields the mean loss of each epoch. poll is called before each step.

    Raises: TrainingDiverged.
    """
    optimizer = torch.optim.AdamW(transform.parameters(), lr=learning_rate, weight_decay=0.0)
    keys = [str(entry.row) for entry in lists]
    size = batch_size(len(lists), settings)
    for _ in range(epochs):
        order = torch.randperm(len(lists), generator=generator).tolist()
        values = []
        for positions in batch_positions(keys, order, batch_size=size):
            poll()
            batch = _batch([lists[at] for at in positions], corpus)
            change = transform.change(batch.queries)
            value = list_loss(transform.move(batch.queries, change), batch, corpus, loss=loss, settings=settings)
            total = value + settings.identity_decay * change.square().sum(dim=1).mean()
            values.append(float(value.detach()))
            if not math.isfinite(float(total.detach())):
                raise TrainingDiverged(
                    f"the loss of the query adapter is {values[-1]}: lower the learning rate",
                    user_message="Training stopped: its loss is no longer a number. Nothing was saved.",
                )
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield math.fsum(values) / len(values)


def list_loss(queries: Tensor, batch: _Batch, corpus: Corpus, *, loss: ListLoss, settings: AdapterSettings) -> Tensor:
    """The loss of a batch, a scalar: of each query the labelled passages and the hardest unlabelled negatives.

    queries: (b, dim), changed. An unlabelled passage of the pool is a negative when it scores below the query's weakest
    positive s by more than settings.in_batch_margin·|s| (as `batch_loss.below_margin` has it) and is not spared; the
    settings.list_negatives highest of these count.
    """
    own = torch.einsum("qd,qnd->qn", queries, batch.labelled)
    scores = queries @ corpus.pool.T
    with torch.no_grad():
        positive = batch.mask & (batch.grades >= loss.relevant_from)
        weakest = own.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
        limit = weakest - settings.in_batch_margin * weakest.abs()
        allowed = scores.masked_fill(scores >= limit, -torch.inf)
        allowed[batch.known_row, batch.known_column] = -torch.inf
        found = allowed.topk(min(settings.list_negatives, len(corpus.pool)), dim=1)
    others = scores.gather(1, found.indices)
    value: Tensor = loss(
        torch.cat([own, others], dim=1),
        torch.cat([batch.grades, torch.full_like(others, UNLABELLED)], dim=1),
        torch.cat([batch.mask, torch.isfinite(found.values)], dim=1),
        torch.cat([batch.weights, torch.ones_like(others)], dim=1),
    )
    return value


def ndcg(transform: Transform | None, lists: Sequence[VectorList], corpus: Corpus) -> NDArray[np.float64]:
    """nDCG@10 of each list, (n,), ranking its labelled passages and the pool without its spared passages.

    Gains are the grades, unlabelled passages gain 0; spared ones, which are known or likely answers, would gain nothing
    and push the labelled ones down, so they are not ranked (our choice). Source: Järvelin & Kekäläinen 2002, as
    `ir_measures` has it.
    """
    discounts = 1 / np.log2(np.arange(2, _DEPTH + 2))
    values = np.zeros(len(lists))
    for start in range(0, len(lists), _ROWS):
        some = lists[start : start + _ROWS]
        batch = _batch(some, corpus)
        with torch.inference_mode():
            queries = batch.queries if transform is None else transform(batch.queries)
            own = torch.einsum("qd,qnd->qn", queries, batch.labelled).masked_fill(~batch.mask, -torch.inf)
            scores = queries @ corpus.pool.T
            scores[batch.known_row, batch.known_column] = -torch.inf
            others = scores.topk(min(_DEPTH, scores.shape[1]), dim=1).values
            best = torch.cat([own, others], dim=1).topk(min(_DEPTH, own.shape[1] + others.shape[1]), dim=1).indices
            gains = torch.cat([batch.grades, torch.zeros_like(others)], dim=1).gather(1, best).numpy()
        ideal = -np.sort(-batch.grades.numpy(), axis=1)[:, :_DEPTH]
        reached = gains @ discounts[: gains.shape[1]]
        values[start : start + _ROWS] = reached / (ideal @ discounts[: ideal.shape[1]])
    return values
