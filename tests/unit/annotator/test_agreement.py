"""Agreement against published worked examples and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.agreement import Level, Weighting, agreement, alpha_by_query, cohen_kappa, krippendorff_alpha
from annotator.errors import InputRefused
from annotator.types import Scale

GAP = None
KRIPPENDORFF = tuple(
    zip(
        (1, 2, 3, 3, 2, 1, 4, 1, 2, GAP, GAP, GAP),
        (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, GAP, 3),
        (GAP, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, GAP),
        (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, GAP),
        strict=True,
    )
)
"""Four observers and twelve units with gaps: the example of Krippendorff 2011, "Computing Krippendorff's
Alpha-Reliability", section C to E."""


@pytest.mark.parametrize(("level", "alpha"), [(Level.NOMINAL, 0.743), (Level.ORDINAL, 0.815), (Level.INTERVAL, 0.849)])
def test_alpha_of_krippendorffs_own_example(level: Level, alpha: float) -> None:
    """Disaster: an agreement figure that no other program would give for the same reviews."""
    assert krippendorff_alpha(KRIPPENDORFF, max_grade=5, level=level) == pytest.approx(alpha, abs=0.0006)


def test_kappa_of_a_known_table() -> None:
    """Disaster: chance agreement taken for skill. By hand: 20, 5, 10, 15 agree .7, by chance .5, so κ = .4."""
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert cohen_kappa(first, second, max_grade=1) == pytest.approx(0.4)


def test_weighted_kappa_forgives_near_misses() -> None:
    """Disaster: grade 2 for a 3 counted like grade 0 for a 3.

    By hand, (0,0) (1,1) (2,2) (0,2), margins 2, 1, 1 and 1, 1, 2: linear distance by chance 16/4, found 2, κ = 1/2;
    unweighted by chance 11/4, found 1, κ = 7/11. Quadratic, (0,1) (1,2) (2,3) (3,3): by chance 40/4, found 3, κ = .7.
    """
    first, second = [0, 1, 2, 0], [0, 1, 2, 2]
    assert cohen_kappa(first, second, max_grade=2, weighting=Weighting.LINEAR) == pytest.approx(1 / 2)
    assert cohen_kappa(first, second, max_grade=2) == pytest.approx(7 / 11)
    quadratic = cohen_kappa([0, 1, 2, 3], [1, 2, 3, 3], max_grade=3, weighting=Weighting.QUADRATIC)
    assert quadratic == pytest.approx(0.7)


@pytest.mark.parametrize("weighting", list(Weighting))
def test_kappa_equals_scikit_learns(weighting: Weighting) -> None:
    """Disaster: a κ of our own making."""
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    first = generator.integers(0, 4, 200)
    second = np.clip(first + generator.integers(-1, 2, 200), 0, 3)
    theirs = metrics.cohen_kappa_score(
        first, second, weights=None if weighting is Weighting.NONE else str(weighting), labels=range(4)
    )
    assert cohen_kappa(first, second, max_grade=3, weighting=weighting) == pytest.approx(theirs)


def test_agreement_without_any_disagreement_to_expect_is_undefined() -> None:
    """Disaster: two raters who always say 0 shown as perfect, or as a crash."""
    assert cohen_kappa([0, 0], [0, 0], max_grade=1) is None
    assert cohen_kappa([], [], max_grade=1) is None
    assert krippendorff_alpha([(1, 1), (1, 1)], max_grade=1, level=Level.NOMINAL) is None
    assert krippendorff_alpha([(1, None), (None, 0)], max_grade=1, level=Level.NOMINAL) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30))
def test_two_raters_without_gaps_may_change_places(pairs: list[tuple[int, int]]) -> None:
    """Disaster: agreement that depends on who is called first."""
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    for weighting in Weighting:
        one, two = (cohen_kappa(a, b, max_grade=3, weighting=weighting) for a, b in ((first, second), (second, first)))
        assert one == (None if two is None else pytest.approx(two))
        assert one is None or one <= 1.0 + 1e-12
    for level in Level:
        alpha = krippendorff_alpha(pairs, max_grade=3, level=level)
        swapped = krippendorff_alpha([(b, a) for a, b in pairs], max_grade=3, level=level)
        assert alpha == (None if swapped is None else pytest.approx(swapped, abs=1e-9))


def test_accuracy_is_told_for_each_class_apart() -> None:
    """Disaster: "95 % right" that hides a judge wrong on every relevant pair.

    By hand, relevant from 2: 1 of 3 proposed relevant is; 1 of 2 truly relevant was found; 2 of 3 proposed irrelevant
    are.
    """
    found = agreement(
        [2, 3, 2, 0, 1, 0], [3, 0, 1, 2, 0, 0], ["a", "a", "b", "b", "c", "c"], scale=Scale(), resamples=200
    )
    assert found.n == 6
    assert found.accuracy.value == pytest.approx(3 / 6)
    assert (found.relevant.n_proposed, found.relevant.n_human) == (3, 2)
    assert found.relevant.precision is not None
    assert found.relevant.precision.value == pytest.approx(1 / 3)
    assert found.relevant.recall is not None
    assert found.relevant.recall.value == pytest.approx(1 / 2)
    assert found.irrelevant.precision is not None
    assert found.irrelevant.precision.value == pytest.approx(2 / 3)
    assert found.irrelevant.recall is not None
    assert found.irrelevant.recall.value == pytest.approx(2 / 4)


def test_an_interval_of_alpha_resamples_queries_and_holds_the_value() -> None:
    """Disaster: a hundred pairs of two queries passed off as a hundred independent ones."""
    units = [(1, 1), (2, 3), (0, 0), (3, 3), (1, 2), (0, 1)] * 4
    spread = alpha_by_query(units, list(range(24)), max_grade=3)
    clustered = alpha_by_query(units, [0] * 24, max_grade=3)
    assert spread is not None
    assert spread.low is not None
    assert spread.high is not None
    assert spread.low <= spread.value <= spread.high < 1.0
    assert clustered is not None
    assert (clustered.low, clustered.high) == (None, None)


def test_grades_that_do_not_match_are_refused() -> None:
    """Disaster: grades of two scales compared, or pairs shifted by one."""
    with pytest.raises(InputRefused, match="off the scale"):
        cohen_kappa([0, 4], [0, 1], max_grade=3)
    with pytest.raises(InputRefused, match="one of each"):
        cohen_kappa([0], [0, 1], max_grade=3)
    with pytest.raises(InputRefused, match="at least one"):
        agreement([], [], [], scale=Scale())
