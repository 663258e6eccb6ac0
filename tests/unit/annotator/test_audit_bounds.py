"""The exact tails under the certificate, against enumeration with whole numbers."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.audit_bounds import (
    allowed_wrong,
    fixed_null,
    foreseen_nulls,
    lower_tail,
    lower_tail_table,
    p_of_remaining_error,
    upper_remaining_error,
)


def _exact_tail(found: int, population: int, wrong: int, drawn: int) -> float:
    ways = sum(comb(wrong, i) * comb(population - wrong, drawn - i) for i in range(min(found, drawn) + 1))
    return ways / comb(population, drawn)


@st.composite
def _samples(draw: st.DrawFn) -> tuple[int, int, int, int]:
    population = draw(st.integers(1, 300))
    wrong = draw(st.integers(0, population))
    drawn = draw(st.integers(0, population))
    return draw(st.integers(0, drawn)), population, wrong, drawn


@given(_samples())
def test_the_tail_is_that_of_whole_number_counting_and_never_smaller(sample: tuple[int, int, int, int]) -> None:
    """Prevents a rounding error from certifying what exact counting would refuse."""
    found, population, wrong, drawn = sample
    tail = float(lower_tail(found, population=population, wrong=wrong, drawn=drawn))
    exact = _exact_tail(found, population, wrong, drawn)
    assert tail == pytest.approx(exact, rel=1e-6, abs=1e-12)
    assert tail >= exact * (1 - 1e-12)
    table = lower_tail_table(found, population=np.array([population]), wrong=np.array([wrong]), drawn=np.array([drawn]))
    assert table[0, found] == pytest.approx(exact, rel=1e-6, abs=1e-12)


def test_the_tail_counts_the_samples_of_a_small_population() -> None:
    """Prevents a formula that agrees with another formula but not with drawing pairs from a box."""
    population, wrong, drawn = 9, 3, 4
    samples = list(combinations(range(population), drawn))
    for found in range(4):
        share = sum(sum(one < wrong for one in sample) <= found for sample in samples) / len(samples)
        assert float(lower_tail(found, population=population, wrong=wrong, drawn=drawn)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("population", "drawn", "epsilon"), [(12, 5, 0.1), (14, 7, 0.2), (40, 20, 0.1), (200, 60, 0.1)]
)
@pytest.mark.parametrize("level", [0.025, 0.1])
def test_the_remaining_error_is_above_epsilon_and_certified_no_more_often_than_the_level(
    population: int, drawn: int, epsilon: float, level: float
) -> None:
    """Prevents a bound that holds for the audited pairs together with the rest, but not for what is accepted."""
    for wrong in range(population + 1):
        chance = 0.0
        for found in range(max(0, drawn - population + wrong), min(drawn, wrong) + 1):
            passes = p_of_remaining_error(found, population=population, drawn=drawn, epsilon=epsilon) <= level
            if passes and wrong - found > epsilon * (population - drawn):
                chance += comb(wrong, found) * comb(population - wrong, drawn - found) / comb(population, drawn)
        assert chance <= level


def test_a_hand_computed_p_value() -> None:
    """Prevents an off-by-one in how many wrong pairs are tested: 20 pairs, 10 audited, none wrong, ε = 10 %.

    One wrong pair may remain, so two are tested: (10·9)/(20·19) = .2368.
    """
    assert p_of_remaining_error(0, population=20, drawn=10, epsilon=0.1) == pytest.approx(90 / 380)
    assert p_of_remaining_error(0, population=10, drawn=10, epsilon=0.1) == 0.0


@given(st.integers(1, 120), st.data())
def test_the_upper_bound_and_the_p_value_are_one_test(unaudited: int, data: st.DataObject) -> None:
    """Prevents a screen whose bound says 9 % where the test says that 10 % is not shown."""
    drawn = data.draw(st.integers(0, 60))
    found = data.draw(st.integers(0, drawn))
    bound = upper_remaining_error(found, population=unaudited + drawn, drawn=drawn, level=0.025)
    for epsilon in (0.05, 0.1, 0.3):
        p = p_of_remaining_error(found, population=unaudited + drawn, drawn=drawn, epsilon=epsilon)
        assert (p <= 0.025) == (bound <= int(allowed_wrong(unaudited, epsilon)) / unaudited)


@pytest.mark.parametrize(("population", "frame", "drawn"), [(6, 10, 5), (10, 10, 4), (30, 50, 20), (8, 60, 30)])
@pytest.mark.parametrize("level", [0.01, 0.2])
def test_fewer_wrong_pairs_than_the_null_seldom_leave_too_many(
    population: int, frame: int, drawn: int, level: float
) -> None:
    """Prevents step 1 of the certificate's proof from failing: counted over every split of the sample."""
    epsilon = 0.2
    null = fixed_null(population=population, frame=frame, drawn=drawn, epsilon=epsilon, level=level)

    def risk(wrong: int) -> float:
        total = 0.0
        for inside in range(max(0, drawn - frame + population), min(drawn, population) + 1):
            for found in range(max(0, inside - population + wrong), min(inside, wrong) + 1):
                if wrong - found > epsilon * (population - inside) + 1e-9:
                    right = population - wrong
                    ways = comb(wrong, found) * comb(right, inside - found) * comb(frame - population, drawn - inside)
                    total += ways / comb(frame, drawn)
        return total

    assert all(risk(wrong) <= level for wrong in range(min(null, population + 1)))
    assert null > population or risk(null) > level * 0.99


def test_planned_nulls_are_near_the_exact_ones() -> None:
    """Prevents a plan that foresees coverage which the certificate then cannot give."""
    sizes = np.array([400, 2000, 5000])
    planned = foreseen_nulls(populations=sizes, inside=sizes * 300 // 5000, epsilon=0.1, level=1e-4)
    exact = [fixed_null(population=int(size), frame=5000, drawn=300, epsilon=0.1, level=1e-4) for size in sizes]
    assert np.abs(planned - exact).max() <= 3
