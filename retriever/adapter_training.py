"""Trains a query adapter on cached vectors, in seconds: what is learned, how long, and how much of it is kept.

The steps themselves are in `adapter_fit`, the lists as rows in `adapter_lists`, the forms in `adapter`.
"""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from retriever.adapter import Kernel, LowRank, Mlp, QueryAdapter, Transform
from retriever.adapter_choice import Live, Plan, choose_plan
from retriever.adapter_fit import Corpus, batch_size, open_corpus, train_epochs
from retriever.adapter_lists import Aside, PreparedStage, PreparedStages, VectorList, prepare_stages, put_aside, without
from retriever.errors import EmptyTrainingSet, TrainingCancelled, TrainingDiverged
from retriever.losses import make_loss
from retriever.training_lists import IRRELEVANT_BELOW
from retriever.types import AdapterSettings, StageReport, TrainingProgress, TrainingReport, TrainingStage

SEEN_SHARE = 0.2
"""Part of the lists put aside whose relevant passages other lists train on; our choice."""

RANKS = {"low_rank": 32, "mlp": 32, "kernel": 4096}
"""Rank, width or most keys of each kind where the settings name none; our choice."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The adapter that is live on the same encoder, for a new one to be measured against.

    trained_on: ids of the passages that are relevant in any label set behind it.
    """

    adapter: QueryAdapter
    trained_on: Collection[str]


def train_adapter(
    *,
    stages: Sequence[TrainingStage],
    query_vectors: Mapping[str, NDArray[np.float32]],
    passage_ids: Sequence[str],
    passage_vectors: NDArray[np.float32],
    settings: AdapterSettings,
    output: Path,
    baseline: Baseline | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingReport:
    """Learns a change of the query vector from the stages in order and writes it to output, whole or not at all.

    query_vectors: query id -> (dim,) float32, L2-normalised, of every query in the lists. passage_vectors: (n, dim)
    float32, L2-normalised, in the order of passage_ids; may be a memmap, of which the labelled passages and
    settings.corpus_negatives others are read. on_progress is called after each epoch, should_cancel before each step.

    With settings.unseen_share above 0 the adapter is trained twice. First without a slice of lists put aside with their
    relevant passages (unseen) and another whose relevant passages others train on (seen): the epochs of each stage and
    the part of the change that is kept are chosen by the two (`adapter_choice`). Then once more on all lists with that
    choice. When nothing is better the adapter changes nothing and the report's keep is 0. baseline: what it must not
    fall below where that was not trained on the passages in question; it is never trained on, nor written again. The
    same input gives the same adapter on the same machine.
    A stage's report counts the steps of the second training, 0 where no pass over the stage was better than none; the
    report's own steps are those of both trainings.
    Raises: EmptyTrainingSet, TrainingCancelled, TrainingDiverged; ValueError for vectors or lists that contradict each
    other or the settings; FileExistsError when output holds something.
    """
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty: train into a new folder")
    started = clock()
    queries = _stack(query_vectors, dim=_dim(passage_ids, passage_vectors))
    passage_rows = {passage_id: row for row, passage_id in enumerate(passage_ids)}
    prepared = prepare_stages(
        stages,
        query_rows={query_id: row for row, query_id in enumerate(query_vectors)},
        passage_rows=passage_rows,
        settings=settings,
    )
    if not prepared.relevant:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(prepared.skipped.items())) or "no lists"
        raise EmptyTrainingSet(
            f"no list can be trained on ({reasons}): label more pairs",
            user_message=f"There is nothing to train on yet ({reasons}).",
        )
    with _one_thread():
        return _train_prepared(
            stages,
            prepared,
            queries,
            passage_vectors,
            live=None if baseline is None else _live(baseline, queries, passage_rows),
            settings=settings,
            output=output,
            watch=_Watch(prepared, settings, on_progress, should_cancel, clock, started=started),
        )


