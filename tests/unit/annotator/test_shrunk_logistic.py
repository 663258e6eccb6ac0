"""The shrunk regression against another optimiser, at its bounds, and where there is nothing to learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.shrunk_logistic import expit, fit_shrunk_logistic, log_loss, logit


def example(seed: int, n: int = 80, d: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, d))
    offset = generator.normal(size=n)
    truth = expit(offset + features @ generator.normal(size=d))
    return features, offset, (generator.random(n) < truth).astype(float)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 2.0, 30.0]))
def test_it_finds_what_another_optimiser_finds(seed: int, penalty: float) -> None:
    """Disaster: coefficients that stopped somewhere on the way."""
    optimize = pytest.importorskip("scipy.optimize")
    features, offset, relevant = example(seed)
    penalties, lowest = np.full(3, penalty), np.array([-1.0, 0.0, -np.inf])
    found = fit_shrunk_logistic(features, offset, relevant, penalties=penalties, lowest=lowest)

    def loss(beta: np.ndarray) -> float:
        return float(log_loss(offset + features @ beta, relevant).sum() + 0.5 * penalties @ beta**2)

    bounds = [(None if low == -np.inf else low, None) for low in lowest]
    theirs = optimize.minimize(loss, np.zeros(3), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14})
    assert loss(found) <= theirs.fun + 1e-6
    assert found == pytest.approx(theirs.x, abs=2e-3)
    assert (found >= lowest).all()


def test_a_start_elsewhere_leads_to_the_same_place() -> None:
    """Disaster: a calibrator that depends on which fold was fitted before."""
    features, offset, relevant = example(3)
    options = {"penalties": np.full(3, 2.0), "lowest": np.array([-1.0, 0.0, -np.inf])}
    plain = fit_shrunk_logistic(features, offset, relevant, **options)
    moved = fit_shrunk_logistic(features, offset, relevant, **options, start=np.array([-5.0, -5.0, 4.0]))
    assert moved == pytest.approx(plain, abs=1e-6)


def test_separated_classes_give_finite_coefficients() -> None:
    """Disaster: infinity, because thirty reviews happen to agree with the judge without exception."""
    features = np.linspace(-1, 1, 30)[:, None]
    relevant = (features[:, 0] > 0).astype(float)
    found = fit_shrunk_logistic(features, np.zeros(30), relevant, penalties=np.ones(1), lowest=np.array([-np.inf]))
    assert 0.0 < found[0] < 20.0


def test_an_overwhelming_penalty_leaves_the_offset() -> None:
    """Disaster: a prior that does not hold."""
    features, offset, relevant = example(1)
    found = fit_shrunk_logistic(features, offset, relevant, penalties=np.full(3, 1e9), lowest=np.full(3, -np.inf))
    assert found == pytest.approx(np.zeros(3), abs=1e-5)


def test_odds_and_probabilities_survive_the_edges() -> None:
    """Disaster: NaN from a confidence of exactly 1."""
    assert logit(np.array([0.0, 0.5, 1.0]), edge=0.01) == pytest.approx([-np.log(99), 0.0, np.log(99)])
    assert expit(np.array([-1000.0, 0.0, 1000.0])) == pytest.approx([0.0, 0.5, 1.0])
    assert log_loss(np.array([1000.0, -1000.0]), np.array([0.0, 0.0])) == pytest.approx([1000.0, 0.0])
