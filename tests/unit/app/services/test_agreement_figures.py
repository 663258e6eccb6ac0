"""κ and α of many resamples at once: the same numbers as one at a time, and nothing told of too little."""

from __future__ import annotations

import numpy as np
import pytest

from annotator.agreement import Level, Weighting, cohen_kappa, krippendorff_alpha
from app.services.agreement_figures import (
    LEAST_PAIRS,
    MOST_QUESTIONS,
    alpha_figure,
    alphas,
    kappa_figure,
    kappas,
    resampled_weights,
)

WEIGHTS = resampled_weights()


def rated(n: int = 60, questions: int = 12, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two raters who agree on three grades of four; n pairs, spread over the questions."""
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 4, n)
    second = np.where(generator.random(n) < 0.75, first, generator.integers(0, 4, n))
    return first, second, np.arange(n) % questions


def test_many_tables_give_the_kappas_of_each_alone() -> None:
    """Bounds that are bounds of another coefficient than the value between them."""
    first, second, _ = rated()
    often = np.random.default_rng(0).poisson(1.0, size=(7, 60))
    tables = np.stack([np.bincount(first * 4 + second, weights=w, minlength=16).reshape(4, 4) for w in often])
    one_by_one = [
        cohen_kappa(np.repeat(first, w), np.repeat(second, w), max_grade=3, weighting=Weighting.QUADRATIC)
        for w in often
    ]
    assert kappas(tables) == pytest.approx(one_by_one)


def test_many_tables_give_the_alphas_of_each_alone() -> None:
    """The same for α, with pairs of two and of three raters."""
    generator = np.random.default_rng(3)
    units = [[int(g) for g in generator.integers(0, 4, size)] for size in generator.integers(2, 4, 30)]
    often = generator.poisson(1.0, size=(5, 30)).astype(float)
    tables = []
    for w in often:
        table = np.zeros((4, 4))
        for unit, weight in zip(units, w, strict=True):
            for i, a in enumerate(unit):
                for j, b in enumerate(unit):
                    if i != j:
                        table[a, b] += weight / (len(unit) - 1)
        tables.append(table)
    one_by_one = [krippendorff_alpha(units, max_grade=3, level=Level.ORDINAL, weights=w) for w in often]
    assert alphas(np.stack(tables)) == pytest.approx(one_by_one)


def test_kappa_weighs_a_wide_disagreement_by_its_square() -> None:
    """0 against 3 counted like 2 against 3 would call a careless rater a careful one."""
    # 24 pairs, grades 0 and 3 in equal parts by the first; the second moves 4 of 24 by one grade, or all the way.
    first = np.array([0, 3] * 12)
    near, far = first.copy(), first.copy()
    near[:4] = [1, 2, 1, 2]
    far[:4] = [3, 0, 3, 0]
    questions = np.arange(24) % 6
    # far: observed 4 · 9 of 24; by chance half of the pairs differ: 12 · 9. 1 − 36 / 108 = 2 / 3.
    assert kappa_figure(first, far, questions, max_grade=3, weights=WEIGHTS).value == pytest.approx(2 / 3)
    # near: observed 4 · 1. By chance: 0 meets 0, 1, 2, 3 with 10, 2, 2, 10 of 24, and so does 3 backwards:
    # 12 · (2 · 1 + 2 · 4 + 10 · 9) / 24 = 50 for either, 100 together. 1 − 4 / 100.
    assert kappa_figure(first, near, questions, max_grade=3, weights=WEIGHTS).value == pytest.approx(0.96)


def test_a_figure_of_too_little_is_not_told_and_says_of_how_much() -> None:
    """A κ of 1.00 from three pairs, read as if it meant something."""
    first, second, questions = rated(LEAST_PAIRS - 1)
    found = kappa_figure(first, second, questions, max_grade=3, weights=WEIGHTS)
    assert (found.too_few, found.value, found.n, found.n_questions) == (True, None, LEAST_PAIRS - 1, 12)
    first, second, _ = rated(60)
    one_question = kappa_figure(first, second, np.zeros(60, dtype=np.int64), max_grade=3, weights=WEIGHTS)
    assert (one_question.too_few, one_question.value, one_question.n_questions) == (True, None, 1)
    alone = alpha_figure(np.eye(4)[first], np.arange(60), weights=WEIGHTS)
    assert (alone.too_few, alone.n) == (True, 0)


def test_raters_who_only_know_one_grade_get_no_figure() -> None:
    """0 / 0 shown as agreement."""
    same = np.zeros(30, dtype=np.int64)
    found = kappa_figure(same, same, np.arange(30), max_grade=3, weights=WEIGHTS)
    assert (found.too_few, found.value, found.low, found.same) == (False, None, None, 1.0)
    counts = np.zeros((30, 4))
    counts[:, 0] = 2
    assert alpha_figure(counts, np.arange(30), weights=WEIGHTS).value is None


def test_the_interval_goes_by_questions_not_by_pairs() -> None:
    """Ten copies of each pair would shrink an interval that takes pairs of one question for independent."""
    first, second, questions = rated()
    once = kappa_figure(first, second, questions, max_grade=3, weights=WEIGHTS)
    tenfold = kappa_figure(
        np.repeat(first, 10), np.repeat(second, 10), np.repeat(questions, 10), max_grade=3, weights=WEIGHTS
    )
    assert once.low < once.value < once.high
    assert (tenfold.value, tenfold.low, tenfold.high) == pytest.approx((once.value, once.low, once.high))
    assert tenfold.n == 600


def test_the_interval_is_about_that_of_drawing_whole_questions() -> None:
    """A bootstrap that is quick and wrong."""
    first, second, questions = rated(400, questions=80, seed=5)
    found = kappa_figure(first, second, questions, max_grade=3, weights=WEIGHTS)
    generator = np.random.default_rng(8)
    values = []
    for _ in range(600):
        drawn = np.concatenate([np.flatnonzero(questions == q) for q in generator.integers(0, 80, 80)])
        values.append(cohen_kappa(first[drawn], second[drawn], max_grade=3, weighting=Weighting.QUADRATIC))
    low, high = np.quantile(values, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_more_questions_than_are_resampled_still_have_an_interval_around_all_of_them() -> None:
    """A value of all pairs outside of an interval of some."""
    n = MOST_QUESTIONS + 500
    first, second, _ = rated(n)
    found = kappa_figure(first, second, np.arange(n), max_grade=3, weights=WEIGHTS)
    whole = cohen_kappa(first, second, max_grade=3, weighting=Weighting.QUADRATIC)
    assert found.value == whole
    assert found.low < whole < found.high
    assert found.high - found.low < 0.2
