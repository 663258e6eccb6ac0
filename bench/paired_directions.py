"""Means and intervals of figures measured in two directions, each on its own queries. What was measured is not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from annotator.intervals import Interval

RESAMPLES = 2000

ByQuery = Mapping[str, Mapping[str, float]]
"""Direction → query id → value."""


def mean_of_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Query id → mean over runs of the same queries.

    Raises:
        ValueError: no runs, or runs of other queries.
    """
    if not runs or any(run.keys() != runs[0].keys() for run in runs):
        raise ValueError("runs of the same queries are needed, one or more")
    return {query: sum(run[query] for run in runs) / len(runs) for query in runs[0]}


def mean(values: ByQuery) -> float:
    """The mean of the directions' means: a year with more queries does not count more."""
    return float(np.mean([np.mean(list(by_query.values())) for by_query in values.values()]))


def interval(
    values: ByQuery, baseline: ByQuery | None = None, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Interval:
    """`mean` of the values, or of their differences to a baseline paired by query, with its bootstrap interval.

    Queries are drawn with replacement inside each direction; seeds were averaged before, so what is resampled is what
    a new set of queries would change. Source: textbook percentile interval, stratified.

    Raises:
        ValueError: the baseline has other directions or queries.
    """
    if baseline is not None and (
        values.keys() != baseline.keys() or any(values[name].keys() != baseline[name].keys() for name in values)
    ):
        raise ValueError("values and baseline must be of the same directions and queries")
    rows: list[NDArray[np.float64]] = [
        np.array([value - (0.0 if baseline is None else baseline[name][query]) for query, value in by_query.items()])
        for name, by_query in values.items()
    ]
    draw = np.random.default_rng(seed)
    means = np.mean([row[draw.integers(len(row), size=(resamples, len(row)))].mean(axis=1) for row in rows], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean([row.mean() for row in rows])), float(low), float(high))
