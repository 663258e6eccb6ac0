"""What 100 more audits are expected to gain: by hand, and never from nothing."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from app.services.return_projection import MeasuredStep, project


def step(before: int, after: int, gain: float, spread: float = 0.0) -> MeasuredStep:
    return MeasuredStep(before, after, gain, gain - spread, gain + spread, 40)


def test_without_a_step_nothing_is_projected() -> None:
    """A number from no rounds."""
    assert project([]) is None


def test_one_step_goes_on_at_its_own_rate() -> None:
    """A fall that one step cannot show."""
    found = project([step(100, 300, 0.02, 0.01)])
    assert found is not None
    assert (found.shape, found.n_steps, found.n_audits, found.n_queries) == ("straight", 1, 200, 40)
    assert found.expected == pytest.approx(0.01)  # .02 for 200 is .01 for 100
    # 95 % of a normal whose interval was ± .01 for 200 audits is ± .005 for 100.
    assert found.low == pytest.approx(0.005, abs=0.0004)
    assert found.high == pytest.approx(0.015, abs=0.0004)


def test_two_steps_fall_on_as_they_fell() -> None:
    """Promising the rate of the last round when each round brought half of the one before."""
    found = project([step(0, 100, 0.02), step(100, 200, 0.01)])
    assert found is not None
    assert found.shape == "declining"
    b = log(2) / log(3)  # half the rate at three times the middle, 50 and 150
    at = np.linspace(200, 300, 100_001)
    rate = 1e-4 * (at / 150) ** -b
    by_hand = float(((rate[:-1] + rate[1:]) / 2 * np.diff(at)).sum())
    assert found.expected == pytest.approx(by_hand, rel=1e-6)
    assert found.low == pytest.approx(found.expected) == found.high  # no spread, no interval
    assert 0 < found.expected < 0.01


def test_a_rate_that_rises_is_not_carried_on_upward() -> None:
    """Two lucky rounds that promise ever more."""
    found = project([step(0, 100, 0.001), step(100, 200, 0.01)])
    assert found is not None
    assert found.expected == pytest.approx(0.01)


def test_a_steep_fall_is_held_to_that_of_a_logarithm() -> None:
    """Saying stop because of one bad round."""
    found = project([step(0, 100, 0.9), step(100, 200, 0.001)])
    assert found is not None
    assert found.expected == pytest.approx(1e-5 * 150 * log(300 / 200))


def test_a_loss_is_expected_to_go_on_and_never_turns_into_a_gain() -> None:
    """log of a negative rate."""
    found = project([step(0, 100, 0.01), step(100, 200, -0.004, 0.01)])
    assert found is not None
    assert found.expected == pytest.approx(-0.004)
    assert found.low < -0.004 < found.high


def test_only_the_last_two_steps_count() -> None:
    """The first round's leap, taken for what audits bring today."""
    late = [step(100, 200, 0.01, 0.002), step(200, 300, 0.008, 0.002)]
    assert project([step(0, 100, 0.5, 0.1), *late]) == project(late)


def test_steps_that_overlap_or_have_no_audits_are_refused() -> None:
    """Audits counted twice, or a division by none."""
    with pytest.raises(ValueError, match="overlap"):
        project([step(0, 100, 0.01), step(50, 150, 0.01)])
    with pytest.raises(ValueError, match="no rate"):
        project([step(100, 100, 0.01)])
