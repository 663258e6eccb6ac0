"""Probabilities read from tokens and from words."""

from __future__ import annotations

import math

import pytest

from annotator.confidence import TokenLogprob, side_probability, token_distribution, verbal_confidence
from annotator.types import Scale

SCALE = Scale()


def grade_token(token: str = "2", **rivals: float) -> TokenLogprob:
    alternatives = tuple((name.removeprefix("g"), math.log(p)) for name, p in rivals.items())
    return TokenLogprob(offset=10, token=token, logprob=math.log(0.5), alternatives=alternatives)


def test_probabilities_are_renormalised_over_the_grades_alone() -> None:
    """Disaster: mass on words that are no grade lowering every confidence (.5 / (.5 + .25 + .05) = .625 by hand)."""
    entry = grade_token(g2=0.5, g3=0.25, g1=0.05, the=0.2)
    found = token_distribution([entry], grade_at=10, grade=2, scale=SCALE)
    assert found == pytest.approx((0.0, 0.0625, 0.625, 0.3125))


def test_two_writings_of_one_grade_add_up() -> None:
    """Disaster: ' 2' and '2' counted as rivals."""
    entry = TokenLogprob(9, " 2", math.log(0.4), ((" 2", math.log(0.4)), ("2", math.log(0.4)), (" 0", math.log(0.2))))
    found = token_distribution([entry], grade_at=10, grade=2, scale=SCALE)
    assert found == pytest.approx((0.2, 0.0, 0.8, 0.0))


def test_a_token_missing_from_its_own_alternatives_still_counts() -> None:
    """Disaster: the chosen grade given probability 0 because the server lists rivals only."""
    entry = grade_token(g3=0.5)
    assert token_distribution([entry], grade_at=10, grade=2, scale=SCALE) == pytest.approx((0.0, 0.0, 0.5, 0.5))


@pytest.mark.parametrize(
    ("entry", "grade_at", "scale"),
    [
        (grade_token(g2=0.5), None, SCALE),
        (grade_token(g2=0.5), 30, SCALE),
        (grade_token("2,", g2=0.5), 10, SCALE),
        (grade_token("3", g3=0.5), 10, SCALE),
        (TokenLogprob(10, "2", float("-inf"), ()), 10, SCALE),
        (grade_token(g2=0.5), 10, Scale(max_grade=10, relevant_from=5)),
    ],
    ids=["after reasoning", "no such token", "more than a grade", "another grade", "impossible", "two digits"],
)
def test_unsound_readings_give_none(entry: TokenLogprob, grade_at: int | None, scale: Scale) -> None:
    """Disaster: some other token's probability taken for that of the grade."""
    assert token_distribution([entry], grade_at=grade_at, grade=2, scale=scale) is None
    assert token_distribution(None, grade_at=10, grade=2, scale=SCALE) is None
    assert token_distribution([], grade_at=10, grade=2, scale=SCALE) is None


def test_confidence_is_about_the_side_and_not_the_exact_grade() -> None:
    """Disaster: a sure 'relevant' that looks unsure because 2 and 3 share the mass."""
    spread = (0.05, 0.1, 0.4, 0.45)
    assert side_probability(spread, grade=2, scale=SCALE) == pytest.approx(0.85)
    assert side_probability(spread, grade=1, scale=SCALE) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("stated", "read"),
    [(0.9, 0.9), (1, 1.0), (0, 0.0), ("0.4", 0.4), (" 85% ", 0.85), ("100%", 1.0)],
)
def test_a_stated_probability_is_read(stated: object, read: float) -> None:
    """Disaster: a confidence lost for its writing."""
    assert verbal_confidence(stated) == pytest.approx(read)


@pytest.mark.parametrize("stated", [True, None, 85, "85", "120%", -1, "nan", "inf", "sure", [1], 10**400])
def test_a_number_that_is_no_probability_is_not_read(stated: object) -> None:
    """Disaster: a guess about what the judge meant by 85."""
    assert verbal_confidence(stated) is None
