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

LUCKY, UNLUCKY = 1 / 3, 2.0
ODDS_SHIFTS = ((0.1, 0.1), (LUCKY, 0.2), (1.0, 0.4), (UNLUCKY, 0.2), (4.0, 0.1))
"""Factors on the odds of being wrong that the calibrator states, and how much each case counts. Our choice.

Wide, so that a start stays open where the calibrator is far off: between two sets of queries a factor of 2 is normal.
Narrower and wider ones gave nearly the same coverage on halves by query inside each TREC DL year.
"""

RISK_UNITS = 8
SIMULATIONS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Simulated audits of one frame.

    p: (n_simulations, m), p-value at each threshold. shifts: (n_simulations,), the odds shift of each, each shift
    as often as it counts. spared: (m,) pairs that a threshold accepts without an audit.
    """

    p: Floats
    shifts: Floats
    spared: Ints

    def accepted(self, shares: Floats, level: float) -> Ints:
        """Unaudited pairs that the lowest passing threshold accepts, for each way to share the risk: (ways, runs)."""
        carried = np.zeros((len(shares), len(self.p)))
        covered = np.zeros(carried.shape, dtype=np.int64)
        for j, spared in enumerate(self.spared):
            risk = carried + shares[:, j : j + 1]
            passed = self.p[:, j] <= level * risk
            carried = np.where(passed, risk, 0.0)
            covered = np.where(passed, spared, covered)
        return covered


def forecast(falling: Floats, sizes: Ints, *, n: int, epsilon: float, few: float) -> Forecast:
    """Simulated audits: n drawn from the pairs of the last threshold, the frame.

    falling: (n_class,) float64, calibrated confidences of a class, highest first. sizes: (m,) pairs at or above each
    threshold, rising. few: the risk kept for samples that find too few wrong pairs. Deterministic.
    """
    inside = np.minimum(sizes, np.rint(n * sizes / sizes[-1]).astype(np.int64))
    nulls = foreseen_nulls(populations=sizes, inside=inside, epsilon=epsilon, level=few / len(sizes))
    found, shifts = _simulated_errors(falling, sizes, n, inside, nulls / sizes)
    most = max(2, min(int(found.max()) + 1, int(1.5 * epsilon * n) + 10))
    table = np.log(np.maximum(lower_tail_table(most, population=sizes, wrong=nulls, drawn=inside), 1e-300))
    low = np.clip(np.floor(found), 0, most - 1).astype(np.int64)
    columns = np.arange(len(sizes))
    at, step = table[columns, low], table[columns, low + 1] - table[columns, low]
    p = np.exp(np.minimum(0.0, at + (found - low) * step))
    return Forecast(p=np.where(found > most, 1.0, p), shifts=shifts, spared=sizes - inside)


def best_shares(seen: Forecast, *, level: float) -> tuple[float, Floats]:
    """Expected number of pairs accepted unaudited, and the shares of the risk (m,), Σ = 1, that reach it.

    All of the risk starts at the best single threshold; then eighths of it move, one at a time, to where they help most
    against the shifts under which that start fails. Equal shares if nothing helps at all.
    """
    m = len(seen.spared)
    single = np.eye(m)
    values = seen.accepted(single, level).mean(axis=1)
    chosen = int(np.argmax(values))
    best, units = float(values[chosen]), single[chosen] * RISK_UNITS
    if best <= 0.0:
        return 0.0, np.full(m, 1.0 / m)
    while units[chosen] > 1:
        moved = units - single[chosen] + single
        values = seen.accepted(moved / RISK_UNITS, level).mean(axis=1)
        to = int(np.argmax(values))
        if values[to] <= best + 1e-9:
            break
        best, units = float(values[to]), moved[to]
    return best, np.asarray(units / RISK_UNITS, dtype=np.float64)


def _simulated_errors(falling: Floats, sizes: Ints, n: int, inside: Ints, rates: Floats) -> tuple[Floats, Floats]:
    """Wrong pairs among the audits at or above each threshold, (n_simulations, m), and the shift of each simulation.

    The batch is simulated first, then the audits drawn from it: bands between thresholds are binomial, the audits of a
    band hypergeometric. A threshold that happens to get one audit more than expected (`inside`) is read as if it had
    found `rates` of a wrong pair less, so that one table of p-values serves all. Without that spread the best start
    would be where whole numbers fall well by chance.
    """
    random = np.random.default_rng(0)
    starts = np.concatenate([[0], sizes[:-1]])
    pairs = sizes - starts
    wrong = np.clip(1.0 - falling[: sizes[-1]], 1e-6, 1.0 - 1e-6)
    runs, shifts = [], []
    for shift, weight in ODDS_SHIFTS:
        shifted = shift * wrong / (1.0 - wrong + shift * wrong)
        rate = np.add.reduceat(shifted, starts) / pairs
        shape = (round(weight * SIMULATIONS), len(sizes))
        audits = random.multivariate_hypergeometric(pairs, n, size=shape[0])
        in_batch = random.binomial(np.broadcast_to(pairs, shape), np.broadcast_to(rate, shape))
        found = np.cumsum(random.hypergeometric(in_batch, pairs - in_batch, audits), axis=1)
        runs.append(found - rates * (np.cumsum(audits, axis=1) - inside))
        shifts.append(np.full(shape[0], shift))
    return np.concatenate(runs), np.concatenate(shifts)
