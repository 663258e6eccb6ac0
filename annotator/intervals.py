"""How sure a measured number is: bootstrap intervals that resample whole queries, since pairs of a query are alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Weights: TypeAlias = NDArray[np.float64]
Statistic: TypeAlias = Callable[[Weights], "float | None"]

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value between its bounds; None bounds: too few queries, or too few resamples that define it."""

    value: float
    low: float | None
    high: float | None


def bootstrap_by_query(
    statistic: Statistic,
    queries: Sequence[Hashable],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval | None:
    """The statistic of all rows with its bootstrap interval; None when the statistic is undefined on all rows.

    statistic: from weights, (n,) float64, how often each row counts, to a number or None. Queries are drawn with
    replacement, each with all its rows. The interval is the percentile one, widened to hold the value itself: a
    statistic such as ECE leans upward when resampled. Resamples where the statistic is undefined are left out; no
    bounds when these are more than half, or when there are fewer than 2 queries.

    Source: the cluster bootstrap is textbook; widening is our choice.
    """
    number: dict[Hashable, int] = {}
    row_query = np.array([number.setdefault(query, len(number)) for query in queries], dtype=np.int64)
    value = statistic(np.ones(len(queries)))
    if value is None:
        return None
    if len(number) < 2:
        return Interval(value, None, None)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(number), np.full(len(number), 1 / len(number)), size=resamples)
    found = [one for counts in drawn if (one := statistic(counts[row_query].astype(np.float64))) is not None]
    if 2 * len(found) < resamples:
        return Interval(value, None, None)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, min(value, float(low)), max(value, float(high)))
