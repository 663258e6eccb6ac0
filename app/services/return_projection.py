"""What the next audits are expected to gain, from what the last rounds gained for theirs; arithmetic alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MORE = 100
"""Audits ahead that a projection speaks of."""

DRAWS = 4000
STEEPEST = 1.0
"""Largest exponent of the power law: the total then still grows, as the logarithm does. Our choice: two steps cannot
show a steeper end, and a steeper one would say stop too early."""

_Z = 1.959964


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """From so many audits to so many more, and the gain (nDCG@10) with its 95 % interval over n held-out questions."""

    audits_before: int
    audits_after: int
    gain: float
    low: float
    high: float
    n_queries: int

    @property
    def audits(self) -> int:
        return self.audits_after - self.audits_before


@dataclass(frozen=True, slots=True)
class Projection:
    """Gain (nDCG@10) that the next `more` audits are expected to bring, with a 95 % interval.

    shape: "straight" goes on at the rate of the last step, "declining" lets the rate fall as it fell from the step
    before. n_steps, n_audits and n_queries: what it rests on; of questions, the fewest of a step.
    """

    more: int
    expected: float
    low: float
    high: float
    shape: Literal["straight", "declining"]
    n_steps: int
    n_audits: int
    n_queries: int


def project(steps: Sequence[MeasuredStep], *, more: int = MORE, draws: int = DRAWS, seed: int = 0) -> Projection | None:
    """The gain to be expected of `more` audits after the last step; None without a step. Steps come oldest first.

    One step: its gain · more / audits, as if returns stayed what they were. Two: the rate of gain follows
    r(N) = r₂ (N / m₂)^−b through the rates r₁, r₂ of the last two steps at their middles m₁ < m₂, with
    b = ln(r₁ / r₂) / ln(m₂ / m₁) held to [0, `STEEPEST`], so that returns never rise, and is summed over the audits
    ahead. Where a rate is not positive there is nothing to follow and b is 0. The interval is that of the same
    computation on gains drawn from normals with the steps' intervals, each by itself.

    Source: power laws of learning curves (Hestness and others 2017); the bounds on b and the draws are our choice.

    Raises: ValueError when a step has no audits, or the last two overlap.
    """
    if not steps:
        return None
    last = steps[-1]
    used = list(steps[-2:])
    if any(step.audits <= 0 for step in used):
        raise ValueError("a step without audits has no rate of gain")
    if len(used) == 2 and used[0].audits_after > used[1].audits_before:
        raise ValueError(
            f"steps overlap: {used[0].audits_after} audits after one, {used[1].audits_before} before the next"
        )
    generator = np.random.default_rng(seed)
    means = np.array([step.gain for step in used])
    spreads = np.array([(step.high - step.low) / (2 * _Z) for step in used])
    drawn = np.vstack([means, means + spreads * generator.standard_normal((draws, len(used)))])
    rates = drawn / np.array([step.audits for step in used])
    if len(used) == 1:
        found = rates[:, 0] * more
    else:
        middles = np.array([(step.audits_before + step.audits_after) / 2 for step in used])
        found = _ahead(rates[:, 0], rates[:, 1], *middles.tolist(), start=last.audits_after, more=more)
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return Projection(
        more=more,
        expected=float(found[0]),
        low=min(float(low), float(found[0])),
        high=max(float(high), float(found[0])),
        shape="straight" if len(used) == 1 else "declining",
        n_steps=len(used),
        n_audits=sum(step.audits for step in used),
        n_queries=min(step.n_queries for step in used),
    )


def _ahead(
    before: np.ndarray[tuple[int], np.dtype[np.float64]],
    after: np.ndarray[tuple[int], np.dtype[np.float64]],
    first_middle: float,
    last_middle: float,
    *,
    start: int,
    more: int,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """∫ r(N) dN from `start` on over `more` audits, (n,)."""
    both = (before > 0.0) & (after > 0.0)
    ratio = np.where(both, before, 1.0) / np.where(both, after, 1.0)
    steep = np.clip(np.log(ratio) / np.log(last_middle / first_middle), 0.0, STEEPEST)
    one_less = 1.0 - steep
    is_log = one_less < 1e-9
    safe = np.where(is_log, 1.0, one_less)
    end = float(start + more)
    power = last_middle**steep * (end**safe - float(start) ** safe) / safe
    length = np.where(is_log, last_middle * np.log(end / start), power)
    return np.asarray(after * length, dtype=np.float64)
