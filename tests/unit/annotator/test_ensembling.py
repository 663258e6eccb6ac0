"""Votes counted as one answer, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.ensembling import (
    entropy,
    equal_share,
    first_second_distance,
    majority_grade,
    side_share,
    vote_shares,
)
from annotator.types import Scale

SCALE = Scale()
VOTES = st.lists(st.none() | st.integers(0, 3), max_size=7)


def test_shares_count_given_votes_alone() -> None:
    """Disaster: a failed call counted as a vote for grade 0."""
    assert vote_shares([2, None, 3, 2], SCALE) == pytest.approx((0, 0, 2 / 3, 1 / 3))
    assert vote_shares([None, None], SCALE) is None
    assert majority_grade([None], SCALE) is None


def test_a_vote_off_the_scale_is_refused() -> None:
    """Disaster: a 0-to-100 score of another prompt counted as a grade."""
    with pytest.raises(ValueError, match="vote 7"):
        vote_shares([1, 7], SCALE)


@pytest.mark.parametrize(
    ("votes", "grade"),
    [
        ([0, 0, 2, 2, 3], 2),  # three of five say relevant
        ([0, 0, 1, 3, 3], 0),  # three of five say not
        ([0, 3], 0),  # sides tie, both 1.5 from the mean: the lower
        ([1, 2], 1),
        ([0, 1, 3, 3], 3),  # no tie
        ([0, 1, 2, 3, None], 1),  # sides tie; 1 and 2 are nearest the mean 1.5: the lower
        ([2, 3], 2),
    ],
)
def test_ties_go_to_the_larger_side_then_the_middle_then_down(votes: list[int | None], grade: int) -> None:
    """Disaster: a tie broken by the order in which judges happened to answer."""
    assert majority_grade(votes, SCALE) == grade
    assert majority_grade(votes[::-1], SCALE) == grade


def test_disagreement_has_its_textbook_values() -> None:
    """Disaster: an even split that looks certain. By hand: ln 2; ½ − ½ = 0; shares .6, .4 give distance .2."""
    assert entropy((0.5, 0.0, 0.0, 0.5)) == pytest.approx(math.log(2))
    assert entropy((0.25,) * 4) == pytest.approx(math.log(4))
    assert entropy((0.0, 1.0, 0.0, 0.0)) == 0.0
    assert first_second_distance((0.5, 0.0, 0.0, 0.5)) == 0.0
    assert first_second_distance((0.6, 0.4, 0.0, 0.0)) == pytest.approx(0.2)
    assert equal_share((0.6, 0.4, 0.0, 0.0)) == pytest.approx(0.6)


def test_votes_for_two_grades_of_one_side_are_one_opinion() -> None:
    """Disaster: grades 2 and 3 counted against each other when only relevant or not matters."""
    assert side_share((0.2, 0.0, 0.4, 0.4), 3, SCALE) == pytest.approx(0.8)
    assert side_share((0.2, 0.0, 0.4, 0.4), 1, SCALE) == pytest.approx(0.2)


@given(VOTES)
def test_counts_stay_in_their_ranges(votes: list[int | None]) -> None:
    """Disaster: an entropy below 0 or a majority that nobody voted for."""
    shares = vote_shares(votes, SCALE)
    grade = majority_grade(votes, SCALE)
    if shares is None:
        assert grade is None
        return
    assert grade in votes
    assert sum(shares) == pytest.approx(1.0)
    assert 0.0 <= entropy(shares) <= math.log(4) + 1e-12
    assert 0.0 <= first_second_distance(shares) <= equal_share(shares) <= 1.0
    assert 0.0 <= side_share(shares, grade, SCALE) <= 1.0
