"""Weighted κ and Krippendorff's α of many grades with their intervals, in a tenth of a second.

The figures themselves are those of `annotator.agreement`; here they are counted into small tables by question, so that
hundreds of resamples of questions are one product of matrices. Who may see them is decided in `agreement_views`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from annotator.agreement import Level, Weighting, cohen_kappa, krippendorff_alpha

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LEAST_PAIRS = 20
LEAST_QUESTIONS = 5
"""Below either, no figure is given: with fewer, its interval would be nearly the whole scale. Our choice."""

RESAMPLES = 500
MOST_QUESTIONS = 2000
"""No more questions are resampled for an interval; of more, so many are drawn, and the interval is wider for it."""


@dataclass(frozen=True, slots=True)
class AgreementFigure:
    """A coefficient on `n` pairs of `n_questions` questions with its 95 % interval (bootstrap by question).

    value: at most 1, 0 is chance; None where there is too little (`too_few`), or where all grades are one grade.
    low and high: None where too many resamples leave the coefficient undefined. same: the share of the pairs with the
    same grade from both; None for α, and where there is too little.
    """

    n: int
    n_questions: int
    too_few: bool
    value: float | None = None
    low: float | None = None
    high: float | None = None
    same: float | None = None


@cache
def resampled_weights(seed: int = 0) -> Floats:
    """How often each question counts in each resample, (RESAMPLES, MOST_QUESTIONS) float64, drawn from Poisson(1).

    Drawn once a process, and not to be written to: the draw takes a fifth of what all figures take.

    Source: the Poisson bootstrap (Hanley and MacGibbon 2006); it weighs each question by itself, so one draw serves
    any number of questions.
    """
    drawn = np.random.default_rng(seed).poisson(1.0, size=(RESAMPLES, MOST_QUESTIONS)).astype(np.float64)
    drawn.flags.writeable = False
    return drawn


def kappa_figure(first: Ints, second: Ints, questions: Ints, *, max_grade: int, weights: Floats) -> AgreementFigure:
    """Cohen's κ with quadratic weights of two raters' grades of the same pairs, (n,) each.

    questions: that of each pair, (n,) whole numbers from 0 on, small enough to count up to.
    """
    n, inverse, found = len(first), *_numbered(questions)
    if too_few(n, found):
        return AgreementFigure(n, found, True)
    value = cohen_kappa(first, second, max_grade=max_grade, weighting=Weighting.QUADRATIC)
    size = max_grade + 1
    cells = (inverse * size + first) * size + second
    tables = np.bincount(cells, minlength=found * size * size).reshape(found, size, size).astype(np.float64)
    low, high = _bounds(value, tables, kappas, weights)
    return AgreementFigure(n, found, False, value, low, high, float((first == second).mean()))


def alpha_figure(counts: Floats, questions: Ints, *, weights: Floats) -> AgreementFigure:
    """Krippendorff's α for ordered grades of any number of raters.

    counts: how many raters gave each grade to each pair, (n, K + 1) float64; pairs with fewer than two do not count.
    questions: as of `kappa_figure`.
    """
    sizes = counts.sum(axis=1)
    used = sizes >= 2
    kept, n = counts[used], int(used.sum())
    inverse, found = _numbered(questions[used])
    if too_few(n, found):
        return AgreementFigure(n, found, True)
    size = counts.shape[1]
    codes = kept.astype(np.int64) @ (int(kept.max()) + 1) ** np.arange(size)  # pairs of the same grades, told alike
    _, kinds, often = np.unique(codes, return_index=True, return_counts=True)
    units = [np.repeat(np.arange(size), kept[kind].astype(np.int64)).tolist() for kind in kinds]
    value = krippendorff_alpha(units, max_grade=size - 1, level=Level.ORDINAL, weights=often.astype(np.float64))
    together = np.einsum("ni,nj->nij", kept, kept) - kept[:, :, None] * np.eye(size)
    together /= (sizes[used] - 1.0)[:, None, None]
    cells = [np.bincount(inverse, weights=one, minlength=found) for one in together.reshape(n, size * size).T]
    tables = np.stack(cells, axis=1).reshape(found, size, size).astype(np.float64)
    low, high = _bounds(value, tables, alphas, weights)
    return AgreementFigure(n, found, False, value, low, high)


def too_few(n: int, n_questions: int) -> bool:
    """Whether so many pairs of so many questions say too little for any figure."""
    return n < LEAST_PAIRS or n_questions < LEAST_QUESTIONS


def kappas(tables: Floats) -> Floats:
    """Quadratically weighted κ of each table of counts, (r, K + 1, K + 1) -> (r,); NaN where chance explains all.

    Formula: as `annotator.agreement.cohen_kappa`, of many tables at once.
    """
    grades = np.arange(tables.shape[1], dtype=np.float64)
    distance = np.subtract.outer(grades, grades) ** 2
    total = tables.sum(axis=(1, 2))
    observed = (tables * distance).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        by_chance = np.einsum("ri,ij,rj->r", tables.sum(axis=2), distance, tables.sum(axis=1)) / total
        found = 1.0 - observed / by_chance
    return np.where((total > 0.0) & (by_chance > 0.0), found, np.nan)


def alphas(tables: Floats) -> Floats:
    """Krippendorff's ordinal α of each table of coincidences, (r, K + 1, K + 1) -> (r,); NaN where it is undefined.

    Formula: as `annotator.agreement.krippendorff_alpha`, of many tables at once.
    """
    totals = tables.sum(axis=2)
    upto = np.cumsum(totals, axis=1) - totals / 2
    distance = (upto[:, :, None] - upto[:, None, :]) ** 2
    expected = np.einsum("ri,rij,rj->r", totals, distance, totals)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 1.0 - (totals.sum(axis=1) - 1.0) * (tables * distance).sum(axis=(1, 2)) / expected
    return np.where(expected > 0.0, found, np.nan)


def _numbered(questions: Ints) -> tuple[Ints, int]:
    """The questions numbered without gaps, and how many there are; without sorting them."""
    there = np.bincount(questions) > 0
    return (np.cumsum(there) - 1)[questions], int(there.sum())


def _bounds(
    value: float | None, tables: Floats, statistic: Callable[[Floats], Floats], weights: Floats
) -> tuple[float | None, float | None]:
    """The 95 % percentile interval, widened to hold the value, from tables by question, (c, K + 1, K + 1)."""
    if value is None:
        return None, None
    if len(tables) > weights.shape[1]:
        tables = tables[np.random.default_rng(0).permutation(len(tables))[: weights.shape[1]]]
    size = tables.shape[1]
    drawn = (weights[:, : len(tables)] @ tables.reshape(len(tables), size * size)).reshape(-1, size, size)
    found = statistic(drawn)
    found = found[~np.isnan(found)]
    if 2 * len(found) < len(weights):
        return None, None
    low, high = np.quantile(found, [0.025, 0.975])
    return min(value, float(low)), max(value, float(high))
