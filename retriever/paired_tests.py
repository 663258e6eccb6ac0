"""Statistics of paired differences, one a query: intervals, bounds and p-values. What they decide is in `gate`."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_EXACT_UP_TO = 12
_CHUNK = 1 << 22
_FLAT = 1e-12


def bootstrap_interval(
    values: Sequence[float], *, resamples: int = 10_000, seed: int = 0, alpha: float = 0.05
) -> tuple[float, float]:
    """Low and high end of the interval of the mean at 1 − alpha: quantiles alpha/2 and 1 − alpha/2 of resampled means.

    To be looked at, not to decide by: see `cautious_bounds`.
    Source: Efron & Tibshirani 1993, ch. 13 (percentile interval), resampling queries. Raises: ValueError without values
    or for an alpha outside (0, 1).
    """
    data = _checked(values, alpha)
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(data))
    means = np.concatenate(
        [
            data[random.integers(len(data), size=(min(rows, resamples - start), len(data)))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def sign_flip_p_value(values: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value, in (0, 1], of the mean being 0 if each difference were as likely to have the other sign.

    All sign patterns up to 12 differences that are not 0; else resamples random ones, with (count + 1)/(resamples + 1).
    Source: Fisher's randomisation test, as in Smucker, Allan & Carterette, CIKM 2007.
    """
    data = np.asarray([value for value in values if value != 0.0], dtype=np.float64)
    if not len(data):
        return 1.0
    # Sums that are equal on paper differ by rounding: count those as reached.
    reached = abs(data.sum()) - 1e-9 * np.abs(data).sum()
    count = n = 0
    for flipped in _subsets(len(data), resamples=resamples, seed=seed):
        count += int(np.count_nonzero(np.abs((1.0 - 2.0 * flipped) @ data) >= reached))
        n += len(flipped)
    return count / n if len(data) <= _EXACT_UP_TO else (count + 1) / (n + 1)


def sign_flip_bounds(
    values: Sequence[float], *, resamples: int = 10_000, seed: int = 0, alpha: float = 0.05
) -> tuple[float, float]:
    """A lower and an upper bound of the mean, each true with probability 1 − alpha; ±inf where n is too small to say.

    The lower one is the smallest mean that the one-sided sign-flip test at alpha does not reject, so it is above 0 just
    when that test says "better". With T = Σ(d − m), flipping the set S gives T − 2·Σ_S(d − m): at least T where the
    mean of S is at most m. So the bounds are order statistics of the means of random subsets.

    Exact where the differences are symmetric around their mean.
    Source: Hartigan, JASA 64 (1969), "Using subsample values as typical values".

    Raises: ValueError without values or for an alpha outside (0, 1).
    """
    data = _checked(values, alpha)
    means = []
    for chosen in _subsets(len(data), resamples=resamples, seed=seed):
        sizes = chosen.sum(axis=1)
        kept = sizes > 0
        means.append((chosen[kept] @ data) / sizes[kept])
    exact = len(data) <= _EXACT_UP_TO
    # What is 0 on paper must not be above 0 by rounding. The empty subset is the identity: never more extreme.
    found = np.sort(np.round(np.concatenate(means), 12))
    patterns = 2 ** len(data) if exact else resamples + 1
    empty = patterns - len(found)
    at = math.floor(alpha * patterns) - empty
    if at < 0:
        return -math.inf, math.inf
    return float(found[at]), float(found[-1 - at])


def studentised_bounds(
    values: Sequence[float], *, resamples: int = 10_000, seed: int = 0, alpha: float = 0.05
) -> tuple[float, float]:
    """A lower and an upper bound of the mean, each at 1 − alpha, that follow the skew of the values; may be ±inf.

    Source: Efron & Tibshirani 1993, ch. 12.5 (bootstrap-t). Raises: ValueError as `sign_flip_bounds`.
    """
    data = _checked(values, alpha)
    mean, spread = float(data.mean()), float(data.std())
    if spread < _FLAT:
        return mean, mean
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(data))
    ratios = []
    for start in range(0, resamples, rows):
        drawn = data[random.integers(len(data), size=(min(rows, resamples - start), len(data)))]
        away, spreads = drawn.mean(axis=1) - mean, drawn.std(axis=1)
        at_once = np.where(np.abs(away) < _FLAT, 0.0, np.copysign(np.inf, away))  # a resample of equal values
        ratios.append(np.where(spreads < _FLAT, at_once, away / np.maximum(spreads, _FLAT)))
    found = np.concatenate(ratios)
    # "higher" and "lower" keep the quantile a drawn value: between two infinite ones there is nothing to interpolate.
    top, bottom = np.quantile(found, 1 - alpha, method="higher"), np.quantile(found, alpha, method="lower")
    return mean - float(top) * spread, mean - float(bottom) * spread


def cautious_bounds(
    values: Sequence[float], *, resamples: int = 10_000, seed: int = 0, alpha: float = 0.05
) -> tuple[float, float]:
    """The lower of two lower bounds of the mean and the higher of two upper ones: sign-flip and studentised.

    Our choice, by trial on differences of nDCG@10 with a true mean of 0 and 30 to 150 queries: those of BM25 variants
    on SciFact and MSRD, both ways round, tilted to that mean, and a made-up null with few large losses. How often, as a
    multiple of alpha, the lower bound was above 0 (15 cells of 600 draws; mean at .025, .0083 and .0025): percentile
    bootstrap 1.7, 2.6, 4.0 (worst cell 12); sign-flip 1.3, 1.4, 2.1; studentised 1.7, 2.4, 3.1; the lower of the last
    two 1.0, 1.0, 1.1 (worst 4). Sign-flip alone fails on few large losses, studentised alone on many zeros; together
    they gave up no power of sign-flip on the real differences. At 30 queries none keeps its level everywhere.

    Raises: ValueError as `sign_flip_bounds`.
    """
    flipped = sign_flip_bounds(values, resamples=resamples, seed=seed, alpha=alpha)
    studentised = studentised_bounds(values, resamples=resamples, seed=seed, alpha=alpha)
    return min(flipped[0], studentised[0]), max(flipped[1], studentised[1])


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for testing all of them, at most 1. Source: Holm 1979."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for position, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def _subsets(n: int, *, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Rows of 0 and 1, (rows, n): every pattern once up to 12 values, else resamples random ones, chunk by chunk."""
    if n <= _EXACT_UP_TO:
        yield ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)
        return
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK // n)
    for start in range(0, resamples, rows):
        yield random.integers(2, size=(min(rows, resamples - start), n), dtype=np.int8).astype(np.float64)


def _checked(values: Sequence[float], alpha: float) -> NDArray[np.float64]:
    if not len(values):
        raise ValueError("there are no values to resample")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be in (0, 1)")
    return np.asarray(values, dtype=np.float64)
