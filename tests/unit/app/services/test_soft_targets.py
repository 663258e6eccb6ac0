"""Soft targets: a proposal in doubt is never a certain example, and never weighs what a person's grade does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.types import Scale
from app.services.label_weights import ACCEPTED_WEIGHT, CERTIFIED_WEIGHT, PROPOSED_WEIGHT
from app.services.soft_targets import soft_grade, soft_weight
from retriever.training_lists import is_negative, is_positive
from retriever.types import LabelledPassage, TrainingSettings

SCALE = Scale()
SETTINGS = TrainingSettings()


def passage(grade: float) -> LabelledPassage:
    return LabelledPassage(passage_id="p", text="t", grade=grade)


@pytest.mark.parametrize(
    ("grade", "p", "expected"),
    [
        (3, 0.9, 2.7),  # .9 · 3
        (2, 0.9, 2.0),  # .9 · 2 = 1.8, kept on its side
        (0, 0.1, 0.2),  # .1 · 2
        (1, 0.1, 1.1),  # .1 · 2 + .9 · 1
        (3, 0.5, 1.5),
        (0, 0.3, 0.6),
        (0, 0.9, 1.8),  # the calibrator contradicts the judge
        (3, 0.05, 0.5),  # .15, kept off the negatives
    ],
)
def test_the_expected_grade_by_hand(grade: int, p: float, expected: float) -> None:
    """A formula that drifts turns doubts into certainties."""
    assert soft_grade(grade, p, SCALE) == pytest.approx(expected)


@given(grade=st.integers(0, 3), p=st.floats(0, 1))
def test_a_proposal_in_doubt_is_neither_a_positive_nor_a_negative(grade: int, p: float) -> None:
    """The judge's mistakes are trained in as if people had made sure of them."""
    found = passage(soft_grade(grade, p, SCALE))
    proposed = SCALE.is_relevant(grade)
    if is_positive(found, SETTINGS):
        assert proposed
        assert p >= 0.8
    if is_negative(found):
        assert not proposed
        assert p <= 0.25
    assert 0 <= found.grade <= SCALE.max_grade


@given(p=st.floats(0, 1))
def test_what_nobody_accepted_weighs_less_than_all_else(p: float) -> None:
    """A thousand unchecked proposals outvote what people said."""
    assert 0 < soft_weight(p) <= PROPOSED_WEIGHT < ACCEPTED_WEIGHT < CERTIFIED_WEIGHT < 1.0
    assert soft_weight(p) == pytest.approx(soft_weight(1.0 - p))
