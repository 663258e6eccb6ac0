"""How far probabilities can be believed: ECE, Brier, AUROC and the reliability diagram. Nothing is fitted here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from annotator.errors import CalibrationImpossible, InputRefused
from annotator.intervals import RESAMPLES, Interval, Statistic, Weights, bootstrap_by_query
from annotator.shrunk_logistic import Floats

__all__ = [
    "CalibrationReport",
    "Interval",
    "ReliabilityBin",
    "auroc",
    "brier",
    "ece_of_a_perfect_model",
    "expected_calibration_error",
    "measure",
    "reliability_bins",
]

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Suggestions whose p(relevant) lies in [low, high): what was promised on average, and what people said."""

    low: float
    high: float
    mean_p: float
    share_relevant: float
    n: int


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How far one judge's probabilities can be believed, on `n` reviews of `n_queries` queries.

    ece: of p(relevant), lower is better. ece_if_perfect: mean ECE that the same probabilities would show if each were
    exactly right; less than it cannot be expected of so few reviews. brier: lower is better. auroc_correct: whether a
    surer suggestion is more often right; None when all or none are right. auroc_relevant: whether p ranks relevant
    pairs first; None when people gave one answer only.
    """

    n: int
    n_queries: int
    n_relevant: int
    n_correct: int
    ece: Interval
    ece_if_perfect: float
    brier: Interval
    auroc_correct: Interval | None
    auroc_relevant: Interval | None
    bins: tuple[ReliabilityBin, ...]


def measure(
    p: ArrayLike,
    relevant: Sequence[bool],
    correct: Sequence[bool],
    queries: Sequence[Hashable],
    *,
    bins: int = BINS,
    folds: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> CalibrationReport:
    """Every measure of p(relevant) against blind reviews, with 95 % bootstrap intervals by query.

    p: (n,) in [0, 1]. relevant: what people said. correct: whether they were on the side of the proposed grade; its
    confidence is p where the proposed side is relevant, 1 − p where not. folds: which calibrator each p comes from,
    when it is not one for all; AUROC then compares within a fold only.

    Raises:
        CalibrationImpossible: no review.
        InputRefused: lengths differ, or a p that is no probability.
    """
    p, y = _checked(p, relevant)
    right = np.asarray(correct, dtype=np.float64)
    if not len(right) == len(queries) == len(p):
        raise InputRefused(f"{len(p)} probabilities, {len(right)} verdicts, {len(queries)} queries; one of each")
    confidence = np.where(y == right, p, 1.0 - p)

    def by_query(statistic: Statistic) -> Interval | None:
        return bootstrap_by_query(statistic, queries, resamples=resamples, seed=seed)

    def defined(statistic: Callable[[Weights], float]) -> Interval:
        found = by_query(statistic)
        if found is None:
            raise CalibrationImpossible("there is no review to measure with")
        return found

    return CalibrationReport(
        n=len(p),
        n_queries=len(set(queries)),
        n_relevant=int(y.sum()),
        n_correct=int(right.sum()),
        ece=defined(_ece_of(p, y, bins)),
        ece_if_perfect=ece_of_a_perfect_model(p, bins=bins, seed=seed)[0],
        brier=defined(lambda weights: float(np.average((p - y) ** 2, weights=weights))),
        auroc_correct=by_query(_auroc_of(confidence, right, folds)),
        auroc_relevant=by_query(_auroc_of(p, y, folds)),
        bins=reliability_bins(p, y, bins=bins),
    )


def expected_calibration_error(
    p: ArrayLike, y: ArrayLike, bins: int = BINS, *, weights: Weights | None = None
) -> float:
    """Mean distance between promised and found share of relevant, over bins of p of equal width, in [0, 1].

    Formula: Σ_b (n_b / n) |mean p in b − mean y in b|, bins [j/bins, (j+1)/bins), the last one closed.
    Source: Guo et al. 2017, equation 3, here for p(relevant) instead of the top class, as in DIRAS.

    Raises:
        CalibrationImpossible: no review.
        InputRefused: lengths differ, or a p that is no probability.
    """
    p, y = _checked(p, y)
    return _ece_of(p, y, bins)(np.ones(len(p)) if weights is None else weights)


def _ece_of(p: Floats, y: Floats, bins: int) -> Callable[[Weights], float]:
    """ECE as a function of the weights, binned once for all of them."""
    place, gap = _bin_of(p, bins), p - y

    def statistic(weights: Weights) -> float:
        return float(np.abs(np.bincount(place, weights=weights * gap, minlength=bins)).sum() / weights.sum())

    return statistic


def brier(p: ArrayLike, y: ArrayLike, *, weights: Weights | None = None) -> float:
    """Mean squared distance between probability and answer, in [0, 1]; lower is better.

    Raises:
        CalibrationImpossible: no review.
        InputRefused: lengths differ, or a p that is no probability.
    """
    p, y = _checked(p, y)
    return float(np.average((p - y) ** 2, weights=weights))


def auroc(
    score: ArrayLike, positive: ArrayLike, *, weights: Weights | None = None, groups: ArrayLike | None = None
) -> float | None:
    """Probability in [0, 1] that a positive scores above a negative, ties counting one half; None without both.

    groups: rows are compared only with rows of their group, (n,). For scores of a cross-fit this is the fold: scores of
    two calibrators do not compare, and pooling them makes AUROC look worse than it is (Parker et al. 2007).

    Formula: the Mann–Whitney statistic Σ_i⁺ Σ_j⁻ w_i w_j ([s_i > s_j] + ½ [s_i = s_j]) / Σ_i⁺ Σ_j⁻ w_i w_j.

    Raises:
        InputRefused: lengths differ.
    """
    return _auroc_of(score, positive, groups)(np.ones(len(np.atleast_1d(score))) if weights is None else weights)


def _auroc_of(score: ArrayLike, positive: ArrayLike, groups: ArrayLike | None) -> Statistic:
    """AUROC as a function of the weights, sorted once for all of them."""
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=np.float64)
    group = np.zeros(len(score)) if groups is None else np.asarray(groups)
    if not len(score) == len(positive) == len(group):
        raise InputRefused(f"{len(score)} scores, {len(positive)} answers and {len(group)} groups; one of each")
    levels, place = np.unique(np.column_stack([group, score]), axis=0, return_inverse=True)
    starts = np.flatnonzero(np.r_[True, levels[1:, 0] != levels[:-1, 0]]) if len(levels) else np.zeros(0, np.int64)
    sizes = np.diff(np.r_[starts, len(levels)])

    def statistic(weights: Weights) -> float | None:
        if not len(levels):
            return None
        above = np.bincount(place, weights=weights * positive, minlength=len(levels))
        below = np.bincount(place, weights=weights * (1.0 - positive), minlength=len(levels))
        sums = np.add.reduceat(below, starts)
        before = np.cumsum(below) - np.repeat(np.cumsum(sums) - sums, sizes)
        compared = float(np.add.reduceat(above, starts) @ sums)
        return float(above @ (before - 0.5 * below)) / compared if compared > 0.0 else None

    return statistic


def reliability_bins(p: ArrayLike, y: ArrayLike, *, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """The bins of the reliability diagram, lowest first; empty ones are left out.

    Raises:
        CalibrationImpossible: no review.
        InputRefused: lengths differ, or a p that is no probability.
    """
    p, y = _checked(p, y)
    place = _bin_of(p, bins)
    return tuple(
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            mean_p=float(p[place == b].mean()),
            share_relevant=float(y[place == b].mean()),
            n=int((place == b).sum()),
        )
        for b in range(bins)
        if (place == b).any()
    )


def ece_of_a_perfect_model(
    p: ArrayLike, *, bins: int = BINS, simulations: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Mean and 95th percentile of the ECE that these probabilities show when answers are drawn from them.

    A perfect model's ECE is not 0 on few reviews; this is the floor to compare with. Our choice of a yardstick.

    Raises:
        CalibrationImpossible: no review.
        InputRefused: a p that is no probability.
    """
    p, _ = _checked(p, np.zeros(np.shape(p)))
    place = _bin_of(p, bins)
    generator = np.random.default_rng(seed)
    found = [
        float(np.abs(np.bincount(place, weights=p - (generator.random(len(p)) < p), minlength=bins)).sum() / len(p))
        for _ in range(simulations)
    ]
    return float(np.mean(found)), float(np.quantile(found, 0.95))


def _bin_of(p: Floats, bins: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.minimum((p * bins).astype(np.int64), bins - 1)


def _checked(p: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if p.shape != y.shape or p.ndim != 1:
        raise InputRefused(f"probabilities of shape {p.shape} and answers of shape {y.shape}; one of each, in a row")
    if not len(p):
        raise CalibrationImpossible("there is no review to measure with")
    if not (np.isfinite(p).all() and float(p.min()) >= 0.0 and float(p.max()) <= 1.0):
        raise InputRefused("a probability lies outside [0, 1] or is NaN")
    return p, y
