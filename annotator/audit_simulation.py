"""What audits would show if the calibrated confidences were right, or off by some factor. No answer is needed for it.

Serves the design and the plan; no promise rests on it: a wrong forecast costs coverage, never validity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.audit_bounds import foreseen_nulls, lower_tail_table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ODDS_SHIFTS = ((0.5, 0.15), (0.71, 0.2), (1.0, 0.3), (1.41, 0.2), (2.0, 0.15))
"""Factors on the odds of being wrong that the calibrator states, and how much each case counts. Our choice."""

RISK_UNITS = 8
SIMULATIONS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Simulated audits of one frame.

    p: (n_simulations, m), p-value at each threshold. shifts: (n_simulations,), the odds shift of each simulation, each
    as often as it counts. sizes: (m,) pairs accepted at each threshold.
    """

    p: Floats
    shifts: Floats
    sizes: Ints

    def accepted(self, shares: Floats, level: float) -> Ints:
        """Pairs at or above the lowest passing threshold, for each way to share the risk: (ways, n_simulations)."""
        carried = np.zeros((len(shares), len(self.p)))
        covered = np.zeros(carried.shape, dtype=np.int64)
        for j, size in enumerate(self.sizes):
            risk = carried + shares[:, j : j + 1]
            passed = self.p[:, j] <= level * risk
            carried = np.where(passed, risk, 0.0)
            covered = np.where(passed, size, covered)
        return covered


def forecast(falling: Floats, sizes: Ints, *, n: int, epsilon: float, few: float) -> Forecast:
    """Simulated audits: n drawn from the pairs of the last threshold, the frame.

    falling: (n_class,) float64, calibrated confidences of a class, highest first. sizes: (m,) pairs at or above each
    threshold, rising. few: the risk kept for samples that find too few wrong pairs. Deterministic.
    """
    inside = np.minimum(sizes, np.rint(n * sizes / sizes[-1]).astype(np.int64))
    nulls = foreseen_nulls(populations=sizes, inside=inside, epsilon=epsilon, level=few / len(sizes))
    found, shifts = _simulated_errors(falling, sizes, inside)
    most = max(1, min(int(found.max()), int(1.5 * epsilon * n) + 10))
    table = lower_tail_table(most, population=sizes, wrong=nulls, drawn=inside)
    p = table[np.arange(len(sizes)), np.minimum(found, most)]
    return Forecast(p=np.where(found > most, 1.0, p), shifts=shifts, sizes=sizes)


def best_shares(seen: Forecast, *, level: float) -> tuple[float, Floats]:
    """Expected number of accepted pairs, and the shares of the risk (m,), Σ = 1, that reach it.

    Greedy: eighths of the risk go one by one to the threshold where they help most; equal shares if nothing helps.
    """
    m = len(seen.sizes)
    best, units = 0.0, np.zeros(m)
    for _ in range(RISK_UNITS):
        tried = units + np.eye(m)
        values = seen.accepted(tried / tried.sum(axis=1, keepdims=True), level).mean(axis=1)
        chosen = int(np.argmax(values))
        if values[chosen] <= best + 1e-9:
            break
        best, units = float(values[chosen]), tried[chosen]
    if not units.any():
        units = np.ones(m)
    return best, np.asarray(units / units.sum(), dtype=np.float64)


def _simulated_errors(falling: Floats, sizes: Ints, inside: Ints) -> tuple[Ints, Floats]:
    """Wrong pairs among the audits at or above each threshold, (n_simulations, m), and the shift of each simulation.

    The batch is simulated first, then the audits drawn from it: bands between thresholds are binomial, audits of a band
    hypergeometric; how many audits fall into a band is held at its expectation.
    """
    random = np.random.default_rng(0)
    starts = np.concatenate([[0], sizes[:-1]])
    pairs, audits = sizes - starts, np.diff(inside, prepend=0)
    wrong = np.clip(1.0 - falling[: sizes[-1]], 1e-6, 1.0 - 1e-6)
    runs, shifts = [], []
    for shift, weight in ODDS_SHIFTS:
        shifted = shift * wrong / (1.0 - wrong + shift * wrong)
        rate = np.add.reduceat(shifted, starts) / pairs
        shape = (round(weight * SIMULATIONS), len(sizes))
        in_batch = random.binomial(np.broadcast_to(pairs, shape), np.broadcast_to(rate, shape))
        runs.append(random.hypergeometric(in_batch, pairs - in_batch, np.broadcast_to(audits, shape)))
        shifts.append(np.full(shape[0], shift))
    return np.asarray(np.cumsum(np.concatenate(runs), axis=1), dtype=np.int64), np.concatenate(shifts)
