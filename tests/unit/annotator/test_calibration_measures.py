"""ECE, Brier, AUROC and intervals against numbers worked out by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.calibration_measures import (
    auroc,
    brier,
    ece_of_a_perfect_model,
    expected_calibration_error,
    measure,
    reliability_bins,
)
from annotator.errors import CalibrationImpossible, InputRefused
from annotator.intervals import bootstrap_by_query


def test_ece_by_hand() -> None:
    """Disaster: a figure nobody can recompute. Bins .9–1: |.95 − ½| · 2/4; .1–.2: |.15 − 0| · 1/4; .6–.7: .35 · 1/4."""
    p, y = [0.9, 1.0, 0.15, 0.65], [1, 0, 0, 1]
    assert expected_calibration_error(p, y) == pytest.approx(0.45 / 2 + 0.15 / 4 + 0.35 / 4)
    assert expected_calibration_error(p, y, bins=1) == pytest.approx(abs(2.7 / 4 - 2 / 4))


def test_a_certain_probability_falls_into_the_last_bin() -> None:
    """Disaster: p = 1 lost, or a bin of its own."""
    bins = reliability_bins([0.0, 0.05, 0.1, 1.0, 0.95], [0, 0, 1, 1, 1])
    assert [(one.low, one.n, one.share_relevant) for one in bins] == [(0.0, 2, 0.0), (0.1, 1, 1.0), (0.9, 2, 1.0)]
    assert bins[-1].mean_p == pytest.approx(0.975)


def test_brier_by_hand() -> None:
    """Disaster: the mean distance taken for the mean square. (.1² + .4²) / 2."""
    assert brier([0.9, 0.4], [1, 0]) == pytest.approx((0.01 + 0.16) / 2)


def test_auroc_counts_ties_one_half() -> None:
    """Disaster: an AUROC that depends on how ties happen to be sorted. 3 of 4 comparisons: 1, ½, 1, ½."""
    assert auroc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0]) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert auroc([0.5, 0.5], [1, 0]) == pytest.approx(0.5)
    assert auroc([0.5, 0.6], [1, 1]) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_equals_scikit_learns(rows: list[tuple[int, bool]]) -> None:
    """Disaster: an AUROC of our own making."""
    metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = [score for score, _ in rows], [flag for _, flag in rows]
    found = auroc(scores, positive)
    if len(set(positive)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(metrics.roc_auc_score(positive, scores))


def test_auroc_within_groups_never_compares_across_them() -> None:
    """Disaster: probabilities of two calibrators compared as if they were one scale."""
    score, positive, groups = [0.9, 0.8, 0.3, 0.2], [1, 0, 1, 0], [0, 0, 1, 1]
    assert auroc(score, positive, groups=groups) == 1.0
    assert auroc(score, positive) == pytest.approx(3 / 4)
    assert auroc(score, positive, groups=[0, 1, 2, 3]) is None


def test_a_perfect_model_shows_the_ece_of_chance() -> None:
    """Disaster: .02 called a fault of the model when 660 reviews cannot show less.

    One bin, p = ½: the ECE is |½ − share|, on average √(2/π) / (2√n) for large n.
    """
    mean, high = ece_of_a_perfect_model(np.full(400, 0.55), bins=1, simulations=4000)
    assert mean == pytest.approx(np.sqrt(2 / np.pi) * np.sqrt(0.55 * 0.45 / 400), rel=0.05)
    assert high == pytest.approx(1.96 * np.sqrt(0.55 * 0.45 / 400), rel=0.05)


def test_confidence_is_measured_on_the_proposed_side() -> None:
    """Disaster: a sure and right 'irrelevant', p = .02, counted as unsure."""
    report = measure([0.98, 0.02, 0.6, 0.4], [True, False, False, True], [True, True, False, False], [1, 2, 3, 4])
    assert report.auroc_correct is not None
    assert report.auroc_correct.value == 1.0
    assert (report.n, report.n_queries, report.n_relevant, report.n_correct) == (4, 4, 2, 2)
    assert report.brier.value == pytest.approx((0.02**2 * 2 + 0.6**2 * 2) / 4)


def test_intervals_grow_when_pairs_of_a_query_are_alike() -> None:
    """Disaster: a narrow interval because eleven questions were taken for 660."""
    generator = np.random.default_rng(0)
    level = np.repeat(generator.uniform(0, 1, 12), 50)
    y = generator.random(600) < level

    def mean(weights: np.ndarray) -> float:
        return float(weights @ y / weights.sum())

    by_query = bootstrap_by_query(mean, np.repeat(np.arange(12), 50).tolist(), resamples=500)
    by_pair = bootstrap_by_query(mean, list(range(600)), resamples=500)
    for found in (by_query, by_pair):
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high
    assert by_query.high - by_query.low > 2 * (by_pair.high - by_pair.low)  # type: ignore[union-attr,operator]


def test_what_cannot_be_measured_is_said() -> None:
    """Disaster: an ECE of 0 from no reviews, or NaN on a screen."""
    with pytest.raises(CalibrationImpossible):
        expected_calibration_error([], [])
    with pytest.raises(InputRefused, match="outside"):
        brier([1.2], [1])
    with pytest.raises(InputRefused, match="outside"):
        brier([float("nan")], [1])
    with pytest.raises(InputRefused, match="one of each"):
        measure([0.5], [True], [True], [1, 2])
    with pytest.raises(InputRefused):
        auroc([0.5], [1, 0])
    assert bootstrap_by_query(lambda weights: None, [1, 2]) is None
