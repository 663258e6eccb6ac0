import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.audit_value import AuditCase, audit_order, audit_value, p_of_grade, score_threshold
from annotator.errors import InputRefused
from annotator.types import Scale


def test_value_is_doubt_times_reach_worked_out_by_hand() -> None:
    """A wrong formula sends people to pairs whose answers change nothing."""
    # doubt 4 · .8 · .2 = .64; reach: rank 3 gives 1/log2(4) = .5, a margin of −.1 gives 1/e
    case = AuditCase(p_relevant=0.8, rank=3, margin=-0.1)
    assert audit_value(case) == pytest.approx(0.64 * (0.5 + math.exp(-1)) / 2, rel=1e-12)
    assert audit_value(AuditCase(p_relevant=0.8)) == pytest.approx(0.64, rel=1e-12)
    assert audit_value(AuditCase(p_relevant=0.8, rank=1)) == pytest.approx(0.64, rel=1e-12)


def test_judges_who_disagree_make_a_sure_pair_doubtful() -> None:
    """A confident judge contradicted by another is exactly the case for a person."""
    assert audit_value(AuditCase(p_relevant=1.0, disagreement=0.9)) == pytest.approx(0.9)
    assert audit_value(AuditCase(p_relevant=0.5, disagreement=0.1)) == pytest.approx(1.0)
    assert audit_value(AuditCase(p_relevant=1.0)) == 0.0


@given(
    p=st.floats(0, 1),
    rank=st.none() | st.integers(1, 10_000),
    margin=st.none() | st.floats(-2, 2),
    disagreement=st.none() | st.floats(0, 1),
)
def test_value_is_a_share_and_falls_with_rank_and_distance(
    p: float, rank: int | None, margin: float | None, disagreement: float | None
) -> None:
    """Values of one queue must compare, and a pair further down or further off is never worth more."""
    value = audit_value(AuditCase(p, rank, margin, disagreement))
    assert 0.0 <= value <= 1.0
    if rank is not None:
        assert audit_value(AuditCase(p, rank + 1, margin, disagreement)) <= value
    if margin is not None:
        assert audit_value(AuditCase(p, rank, 2 * margin, disagreement)) <= value


def test_a_grade_next_to_the_threshold_is_more_doubtful_than_one_far_off() -> None:
    """Without any confidence, grade 1 or 2 of 3 is where a judge and a person part."""
    scale = Scale()
    chances = [p_of_grade(grade, scale) for grade in scale.grades]
    assert chances == sorted(chances)
    assert chances[1] == pytest.approx(1 / (1 + math.exp(0.5)))
    assert chances[2] == pytest.approx(1 - chances[1])
    doubts = [audit_value(AuditCase(p)) for p in chances]
    assert doubts[1] == pytest.approx(doubts[2])
    assert doubts[1] > doubts[0]


def test_the_threshold_lies_between_the_medians_of_both_sides() -> None:
    """One far outlier must not move where the sides meet."""
    assert score_threshold([0.9, 0.5, 0.7, 0.1, 0.3, -1.0], [True, True, True, False, False, False]) == pytest.approx(
        (0.7 + 0.1) / 2
    )
    assert score_threshold([0.9, 0.5], [True, True]) is None
    assert score_threshold([], []) is None


def test_the_order_is_by_value_and_draws_the_share_asked_for() -> None:
    """Without draws the calibrator never sees the sure side; with only draws the value order is gone."""
    values = [0.1, 0.9, 0.5, 0.9, 0.0]
    assert audit_order(values, seed=0, explored=0.0).tolist() == [1, 3, 2, 0, 4]
    many = np.linspace(1, 0, 1000).tolist()
    order = audit_order(many, seed=1, explored=0.2)
    # Of the first 100 places 80 go by value; drawn ones among the best are simply not taken twice.
    best = set(range(100))
    assert 80 <= sum(int(at) in best for at in order[:100]) <= 90
    assert all(int(at) < 110 for place, at in enumerate(order[:100]) if (place + 1) % 5)
    drawn = audit_order(many, seed=1, explored=1.0)
    assert drawn.tolist() == np.random.default_rng(1).permutation(1000).tolist()


@given(
    values=st.lists(st.floats(0, 1), max_size=40), seed=st.integers(0, 5), explored=st.sampled_from([0, 0.2, 0.5, 1])
)
def test_every_pair_is_audited_once_in_a_repeatable_order(values: list[float], seed: int, explored: float) -> None:
    """A pair left out is never asked about; one twice wastes a person's time."""
    order = audit_order(values, seed=seed, explored=explored).tolist()
    assert sorted(order) == list(range(len(values)))
    assert audit_order(values, seed=seed, explored=explored).tolist() == order


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (AuditCase(1.2), "p_relevant"),
        (AuditCase(math.nan), "p_relevant"),
        (AuditCase(0.5, rank=0), "rank"),
        (AuditCase(0.5, margin=math.nan), "margin"),
        (AuditCase(0.5, disagreement=-0.1), "disagreement"),
    ],
)
def test_numbers_out_of_range_are_refused(case: AuditCase, says: str) -> None:
    """A NaN sorts anywhere, and the whole queue with it."""
    with pytest.raises(InputRefused, match=says):
        audit_value(case)
    with pytest.raises(InputRefused, match="explored"):
        audit_order([0.5], seed=0, explored=1.5)
