"""The rules that `bench certificate` compares ours with, on the same sample sizes, and what the truth would allow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from annotator.audit_bounds import p_of_remaining_error
from bench.certificate_batches import Batch

QUANTILES = 8

Rule = Callable[[list[float], float], int | None]


def equal_parts(p: list[float], level: float) -> int | None:
    """The lowest threshold that passes at an equal part of the level (Bonferroni)."""
    passing = [j for j, value in enumerate(p) if value <= level / len(p)]
    return max(passing, default=None)


def from_the_top(p: list[float], level: float) -> int | None:
    """The last threshold before the first that fails at the whole level (fixed sequence)."""
    failing = [j for j, value in enumerate(p) if value > level]
    last = (failing[0] if failing else len(p)) - 1
    return last if last >= 0 else None


def textbook(
    rule: Rule, batch: Batch, *, relevant: bool, n: int, epsilon: float, level: float, seed: int
) -> tuple[float, bool]:
    """Coverage of the unaudited pairs of a class, and whether the promise was broken, with n audits of that class."""
    members = np.flatnonzero(batch.predicted == relevant)
    wrong = (batch.truth != batch.predicted)[members]
    conf = batch.confidence[members]
    audited = np.zeros(len(members), dtype=np.bool_)
    audited[np.random.default_rng(seed).choice(len(members), size=min(n, len(members)), replace=False)] = True
    thresholds = np.unique(np.quantile(conf, np.arange(QUANTILES) / QUANTILES, method="lower"))[::-1]
    p = []
    for threshold in thresholds:
        inside = conf >= threshold
        drawn = inside & audited
        p.append(
            p_of_remaining_error(
                int(wrong[drawn].sum()), population=int(inside.sum()), drawn=int(drawn.sum()), epsilon=epsilon
            )
        )
    at = rule(p, level)
    if at is None:
        return 0.0, False
    kept = (conf >= thresholds[at]) & ~audited
    return float(kept.sum() / max(1, (~audited).sum())), bool(wrong[kept].sum() > epsilon * kept.sum())


def oracle_coverage(batch: Batch, *, relevant: bool, epsilon: float) -> float:
    """The largest share of the class that a threshold chosen on the truth accepts with an error of at most ε."""
    members = batch.predicted == relevant
    if not members.any():
        return 0.0
    conf, wrong = batch.confidence[members], (batch.truth != batch.predicted)[members]
    order = np.argsort(-conf, kind="stable")
    rate = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    complete: NDArray[np.bool_] = np.append(np.diff(conf[order]) != 0.0, True)
    fit = np.flatnonzero((rate <= epsilon) & complete)
    return float((fit[-1] + 1) / len(order)) if len(fit) else 0.0
