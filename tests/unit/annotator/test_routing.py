"""The bare threshold: accepts what is sure enough, and calls it uncertified."""

from __future__ import annotations

import pytest

from annotator.errors import AnnotatorError, PolicyInvalid
from annotator.routing import BareThreshold, CertifiedThreshold, Outcome
from annotator.types import ConfidenceKind, Proposal, Scale, SuggestionStatus, Usage

SCALE = Scale()


def proposal(grade: int | None, confidence: float | None) -> Proposal:
    return Proposal(
        pair_id=1,
        status=SuggestionStatus.UNREADABLE if grade is None else SuggestionStatus.OK,
        grade=grade,
        grade_distribution=None,
        confidence=confidence,
        confidence_kind=None if confidence is None else ConfidenceKind.VERBAL,
        evidence=None,
        evidence_dropped=False,
        reason="",
        raw_reply="",
        usage=Usage(),
    )


@pytest.mark.parametrize(
    ("grade", "confidence", "outcome"),
    [
        (3, 0.95, Outcome.ACCEPTED),
        (2, 0.8, Outcome.ACCEPTED),
        (2, 0.79, Outcome.REJECTED),
        (1, 0.95, Outcome.REJECTED),
        (1, 0.97, Outcome.ACCEPTED),
        (0, 1.0, Outcome.ACCEPTED),
        (3, None, Outcome.REJECTED),
        (None, None, Outcome.REJECTED),
        (7, 1.0, Outcome.REJECTED),
    ],
)
def test_each_side_has_its_own_threshold(grade: int | None, confidence: float | None, outcome: Outcome) -> None:
    """Disaster: an unreadable or unsure suggestion accepted without anyone seeing it."""
    policy = BareThreshold(threshold_relevant=0.8, threshold_irrelevant=0.97)
    assert policy.decide(proposal(grade, confidence), SCALE).outcome is outcome


def test_what_is_accepted_is_called_uncertified() -> None:
    """Disaster: a bare threshold sold as an error bound."""
    assert "uncertified" in BareThreshold().decide(proposal(3, 0.99), SCALE).why


def test_every_decision_says_why() -> None:
    """Disaster: an audit queue in which nobody knows why a pair is there."""
    for given in (proposal(3, 0.5), proposal(0, None), proposal(None, None)):
        assert BareThreshold().decide(given, SCALE).why


def test_the_version_changes_with_the_parameters_and_with_nothing_else() -> None:
    """Disaster: decisions of two policies that look like one."""
    assert BareThreshold().version == BareThreshold(0.9, 0.9).version
    assert len({BareThreshold().version, BareThreshold(0.8).version, BareThreshold(0.9, 0.8).version}) == 3


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    """Disaster: a threshold of 90 that rejects everything, or NaN that does so in silence."""
    with pytest.raises(PolicyInvalid) as caught:
        BareThreshold(threshold_relevant=threshold)
    assert isinstance(caught.value, AnnotatorError)


@pytest.mark.parametrize(
    ("relevant", "confidence", "audited", "outcome", "word"),
    [
        (False, 0.9, False, Outcome.ACCEPTED, "certified: not relevant"),
        (False, 0.899, False, Outcome.REJECTED, "below the certified threshold"),
        (False, 0.99, True, Outcome.REJECTED, "a person's grade stands"),
        (True, 1.0, False, Outcome.REJECTED, "nothing of this class is certified"),
    ],
)
def test_a_certified_policy_accepts_only_what_its_certificate_covers(
    relevant: bool, confidence: float, audited: bool, outcome: Outcome, word: str
) -> None:
    """A class that failed its audit is accepted along with the one that passed."""
    policy = CertifiedThreshold(batch="b", threshold_irrelevant=0.9, threshold_relevant=None, epsilon=0.1, delta=0.05)
    decision = policy.decide(relevant=relevant, confidence=confidence, audited=audited)
    assert decision.outcome is outcome
    assert word in decision.why
    assert "uncertified" not in decision.why


def test_certified_policies_of_two_batches_are_two_versions() -> None:
    """One batch's thresholds decide on another's pairs under the same name."""
    versions = {
        CertifiedThreshold(
            batch=batch, threshold_irrelevant=0.9, threshold_relevant=None, epsilon=0.1, delta=0.05
        ).version
        for batch in ("a", "b")
    }
    assert len(versions) == 2
