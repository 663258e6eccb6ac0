"""Exact tails for samples drawn without replacement from a finite batch. Nothing here knows of classes or thresholds.

Everything counts: `population` pairs of which `wrong` are wrong, `drawn` of them audited, `found` wrong ones among the
audited. What is promised concerns the pairs that nobody audited, since an audited pair gets the person's label:
the *remaining error* is (wrong − found) / (population − drawn).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROUNDING = 1.0 + 1e-7
"""Tails are raised by this factor: log-gamma is good to about 1e-8 for a million pairs, and we err upward."""

_TIE = 1e-9


def lower_tail(found: ArrayLike, *, population: ArrayLike, wrong: ArrayLike, drawn: ArrayLike) -> Floats:
    """P(X ≤ found), X hypergeometric, in [0, 1]; arguments broadcast, result of their common shape, never too small.

    Formula: Σ_{i ≤ found} C(wrong, i) C(population − wrong, drawn − i) / C(population, drawn). More wrong pairs than
    the population has count as impossible: the tail is 0.
    """
    arrays = np.broadcast_arrays(found, population, wrong, drawn)
    k, big, bad, n = (np.asarray(array, dtype=np.int64) for array in arrays)
    if k.size == 0:
        return np.zeros(k.shape)
    most = int(max(0, np.minimum(k, np.minimum(n, bad)).max()))
    i = np.arange(most + 1)
    wide = [array[..., None] for array in (k, big, bad, n)]
    terms = np.exp(_log_pmf(i, wide[1], wide[2], wide[3]))
    tail = np.where(i <= wide[0], terms, 0.0).sum(axis=-1)
    certain = (k >= np.minimum(n, bad)) & (bad <= big)
    return np.asarray(np.where(certain, 1.0, np.minimum(1.0, tail * ROUNDING)), dtype=np.float64)


def allowed_wrong(unaudited: ArrayLike, epsilon: float) -> Ints:
    """The largest number of wrong pairs that keeps the share ε among so many: ⌊ε · unaudited⌋."""
    return np.asarray(np.floor(epsilon * np.asarray(unaudited, dtype=np.float64) + _TIE), dtype=np.int64)


def p_of_remaining_error(found: int, *, population: int, drawn: int, epsilon: float) -> float:
    """The exact p-value, in [0, 1], against "the remaining error is above ε".

    Formula: p = P(X ≤ found) for a population with ⌊εR⌋ + 1 + found wrong pairs, R = population − drawn.

    Why P(p ≤ α and remaining error > ε) ≤ α whatever the number W of wrong pairs. One more wrong pair in the
    population adds at most one to those found, so p grows with `found`, and {p ≤ α} = {found ≤ c} for some c. The
    remaining error is above ε exactly if found ≤ W − ⌊εR⌋ − 1 =: i. If i ≤ c the chance is that of found ≤ i, which is
    p(i) ≤ p(c) ≤ α; if i > c it is that of found ≤ c, which is at most p(c) as W > ⌊εR⌋ + 1 + c. Our choice; the
    prediction form of the hypergeometric test.
    """
    unaudited = population - drawn
    if unaudited <= 0:
        return 0.0
    wrong = int(allowed_wrong(unaudited, epsilon)) + 1 + found
    return float(lower_tail(found, population=population, wrong=wrong, drawn=drawn))


def upper_remaining_error(found: int, *, population: int, drawn: int, level: float) -> float:
    """The smallest rate in [0, 1] that the remaining error exceeds with probability at most `level`; 0 if none remains.

    Inverts `p_of_remaining_error` over whole numbers of wrong pairs.
    """
    unaudited = population - drawn
    if unaudited <= 0:
        return 0.0
    low, high = 0, unaudited
    while low < high:
        left = (low + high) // 2
        tail = lower_tail(found, population=population, wrong=left + 1 + found, drawn=drawn)
        low, high = (low, left) if float(tail) <= level else (left + 1, high)
    return low / unaudited


def fixed_null(*, population: int, frame: int, drawn: int, epsilon: float, level: float) -> int:
    """The largest κ with: fewer than κ wrong pairs leave a remaining error above ε with probability at most `level`.

    population: pairs that a threshold would accept, part of a `frame` from which `drawn` are audited; how many of them
    fall into the population is random too. κ − 1 wrong pairs are the worst of all smaller numbers: turning a wrong pair
    into a right one lowers wrong − found by 0 or 1 and never raises it.

    Formula: P(found − ε·inside < κ − 1 − ε·population) ≤ level, inside ~ Hypergeometric(frame, population, drawn),
    found given inside ~ Hypergeometric(population, κ − 1, inside).
    """
    inside = np.arange(max(0, drawn - (frame - population)), min(drawn, population) + 1)
    chance = np.exp(_log_pmf(inside, frame, population, drawn))
    kept = chance > level * 1e-4 / len(inside)
    ignored = max(0.0, 1.0 - float(chance[kept].sum()))
    inside, chance = inside[kept], chance[kept]
    allowed = allowed_wrong(population - inside, epsilon)
    low, high = int(allowed.min()), min(population, int(allowed.max()) + int(inside.max()))
    while low < high:
        wrong = (low + high + 1) // 2
        risk = ignored + float((chance * _few_found(wrong, allowed, population=population, drawn=inside)).sum())
        low, high = (wrong, high) if risk <= level else (low, wrong - 1)
    return low + 1


def foreseen_nulls(*, populations: Ints, inside: Ints, epsilon: float, level: float) -> Ints:
    """`fixed_null` of m populations as if the audits inside each were known: (m,) int64. Quick, for planning only."""
    allowed = allowed_wrong(populations - inside, epsilon)
    low, high = allowed.copy(), np.minimum(populations, allowed + inside)
    while bool(np.any(low < high)):
        wrong = (low + high + 1) // 2
        fits = _few_found(wrong, allowed, population=populations, drawn=inside) <= level
        low, high = np.where(fits, wrong, low), np.where(fits, high, np.maximum(low, wrong - 1))
    return np.asarray(low + 1, dtype=np.int64)


def _few_found(wrong: Ints | int, allowed: Ints, *, population: Ints | int, drawn: Ints) -> Floats:
    """P(wrong − found > allowed)."""
    most = np.asarray(wrong) - allowed - 1
    tail = lower_tail(np.maximum(most, 0), population=population, wrong=wrong, drawn=drawn)
    return np.where(most >= 0, tail, 0.0)


def lower_tail_table(most: int, *, population: Ints, wrong: Ints, drawn: Ints) -> Floats:
    """`lower_tail` of every count 0..most for each of m populations: (m, most + 1) float64."""
    i = np.arange(most + 1)
    terms = np.exp(_log_pmf(i, population[:, None], wrong[:, None], drawn[:, None]))
    tail = np.minimum(1.0, np.cumsum(terms, axis=1) * ROUNDING)
    return np.where(i >= np.minimum(drawn, wrong)[:, None], 1.0, tail)


def _log_pmf(i: Ints, population: Ints | int, wrong: Ints | int, drawn: Ints | int) -> Floats:
    """Log of the hypergeometric probability of i; −inf where impossible."""
    total = _log_choose(wrong, i) + _log_choose(population - wrong, drawn - i) - _log_choose(population, drawn)
    return np.asarray(total, dtype=np.float64)


def _log_choose(n: Ints | int, k: Ints | int) -> Floats:
    possible = (k >= 0) & (k <= n)
    top, part = np.maximum(n, 0), np.clip(k, 0, np.maximum(n, 0))
    value = gammaln(top + 1.0) - gammaln(part + 1.0) - gammaln(top - part + 1.0)
    return np.where(possible, value, -math.inf)
