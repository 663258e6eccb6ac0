"""Logistic regression that is shrunk toward a given answer: few reviews move it a little, many reviews much.

Nothing here knows what a feature means; `calibration_features` says that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_STEPS = 100
HALVINGS = 40


def fit_shrunk_logistic(
    features: Floats,
    offset: Floats,
    relevant: Floats,
    *,
    penalties: Floats,
    lowest: Floats,
    start: Floats | None = None,
) -> Floats:
    """The coefficients, (d,) float64, that fit best for their size; all zero returns the offset unchanged.

    features: (n, d) float64. offset: (n,) float64, log-odds known beforehand. relevant: (n,) of 0.0 and 1.0.
    penalties: (d,) float64, 0 or more. lowest: (d,) float64, at most 0, −inf where a coefficient is free. start: (d,)
    float64, where to begin; a near answer saves steps.

    Formula: argmin over β ≥ lowest of Σ_i [ln(1 + e^{η_i}) − y_i η_i] + ½ Σ_j penalty_j β_j², η = offset + Xβ; Newton
    steps on the coefficients that are not held at their bound, halved until the sum falls.
    Source: penalised logistic regression with an offset is textbook; shrinking toward the raw confidence is our choice.
    """
    beta = np.zeros(features.shape[1]) if start is None else np.maximum(start, lowest)
    loss = _loss(features, offset, relevant, penalties, beta)
    for _ in range(MOST_STEPS):
        eta = offset + features @ beta
        p = expit(eta)
        gradient = features.T @ (p - relevant) + penalties * beta
        free = ~((beta <= lowest) & (gradient > 0))
        if not free.any() or float(np.abs(gradient[free]).max()) < 1e-9 * (1.0 + len(relevant)):
            break
        used = features[:, free]
        curvature = (used * (p * (1.0 - p))[:, None]).T @ used + np.diag(penalties[free] + 1e-9)
        step = np.zeros_like(beta)
        step[free] = np.linalg.solve(curvature, gradient[free])
        size = 1.0
        for _ in range(HALVINGS):
            moved = np.maximum(beta - size * step, lowest)
            lower = _loss(features, offset, relevant, penalties, moved)
            if lower < loss:
                break
            size /= 2
        else:
            break
        fell, beta, loss = loss - lower, moved, lower
        if fell < 1e-12 * (1.0 + abs(loss)):
            break
    return beta


def expit(eta: Floats) -> Floats:
    """1 / (1 + e^{−η}), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -eta)), dtype=np.float64)


def logit(p: Floats, *, edge: float) -> Floats:
    """Log-odds of probabilities held inside [edge, 1 − edge]."""
    held = np.clip(p, edge, 1.0 - edge)
    return np.asarray(np.log(held) - np.log1p(-held), dtype=np.float64)


def log_loss(eta: Floats, relevant: Floats) -> Floats:
    """−ln of the probability given to what was true, each row, (n,) float64 from its log-odds; lower is better."""
    return np.asarray(np.logaddexp(0.0, eta) - relevant * eta, dtype=np.float64)


def _loss(features: Floats, offset: Floats, relevant: Floats, penalties: Floats, beta: Floats) -> float:
    fit = float(log_loss(offset + features @ beta, relevant).sum())
    return fit + 0.5 * float(penalties @ (beta * beta))
