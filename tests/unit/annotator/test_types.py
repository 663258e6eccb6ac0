"""Values that cannot contradict themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from annotator.errors import ScaleInvalid
from annotator.types import ConfidenceKind, Proposal, Scale, SuggestionStatus, Usage

READ = Proposal(1, SuggestionStatus.OK, 2, None, 0.9, ConfidenceKind.VERBAL, None, False, "", "", Usage())


def test_the_default_scale_is_relevant_from_partly_answers() -> None:
    """Disaster: 'related' counted as relevant."""
    scale = Scale()
    assert [scale.is_relevant(grade) for grade in scale.grades] == [False, False, True, True]
    assert scale.labels == ("unrelated", "related", "partly answers", "answers")


def test_a_shorter_scale_gets_labels_of_its_own() -> None:
    """Disaster: a binary scale whose 1 is shown as 'related'."""
    assert Scale(max_grade=1, relevant_from=1).labels == ("grade 0 of 1", "grade 1 of 1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_grade": 0, "relevant_from": 0},
        {"relevant_from": 0},
        {"relevant_from": 4},
        {"labels": ("a", "b")},
        {"labels": ("a", "b", "c", "c")},
        {"labels": ("a", "b", "c", " ")},
    ],
)
def test_a_scale_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    """Disaster: every grade relevant, or none, for a typing mistake."""
    with pytest.raises(ScaleInvalid):
        Scale(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"grade": None},
        {"status": SuggestionStatus.UNREADABLE},
        {"confidence": None},
        {"confidence_kind": None},
        {"confidence": 1.5},
        {"confidence": float("nan")},
        {"grade_distribution": (0.5, 0.1, 0.1, 0.1)},
    ],
)
def test_a_proposal_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    """Disaster: an unreadable reply with a grade, or a confidence of no kind."""
    with pytest.raises(ValueError, match="pair 1"):
        replace(READ, **wrong)  # type: ignore[arg-type]