def _train_prepared(
    stages: Sequence[TrainingStage],
    prepared: PreparedStages,
    queries: NDArray[np.float32],
    passage_vectors: NDArray[np.float32],
    *,
    live: Live | None,
    settings: AdapterSettings,
    output: Path,
    watch: "_Watch",
) -> TrainingReport:
    everything = [entry for stage in prepared.stages for entry in stage.lists]
    corpus = open_corpus(queries, passage_vectors, everything, negatives=settings.corpus_negatives, seed=settings.seed)
    plan = Plan(epochs=tuple(stage.epochs for stage in prepared.stages), strength=1.0, figures={})
    if settings.unseen_share > 0:
        watch.runs = 2
        plan = _choose(stages, prepared, corpus, settings, watch, live=live)
    transform = _fresh(everything, corpus, settings)
    reports = []
    for stage, epochs in zip(prepared.stages, plan.epochs, strict=True):
        before = watch.steps
        losses = list(_train(transform, stage, stage.lists, corpus, epochs=epochs, settings=settings, watch=watch))
        reports.append(_stage_report(stage, settings, steps=watch.steps - before, losses=losses))
    transform.scale(plan.strength)
    _check_weights(transform)
    watch.poll()
    QueryAdapter(transform).save(output)
    return _report(reports, prepared, plan, watch=watch)


@dataclass(slots=True)
class _Watch:
    """Counts steps and epochs, tells the caller, and stops when asked."""

    prepared: PreparedStages
    settings: AdapterSettings
    on_progress: Callable[[TrainingProgress], None] | None
    should_cancel: Callable[[], bool] | None
    clock: Callable[[], float]
    started: float = 0.0
    runs: int = 1
    steps: int = 0
    epochs: int = 0
    losses: list[float] = field(default_factory=list)

    def poll(self) -> None:
        """Called before each step. Raises: TrainingCancelled."""
        if self.should_cancel is not None and self.should_cancel():
            raise TrainingCancelled(
                f"training of the query adapter stopped on request after step {self.steps}",
                user_message="Training was cancelled. Nothing was saved.",
            )

    def step(self) -> None:
        """Called before each step, counts it. Raises: TrainingCancelled."""
        self.poll()
        self.steps += 1

    def epoch_done(self, loss: float) -> None:
        """Called after each epoch."""
        self.epochs += 1
        self.losses.append(loss)
        if self.on_progress is not None:
            planned = sum(
                stage.epochs * math.ceil(len(stage.lists) / batch_size(len(stage.lists), self.settings))
                for stage in self.prepared.stages
            )
            self.on_progress(
                TrainingProgress(
                    step=self.steps,
                    total_steps=max(self.runs * planned, self.steps),
                    loss=loss,
                    epoch=float(self.epochs),
                    seconds=self.clock() - self.started,
                )
            )


def _choose(
    stages: Sequence[TrainingStage],
    prepared: PreparedStages,
    corpus: Corpus,
    settings: AdapterSettings,
    watch: _Watch,
    *,
    live: Live | None,
) -> Plan:
    aside = put_aside(stages, prepared, seen_share=SEEN_SHARE, settings=settings)
    left = [without(stage.lists, aside, relevant_from=settings.relevant_from) for stage in prepared.stages]
    trained = [entry for lists in left for entry in lists]
    transform = _fresh(trained, corpus, settings)
    runs = [
        partial(_train, transform, stage, lists, corpus, epochs=stage.epochs, settings=settings, watch=watch)
        for stage, lists in zip(prepared.stages, left, strict=True)
    ]
    return choose_plan(
        transform,
        runs,
        aside,
        corpus,
        trained=_judged_of(trained, prepared, aside, settings),
        relevant_from=settings.relevant_from,
        tolerance=settings.unseen_tolerance,
        live=live,
    )


def _judged_of(
    trained: Sequence[VectorList], prepared: PreparedStages, aside: Aside, settings: AdapterSettings
) -> list[VectorList]:
    """The queries trained on, each once, with what all stages say of them and not put aside."""
    query_ids = dict.fromkeys(entry.query_id for entry in trained if entry.query_id in prepared.judged)
    return without([prepared.judged[query_id] for query_id in query_ids], aside, relevant_from=settings.relevant_from)


def _live(baseline: Baseline, queries: NDArray[np.float32], passage_rows: Mapping[str, int]) -> Live:
    rows = (passage_rows[passage_id] for passage_id in baseline.trained_on if passage_id in passage_rows)
    return Live(queries=baseline.adapter.apply(queries), trained_on=frozenset(rows))


