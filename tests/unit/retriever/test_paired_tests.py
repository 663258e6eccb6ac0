from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from retriever.paired_tests import (
    bootstrap_interval,
    cautious_bounds,
    holm,
    sign_flip_bounds,
    sign_flip_p_value,
    studentised_bounds,
)


def test_the_interval_agrees_with_scipy() -> None:
    """An interval too narrow promotes noise."""
    values = np.random.default_rng(2).normal(0.02, 0.2, 80).tolist()
    ours = bootstrap_interval(values, resamples=20_000, seed=1, alpha=0.1)
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=20_000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.002)
    assert ours == bootstrap_interval(values, resamples=20_000, seed=1, alpha=0.1)


@pytest.mark.parametrize("values", [[0.1, 0.2, -0.05, 0.3, 0.0], [0.1] * 8, [0.3, -0.1, 0.2, 0.05, 0.4, -0.2, 0.1]])
def test_the_exact_p_value_agrees_with_scipy(values: Sequence[float]) -> None:
    """A p-value that cannot be trusted is worse than none."""
    theirs = stats.permutation_test(
        (values,), lambda sample, axis: np.mean(sample, axis=axis), permutation_type="samples", vectorized=True
    )
    assert sign_flip_p_value(values) == pytest.approx(theirs.pvalue)


def test_the_sampled_p_value_is_near_the_t_test_on_well_behaved_data() -> None:
    """The sampled branch must measure the same thing as the exact one."""
    values = np.random.default_rng(4).normal(0.03, 0.1, 60).tolist()
    assert sign_flip_p_value(values, resamples=20_000) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)


def test_no_difference_at_all_is_no_evidence() -> None:
    """Two equal models must not differ significantly."""
    assert sign_flip_p_value([0.0] * 30) == 1.0


def test_holm_is_the_textbook_adjustment() -> None:
    """Three measures are three chances to be lucky."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


@given(st.dictionaries(st.text(max_size=3), st.floats(0.0001, 1), min_size=1, max_size=6))
def test_holm_never_makes_a_p_value_smaller(p_values: dict[str, float]) -> None:
    """An adjustment that helps is no adjustment."""
    adjusted = holm(p_values)
    assert all(p_values[name] <= adjusted[name] <= 1 for name in p_values)


@pytest.mark.parametrize(("values", "alpha"), [([], 0.05), ([0.1], 0), ([0.1], 1)])
def test_an_interval_of_nothing_is_refused(values: list[float], alpha: float) -> None:
    """NaN bounds compare as false, and the gate would read that as an answer."""
    with pytest.raises(ValueError, match=r"values|alpha"):
        bootstrap_interval(values, alpha=alpha)


def rejected(values: Sequence[float], mean: float, alpha: float) -> bool:
    """Whether the one-sided sign-flip test at alpha says that the true mean is above this one; over every pattern."""
    shifted = [value - mean for value in values]
    reached = sum(
        sum(sign * value for sign, value in zip(signs, shifted, strict=True)) >= sum(shifted) - 1e-9
        for signs in product((1, -1), repeat=len(values))
    )
    return reached / 2 ** len(values) <= alpha


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.2])
@pytest.mark.parametrize(
    "values", [[0.1, 0.2, -0.05, 0.3, 0.0, 0.02, 0.11, 0.4], [0.3, -0.1, 0.2, 0.05, 0.4, -0.2, 0.1, 0.0, 0.0]]
)
def test_the_lower_bound_is_where_the_sign_flip_test_stops_rejecting(values: list[float], alpha: float) -> None:
    """A bound above 0 beside a p-value that does not reject: two answers to one question on one screen."""
    low, high = sign_flip_bounds(values, alpha=alpha)
    assert not rejected(values, low + 1e-6, alpha)
    assert rejected(values, low - 1e-6, alpha)
    mirrored = sign_flip_bounds([-value for value in values], alpha=alpha)
    assert mirrored == pytest.approx((-high, -low))


def test_too_few_values_bound_nothing() -> None:
    """Three queries that all gained are no proof at 2.5 %: eight patterns are too few to be that surprised."""
    assert sign_flip_bounds([0.1, 0.2, 0.3], alpha=0.025) == (-np.inf, np.inf)


def test_a_gain_and_an_equal_loss_are_not_above_zero_by_rounding() -> None:
    """0.1 + 0.2 - 0.3 is above 0 in floating point, and would be promoted."""
    low, _ = sign_flip_bounds([0.1, 0.2, -0.3] * 10, alpha=0.499)
    assert low <= 0


def test_the_sampled_bounds_are_near_the_t_interval_on_well_behaved_data() -> None:
    """The sampled branch must measure the same thing as the exact one."""
    values = np.random.default_rng(4).normal(0.03, 0.1, 80).tolist()
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert sign_flip_bounds(values, resamples=20_000, alpha=0.025) == pytest.approx(
        (theirs.low, theirs.high), abs=0.002
    )


def test_the_studentised_bounds_are_near_the_t_interval_on_well_behaved_data() -> None:
    """A sign turned round would bound from the wrong side, and nobody would see it on symmetric data alone."""
    values = np.random.default_rng(6).normal(0.03, 0.1, 200).tolist()
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = studentised_bounds(values, resamples=20_000, alpha=0.025)
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.002)
    low, high = studentised_bounds([0.0] * 30 + [-1.0] * 3, resamples=5_000, alpha=0.05)
    mean = -3 / 33
    assert mean - low > high - mean  # few large losses: more of them are likelier than fewer


def test_bounds_of_equal_values_are_that_value() -> None:
    """A division by a spread of 0 is NaN, and NaN is neither above 0 nor below."""
    assert studentised_bounds([0.1] * 20, alpha=0.05) == pytest.approx((0.1, 0.1))
    assert cautious_bounds([0.0] * 20, alpha=0.05) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("values", "shares"), [((0.0, 0.13, -0.37), (0.5, 0.37, 0.13)), ((0.0, 0.37, -0.13), (0.8, 0.052, 0.148))]
)
def test_the_gate_bound_keeps_its_level_where_the_bootstrap_does_not(
    values: tuple[float, ...], shares: tuple[float, ...]
) -> None:
    """Most queries do not change, a few change much, the mean is 0: a bound that calls it "better" promotes noise."""
    random = np.random.default_rng(11)
    assert np.dot(values, shares) == pytest.approx(0, abs=1e-12)
    alpha, tries, cautious, bootstrapped = 0.025, 400, 0, 0
    for _ in range(tries):
        sample = random.choice(values, size=30, p=shares).tolist()
        cautious += cautious_bounds(sample, resamples=800, alpha=alpha)[0] > 0
        bootstrapped += bootstrap_interval(sample, resamples=800, alpha=2 * alpha)[0] > 0
    allowed = tries * alpha
    assert cautious <= allowed + 2 * allowed**0.5
    assert bootstrapped > cautious
