"""nDCG@10 by query of the arms of `bench.retrain` and `bench.recipe`, kept on disk so that a long run can go on.

What an arm gave is kept in the temporary folder under the hash of the source (`kept_runs`), the arm and the set: a
change of the source measures anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Any

from bench.kept_runs import kept
from bench.retraining_arms import Recipe, Run, Trained, bm25, fused, library_default, ours, zero_shot
from bench.retraining_sets import RetrainingSet
from retriever.evaluation import evaluate

MEASURE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class Arm:
    """What one way of ranking gave: query id → nDCG@10, the mean over its seeds; each seed's mean; and what it cost.

    encoder_alone: what the trained encoder gave without the adapter trained on top of it.
    """

    by_query: Mapping[str, float]
    by_seed: tuple[float, ...]
    encoded: float = 0.0
    seconds: float = 0.0
    notes: tuple[Mapping[str, float], ...] = ()
    encoder_alone: Arm | None = None

    @property
    def mean(self) -> float:
        """nDCG@10, the mean over queries and seeds."""
        return fmean(self.by_query.values())


@dataclass(frozen=True, slots=True)
class Limits:
    """max_texts: most texts that an encoder reads while its weights are trained."""

    max_texts: int = 2_000


@dataclass(frozen=True, slots=True)
class LibraryRecipe:
    """How sentence-transformers' own way is run: its documentation's learning rate and one pass, unless said."""

    learning_rate: float = 2e-5
    epochs: int = 1


def measure_zero_shot(chosen: RetrainingSet) -> Arm:
    """The shipped model as it is."""
    return _plain(chosen, zero_shot(chosen))


def measure_untrained(chosen: RetrainingSet) -> dict[str, Arm]:
    """Zero-shot, BM25 and their reciprocal rank fusion."""
    runs: dict[str, Run] = {"zero-shot": zero_shot(chosen), "BM25": bm25(chosen)}
    runs["RRF"] = fused(runs)
    return {name: _plain(chosen, run) for name, run in runs.items()}


def measure_ours(chosen: RetrainingSet, recipe: Recipe, *, seeds: Collection[int], limits: Limits) -> Arm:
    """The product's training with that recipe."""
    return _trained(
        chosen,
        f"ours {asdict(recipe)} {limits}",
        lambda seed: ours(chosen, recipe, seed=seed, max_texts=limits.max_texts),
        seeds=seeds,
    )


def measure_library(chosen: RetrainingSet, recipe: LibraryRecipe, *, seeds: Collection[int], limits: Limits) -> Arm:
    """sentence-transformers' default with its own mining."""
    return _trained(
        chosen,
        f"library {recipe} {limits}",
        lambda seed: library_default(
            chosen,
            seed=seed,
            max_texts=limits.max_texts,
            learning_rate=recipe.learning_rate,
            epochs=recipe.epochs,
        ),
        seeds=seeds,
    )


def slice_of(arm: Arm, inside: Collection[str]) -> list[str]:
    """The measured queries that are inside, in order."""
    return [query for query in arm.by_query if query in inside]


def _plain(chosen: RetrainingSet, run: Run) -> Arm:
    scores = _scores(chosen, run)
    return Arm(by_query=scores, by_seed=(fmean(scores.values()),))


def _scores(chosen: RetrainingSet, run: Run) -> dict[str, float]:
    measured = evaluate(run, chosen.judged, relevant_from=chosen.relevant_from, measures=(MEASURE,))
    return {entry.query_id: entry.values[MEASURE] for entry in measured.per_query}


def _trained(chosen: RetrainingSet, arm: str, train: Callable[[int], Trained], *, seeds: Collection[int]) -> Arm:
    return _mean_of([_kept(chosen, f"{arm} seed {seed}", partial(train, seed)) for seed in seeds])


def _mean_of(found: Sequence[Arm]) -> Arm:
    """The mean over runs of one seed each."""
    alone = [one.encoder_alone for one in found if one.encoder_alone is not None]
    return Arm(
        by_query={query: fmean(one.by_query[query] for one in found) for query in found[0].by_query},
        by_seed=tuple(one.by_seed[0] for one in found),
        encoded=fmean(one.encoded for one in found),
        seconds=fmean(one.seconds for one in found),
        notes=tuple(notes for one in found for notes in one.notes),
        encoder_alone=_mean_of(alone) if alone else None,
    )


def _kept(chosen: RetrainingSet, arm: str, train: Callable[[], Trained]) -> Arm:
    def measured() -> dict[str, Any]:
        trained = train()
        return {
            "scores": _scores(chosen, trained.run),
            "encoded": trained.encoded,
            "seconds": trained.seconds,
            "notes": trained.notes,
            "encoder alone": None if trained.encoder_alone is None else _scores(chosen, trained.encoder_alone),
        }

    stored = kept([chosen.name, _hash_of(chosen), arm], measured)
    alone = stored["encoder alone"]
    return Arm(
        by_query=stored["scores"],
        by_seed=(fmean(stored["scores"].values()),),
        encoded=stored["encoded"],
        seconds=stored["seconds"],
        notes=(stored["notes"],),
        encoder_alone=None if alone is None else Arm(by_query=alone, by_seed=(fmean(alone.values()),)),
    )


def _hash_of(chosen: RetrainingSet) -> str:
    labels: Sequence[object] = [
        (graded.query_id, [(p.passage_id, p.grade) for p in graded.passages]) for graded in chosen.lists
    ]
    judged = {query: dict(grades) for query, grades in chosen.judged.items()}
    return hashlib.sha256(json.dumps([labels, judged, chosen.searched]).encode()).hexdigest()
