"""How far two or more raters agree beyond chance: Cohen's κ, Krippendorff's α, accuracy by class. Higher is better.

An LLM counts as a rater here. Every number comes with a bootstrap interval by query where asked for.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from annotator.errors import InputRefused
from annotator.intervals import RESAMPLES, Interval, Weights, bootstrap_by_query
from annotator.shrunk_logistic import Floats
from annotator.types import Scale

Grades = NDArray[np.int64]


class Weighting(StrEnum):
    """How much a disagreement of Cohen's κ counts by its distance d in grades: 1 from d = 1 on, d, or d²."""

    NONE = "none"
    LINEAR = "linear"
    QUADRATIC = "quadratic"


class Level(StrEnum):
    """How Krippendorff's α reads the grades."""

    NOMINAL = "nominal"
    ORDINAL = "ordinal"
    INTERVAL = "interval"


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """How a rater does on one class, relevant or not.

    precision: of the `n_proposed` pairs it puts in the class, the share that people put there. recall: of the `n_human`
    pairs that people put there, the share it found. None where there is no such pair.
    """

    relevant: bool
    n_proposed: int
    n_human: int
    precision: Interval | None
    recall: Interval | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """One rater against people on `n` pairs. kappa_sides: of relevant or not alone; None where chance explains all."""

    n: int
    accuracy: Interval
    kappa_quadratic: Interval | None
    kappa_sides: Interval | None
    relevant: ClassAccuracy
    irrelevant: ClassAccuracy


def agreement(
    proposed: Sequence[int],
    human: Sequence[int],
    queries: Sequence[Hashable],
    *,
    scale: Scale,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """A rater's grades against people's, with 95 % bootstrap intervals by query; accuracy is of the side alone.

    Raises:
        InputRefused: no pair, lengths differ, or a grade off the scale.
    """
    first, second = _graded(proposed, scale.max_grade), _graded(human, scale.max_grade)
    if not len(first) == len(second) == len(queries) or not len(first):
        raise InputRefused(f"{len(first)} and {len(second)} grades of {len(queries)} pairs; one of each, at least one")
    one, two = first >= scale.relevant_from, second >= scale.relevant_from

    def share(hit: NDArray[np.bool_], of: NDArray[np.bool_]) -> Interval | None:
        def statistic(weights: Weights) -> float | None:
            total = float(weights[of].sum())
            return float(weights[hit & of].sum()) / total if total else None

        return bootstrap_by_query(statistic, queries, resamples=resamples, seed=seed)

    def by_class(relevant: bool) -> ClassAccuracy:
        claimed, true = one == relevant, two == relevant
        return ClassAccuracy(relevant, int(claimed.sum()), int(true.sum()), share(true, claimed), share(claimed, true))

    def kappa(a: Grades, b: Grades, top: int, weighting: Weighting) -> Interval | None:
        return bootstrap_by_query(
            lambda weights: cohen_kappa(a, b, max_grade=top, weighting=weighting, weights=weights),
            queries,
            resamples=resamples,
            seed=seed,
        )

    everywhere = share(one == two, np.ones(len(one), dtype=bool))
    return Agreement(
        n=len(first),
        accuracy=everywhere or Interval(float((one == two).mean()), None, None),
        kappa_quadratic=kappa(first, second, scale.max_grade, Weighting.QUADRATIC),
        kappa_sides=kappa(one.astype(np.int64), two.astype(np.int64), 1, Weighting.NONE),
        relevant=by_class(True),
        irrelevant=by_class(False),
    )


def cohen_kappa(
    first: Sequence[int] | Grades,
    second: Sequence[int] | Grades,
    *,
    max_grade: int,
    weighting: Weighting = Weighting.NONE,
    weights: Weights | None = None,
) -> float | None:
    """Cohen's κ of two raters over the same pairs, at most 1; 0 is chance, None when chance alone explains everything.

    Formula: 1 − Σ v_ij O_ij / Σ v_ij E_ij; O the observed counts, E those of independent raters with the same margins,
    v the disagreement weights. Source: Cohen 1960, and 1968 for weights.

    Raises:
        InputRefused: lengths differ, or a grade off 0..max_grade.
    """
    a, b = _graded(first, max_grade), _graded(second, max_grade)
    if len(a) != len(b):
        raise InputRefused(f"{len(a)} and {len(b)} grades; κ needs one of each rater for every pair")
    size = max_grade + 1
    observed = np.bincount(a * size + b, weights=weights, minlength=size * size).reshape(size, size).astype(np.float64)
    total = float(observed.sum())
    if not total:
        return None
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / total
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64)
    disagreement = {
        Weighting.NONE: (distance > 0).astype(np.float64),
        Weighting.LINEAR: distance,
        Weighting.QUADRATIC: distance**2,
    }[weighting]
    by_chance = float((disagreement * expected).sum())
    return 1.0 - float((disagreement * observed).sum()) / by_chance if by_chance > 0.0 else None


