"""The retriever as a judge: what it proposes, who it is, and what it refuses."""

from __future__ import annotations

import json

import pytest

from annotator.errors import InputRefused
from annotator.judges.base import Judge, collect
from annotator.judges.retriever_judge import RetrieverJudge
from annotator.self_labels import SelfLabelClassifier, list_signals
from annotator.types import (
    ConfidenceKind,
    JudgeFailure,
    JudgeKind,
    JudgeRequest,
    Proposal,
    RetrievalSignals,
    Scale,
)

BEST = (0.9, 0.6, 0.5, 0.2)
SURE_OF_THE_LEADER = SelfLabelClassifier(
    features=("lead",),
    means=(0.0,),
    spreads=(0.1,),
    intercept=0.0,
    weights=(1.0,),
    n_pairs=100,
    n_relevant=50,
    n_groups=10,
)
AGREEING = SelfLabelClassifier(
    features=("lead", "log_probability_change", "log_rank_change"),
    means=(0.0, 0.0, 0.0),
    spreads=(0.1, 1.0, 1.0),
    intercept=0.0,
    weights=(1.0, -1.0, 0.0),
    n_pairs=100,
    n_relevant=50,
    n_groups=10,
)


def request(pair_id: int, score: float | None, *, score_before: float | None = None) -> JudgeRequest:
    listed = None if score is None else list_signals(score, BEST)
    before = None if score_before is None else list_signals(score_before, BEST)
    signals = RetrievalSignals(listed=listed, listed_before=before)
    return JudgeRequest(pair_id, "why is the sky blue", None, "", "Light scatters.", signals)


def test_it_proposes_the_ends_of_the_scale_with_a_retriever_confidence() -> None:
    """A proposal with a middle grade, or with a confidence of another kind, could be certified as what it is not."""
    judge: Judge = RetrieverJudge(SURE_OF_THE_LEADER, model_hash="a" * 64, scale=Scale())
    first, last = collect(judge, [request(1, 0.9), request(2, 0.2)])
    assert isinstance(first, Proposal)
    assert isinstance(last, Proposal)
    # Leads of 0.3 and −0.7 are 3 and −7 spreads: 1 / (1 + e^−3) and 1 / (1 + e^−7) on their sides.
    assert (first.grade, first.confidence) == (3, pytest.approx(0.952574))
    assert (last.grade, last.confidence) == (0, pytest.approx(0.999089))
    assert {first.confidence_kind, last.confidence_kind} == {ConfidenceKind.RETRIEVER}
    assert first.grade_distribution is None
    assert first.usage.cost_usd == 0.0


def test_a_pair_the_live_model_was_not_asked_about_is_a_failure_and_no_guess() -> None:
    """A missing signal read as zero would be a label out of nothing."""
    (result,) = collect(RetrieverJudge(SURE_OF_THE_LEADER, model_hash="a" * 64), [request(5, None)])
    assert isinstance(result, JudgeFailure)
    assert result.pair_id == 5
    assert result.retryable


def test_its_identity_changes_with_either_model_and_with_the_classifier() -> None:
    """A certificate that outlived the model would vouch for labels nobody audited."""
    made = [
        RetrieverJudge(SURE_OF_THE_LEADER, model_hash="a" * 64),
        RetrieverJudge(SURE_OF_THE_LEADER, model_hash="b" * 64),
        RetrieverJudge(AGREEING, model_hash="a" * 64, model_before_hash="b" * 64),
        RetrieverJudge(AGREEING, model_hash="a" * 64, model_before_hash="c" * 64),
    ]
    identities = {
        (judge.identity.name, judge.identity.prompt_version, json.dumps(dict(judge.identity.parameters)))
        for judge in made
    }
    assert len(identities) == 4
    assert all(judge.identity.kind is JudgeKind.RETRIEVER and judge.identity.certifiable for judge in made)
    same = RetrieverJudge(SURE_OF_THE_LEADER, model_hash="a" * 64, model_before_hash="c" * 64)
    assert same.identity == made[0].identity  # a model it never looks at is no part of it


def test_disagreement_with_the_model_before_makes_it_less_sure() -> None:
    """A passage that only the last training lifted is not one the retriever is well-trained on."""
    judge = RetrieverJudge(AGREEING, model_hash="a" * 64, model_before_hash="b" * 64)
    agreeing = judge.propose(request(1, 0.9, score_before=0.9))
    disagreeing = judge.propose(request(1, 0.9, score_before=0.85))
    assert agreeing.confidence is not None
    assert disagreeing.confidence is not None
    assert agreeing.confidence > disagreeing.confidence


def test_a_classifier_that_looks_at_the_model_before_needs_its_name() -> None:
    """Without it two judges with different features would share one identity."""
    with pytest.raises(InputRefused):
        RetrieverJudge(AGREEING, model_hash="a" * 64)