def _train(
    transform: Transform,
    stage: PreparedStage,
    lists: Sequence[VectorList],
    corpus: Corpus,
    *,
    epochs: int,
    settings: AdapterSettings,
    watch: _Watch,
) -> Iterator[float]:
    if not lists:
        return
    generator = torch.Generator().manual_seed(settings.seed)
    for value in train_epochs(
        transform,
        lists,
        corpus,
        loss=make_loss(
            stage.loss,
            temperature=settings.temperature,
            relevant_from=settings.relevant_from,
            max_grade=settings.max_grade,
            generator=generator,
        ),
        learning_rate=stage.learning_rate,
        epochs=epochs,
        settings=settings,
        generator=generator,
        poll=watch.step,
    ):
        watch.epoch_done(value)
        yield value


def _fresh(lists: Sequence[VectorList], corpus: Corpus, settings: AdapterSettings) -> Transform:
    """The identity, in the form the settings name; the keys of a kernel are the queries of the lists."""
    rank = settings.rank or RANKS[settings.kind]
    dim = corpus.queries.shape[1]
    generator = torch.Generator().manual_seed(settings.seed)
    if settings.kind == "low_rank":
        return LowRank.fresh(dim=dim, rank=rank, generator=generator)
    if settings.kind == "mlp":
        return Mlp.fresh(dim=dim, rank=rank, generator=generator)
    vectors = np.ascontiguousarray(corpus.queries[sorted({entry.row for entry in lists})], dtype=np.float32)
    return Kernel.fresh(torch.tensor(_centres(vectors, rank, settings.seed)), power=settings.kernel_power)


def _centres(vectors: NDArray[np.float32], most: int, seed: int) -> NDArray[np.float32]:
    """The vectors, or `most` centres of them by spherical k-means, L2-normalised."""
    if len(vectors) <= most:
        return vectors
    means = faiss.Kmeans(vectors.shape[1], most, niter=10, spherical=True, seed=seed, min_points_per_centroid=1)
    means.train(vectors)
    return np.asarray(means.centroids, dtype=np.float32)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The steps are so small that threads wait for each other longer than they work: on a busy machine ten times so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _dim(passage_ids: Sequence[str], passage_vectors: NDArray[np.float32]) -> int:
    if passage_vectors.ndim != 2 or len(passage_ids) != len(passage_vectors):
        raise ValueError(f"{len(passage_ids)} passage ids but vectors of shape {passage_vectors.shape}")
    return int(passage_vectors.shape[1])


def _stack(query_vectors: Mapping[str, NDArray[np.float32]], *, dim: int) -> NDArray[np.float32]:
    stacked = np.empty((len(query_vectors), dim), dtype=np.float32)
    for row, (query_id, vector) in enumerate(query_vectors.items()):
        if vector.shape != (dim,):
            raise ValueError(f"the vector of query {query_id!r} has shape {vector.shape}, expected ({dim},)")
        stacked[row] = vector
    if not np.isfinite(stacked).all():
        raise ValueError("a query vector holds NaN or infinite numbers")
    return stacked


def _check_weights(transform: Transform) -> None:
    for name, tensor in transform.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingDiverged(
                f"{name} of the query adapter holds NaN or infinite numbers: lower the learning rate",
                user_message="Training ended with broken weights. Nothing was saved.",
            )


def _stage_report(
    stage: PreparedStage, settings: AdapterSettings, *, steps: int, losses: Sequence[float]
) -> StageReport:
    grades = [grade for entry in stage.lists for grade in entry.grades.tolist()]
    return StageReport(
        name=stage.name,
        loss=stage.loss,
        steps=steps,
        final_loss=losses[-1] if losses else 0.0,
        n_queries=len(stage.lists),
        n_passages=len(grades),
        n_positives=sum(grade >= settings.relevant_from for grade in grades),
        n_hard_negatives=sum(grade < IRRELEVANT_BELOW for grade in grades),
        skipped_lists=stage.skipped,
        cut_passages=stage.cut_passages,
    )


def _report(reports: Sequence[StageReport], prepared: PreparedStages, plan: Plan, *, watch: _Watch) -> TrainingReport:
    return TrainingReport(
        steps=watch.steps,
        seconds=watch.clock() - watch.started,
        final_loss=watch.losses[-1] if watch.losses else 0.0,
        n_queries=len(prepared.relevant),
        n_passages=sum(report.n_passages for report in reports),
        n_positives=sum(report.n_positives for report in reports),
        n_hard_negatives=sum(report.n_hard_negatives for report in reports),
        skipped_lists=prepared.skipped,
        cut_passages=prepared.cut_passages,
        stages=tuple(report.name for report in reports if report.steps),
        by_stage=tuple(reports),
        unseen=plan.figures,
        keep=plan.strength,
    )
