"""The owner's table before any audit: how many blind audits buy which ε and which coverage, and the hours they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotator.audit_design import FEW_FOUND_SHARE, Bools, ClassDesign, Floats, checked, design_audit
from annotator.audit_simulation import LUCKY, UNLUCKY, forecast
from annotator.errors import CertificateImpossible

EPSILONS = (0.05, 0.1, 0.15)
BUDGETS = (100, 200, 400, 800)
SECONDS_PER_AUDIT = 20.0
"""Time of one blind review where the workspace has none measured yet; our guess."""


@dataclass(frozen=True, slots=True)
class ForeseenClass:
    """What a class would get. n_class: its pairs; n_audits: audits of it; the rest are shares of the class in [0, 1].

    coverage: expected share accepted without an audit if the confidences are right. low, high: the same if the odds of
    being wrong are twice, or a third of, what they say. chance: of any certificate at all, if they are right.
    """

    relevant: bool
    n_class: int
    n_audits: int
    coverage: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One line of the plan: ε, audits, hours of reviewing, and what each class would get."""

    epsilon: float
    n_audits: int
    hours: float
    irrelevant: ForeseenClass
    relevant: ForeseenClass

    @property
    def accepted(self) -> float:
        """Expected number of pairs that nobody would need to audit."""
        return sum(one.coverage * one.n_class for one in (self.irrelevant, self.relevant))


def plan_audits(
    predicted_relevant: Bools,
    confidence: Floats,
    *,
    epsilons: Sequence[float] = EPSILONS,
    budgets: Sequence[int] = BUDGETS,
    delta: float = 0.05,
    seconds_per_audit: float = SECONDS_PER_AUDIT,
) -> tuple[PlanRow, ...]:
    """One row for each ε and each budget smaller than the batch, by simulation; no person's answer is needed.

    The forecast is as good as the calibration, hence low and high; the certificate itself does not depend on it.

    Raises:
        CertificateImpossible: as `design_audit`; no budget is smaller than the batch; or the seconds are not positive.
    """
    predicted, conf = checked(predicted_relevant, confidence)
    if not seconds_per_audit > 0:
        raise CertificateImpossible(f"{seconds_per_audit} seconds an audit; give a positive number")
    possible = sorted({budget for budget in budgets if 1 <= budget < len(conf)})
    if not possible:
        raise CertificateImpossible(f"no budget of {list(budgets)} is smaller than the batch of {len(conf)} pairs")
    rows = []
    for epsilon in epsilons:
        for n in possible:
            design = design_audit(predicted, conf, n=n, epsilon=epsilon, delta=delta, seed=0)
            irrelevant, relevant = (_foreseen(part, predicted, conf, epsilon=epsilon) for part in design.classes)
            rows.append(PlanRow(epsilon, n, n * seconds_per_audit / 3600.0, irrelevant, relevant))
    return tuple(rows)


def _foreseen(part: ClassDesign, predicted: Bools, conf: Floats, *, epsilon: float) -> ForeseenClass:
    if part.n_frame_audits == 0 or part.n_class == 0:
        return ForeseenClass(part.relevant, part.n_class, part.n_audits, 0.0, 0.0, 0.0, 0.0)
    falling = np.sort(conf[predicted == part.relevant])[::-1]
    few = part.level / (1.0 - FEW_FOUND_SHARE) * FEW_FOUND_SHARE
    seen = forecast(falling, np.array(part.sizes), n=part.n_frame_audits, epsilon=epsilon, few=few)
    covered = seen.accepted(np.array([part.shares]), part.level)[0] / part.n_class
    return ForeseenClass(
        relevant=part.relevant,
        n_class=part.n_class,
        n_audits=part.n_audits,
        coverage=float(covered[seen.shifts == 1.0].mean()),
        low=float(covered[seen.shifts == UNLUCKY].mean()),
        high=float(covered[seen.shifts == LUCKY].mean()),
        chance=float((covered[seen.shifts == 1.0] > 0).mean()),
    )