def krippendorff_alpha(
    units: Sequence[Sequence[int | None]], *, max_grade: int, level: Level, weights: Weights | None = None
) -> float | None:
    """Krippendorff's α of any number of raters with gaps, at most 1; 0 is chance, None where all grades are one grade.

    units: the grades that raters gave one pair, None where one gave none. Pairs with fewer than two grades do not
    count. weights: how often each unit counts, (n,) float64.

    Formula: 1 − (n − 1) Σ o_ck δ_ck / Σ n_c n_k δ_ck; o the coincidences Σ_u (pairs c, k in u) / (m_u − 1), δ by level:
    [c ≠ k], (Σ_{g=c..k} n_g − (n_c + n_k) / 2)², (c − k)². Source: Krippendorff 2011.

    Raises:
        InputRefused: a grade off 0..max_grade.
    """
    return _alpha(grade_counts(units, max_grade=max_grade), level, np.ones(len(units)) if weights is None else weights)


def alpha_by_query(
    units: Sequence[Sequence[int | None]],
    queries: Sequence[Hashable],
    *,
    max_grade: int,
    level: Level = Level.ORDINAL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Krippendorff's α with its 95 % bootstrap interval by query; None where α is undefined.

    Raises:
        InputRefused: as `krippendorff_alpha`, or lengths differ.
    """
    if len(units) != len(queries):
        raise InputRefused(f"{len(units)} pairs and {len(queries)} queries; one of each")
    counts = grade_counts(units, max_grade=max_grade)
    return bootstrap_by_query(
        lambda weights: _alpha(counts, level, weights),
        queries,
        resamples=resamples,
        seed=seed,
    )


def grade_counts(units: Sequence[Sequence[int | None]], *, max_grade: int) -> Floats:
    """How many raters gave each grade to each pair, (n, K + 1) float64.

    Raises:
        InputRefused: a grade off 0..max_grade.
    """
    counts = np.zeros((len(units), max_grade + 1))
    for row, unit in zip(counts, units, strict=True):
        for grade in _graded([grade for grade in unit if grade is not None], max_grade):
            row[grade] += 1.0
    return counts


def _alpha(counts: Floats, level: Level, weights: Weights) -> float | None:
    sizes = counts.sum(axis=1)
    used = sizes >= 2
    kept = counts[used]
    shared = kept * (weights[used] / (sizes[used] - 1.0))[:, None]
    coincidences = shared.T @ kept - np.diag(shared.sum(axis=0))
    totals = coincidences.sum(axis=1)
    n = float(totals.sum())
    distance = _distance(totals, level)
    expected = float(totals @ distance @ totals)
    return 1.0 - (n - 1.0) * float((coincidences * distance).sum()) / expected if expected > 0.0 else None


def _distance(totals: Floats, level: Level) -> Floats:
    grades = np.arange(len(totals), dtype=np.float64)
    if level is Level.NOMINAL:
        return 1.0 - np.eye(len(totals))
    if level is Level.INTERVAL:
        return np.asarray(np.subtract.outer(grades, grades) ** 2, dtype=np.float64)
    upto = np.cumsum(totals) - totals / 2
    return np.asarray(np.subtract.outer(upto, upto) ** 2, dtype=np.float64)


def _graded(grades: Sequence[int] | Grades, max_grade: int) -> Grades:
    found = np.asarray(grades, dtype=np.int64)
    if found.size and not 0 <= int(found.min()) <= int(found.max()) <= max_grade:
        raise InputRefused(f"a grade lies off the scale 0..{max_grade}")
    return found
