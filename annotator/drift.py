"""Watches accepted labels by later blind spot checks, looked at as often as one likes, at a stated false alarm rate.

A certificate holds for its frozen batch. Spot checks of what it accepted tell whether something changed that nobody
noticed (another model behind the same name, other people, edited passages); an alarm suspends the certificate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from annotator.audit_bounds import allowed_wrong
from annotator.errors import CertificateImpossible

BETS = (1.25, 1.5, 2.0, 3.0, 5.0)
"""Error rates bet on, as multiples of ε; the wealth is their mean. Our choice."""

HIGHEST_BET = 0.95


@dataclass(frozen=True, slots=True)
class DriftReading:
    """Where a series of spot checks stands.

    n_checks, n_wrong: so far. e_value: wealth now; peak: highest so far. alarm: peak ≥ 1/α. alarm_at: the check, from
    1, that raised it; None without alarm. An alarm stays. The values are infinite once the hypothesis is impossible.
    """

    n_checks: int
    n_wrong: int
    e_value: float
    peak: float
    alarm: bool
    alarm_at: int | None


def drift_e_process(
    wrong: Sequence[bool], *, epsilon: float, alpha: float = 0.05, population: int | None = None
) -> DriftReading:
    """How strongly the checks, in the order they were made, speak against "at most ε of the accepted labels are wrong".

    wrong: whether the blind human was on the other side. population: accepted pairs the checks were drawn from at
    random without replacement; None for independent draws. If the hypothesis is true, the chance that an alarm ever
    comes, after however many looks, is at most α.

    Formula: E_t = mean over bets b of Π_i (x_i q_i/m_i + (1 − x_i)(1 − q_i)/(1 − m_i)), q_i = min(b m_i, .95), with
    m_i = ε, or (⌊εN⌋ − found)/(N − i + 1) without replacement. Each factor has expectation at most 1 while the true
    chance of an error is at most m_i, as it rises with x_i; so E is a supermartingale and Ville's inequality bounds the
    chance of ever reaching 1/α.

    Source: betting against a mean, with and without replacement: Waudby-Smith and Ramdas (2024); the bets are ours.

    Raises:
        CertificateImpossible: ε or α outside (0, 1), or more checks than the population has pairs.
    """
    for name, value in (("epsilon", epsilon), ("alpha", alpha)):
        if not 0.0 < value < 1.0:
            raise CertificateImpossible(f"{name} is {value}; it must lie between 0 and 1")
    if population is not None and len(wrong) > population:
        raise CertificateImpossible(f"{len(wrong)} checks of {population} accepted pairs; a pair is checked once")
    wealth = [1.0 / len(BETS)] * len(BETS)
    value, peak, found = 1.0, 1.0, 0
    alarm_at: int | None = None
    for i, is_wrong in enumerate(wrong):
        mean = epsilon
        if population is not None:
            mean = (int(allowed_wrong(population, epsilon)) - found) / (population - i)
        for b, bet in enumerate(BETS):
            wealth[b] *= _factor(bool(is_wrong), mean=mean, bet=bet)
        found += bool(is_wrong)
        value = math.fsum(wealth)
        peak = max(peak, value)
        if alarm_at is None and value >= 1.0 / alpha:
            alarm_at = i + 1
    return DriftReading(len(wrong), found, value, peak, alarm_at is not None, alarm_at)


def _factor(is_wrong: bool, *, mean: float, bet: float) -> float:
    """What a check multiplies the wealth by; infinite where the hypothesis allows no more errors and one came."""
    if mean <= 0.0:
        return math.inf if is_wrong else 1.0
    aim = min(bet * mean, HIGHEST_BET)
    if aim <= mean:
        return 1.0
    return aim / mean if is_wrong else (1.0 - aim) / (1.0 - mean)
