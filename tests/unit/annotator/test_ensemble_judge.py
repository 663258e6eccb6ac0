"""Several judges as one: votes counted once, nothing paid for twice, no vote lost or invented."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from annotator.judges.base import collect
from annotator.judges.ensemble import EnsembleJudge, MemberVote
from annotator.judges.scripted import Scripted, ScriptedJudge
from annotator.types import (
    ConfidenceKind,
    Criterion,
    JudgeFailure,
    JudgeIdentity,
    JudgeKind,
    JudgeRequest,
    Proposal,
    Scale,
    SuggestionStatus,
)


def request(pair_id: int) -> JudgeRequest:
    return JudgeRequest(pair_id, f"q{pair_id}", None, "", "p")


def members(*grades: Mapping[int, Scripted]) -> list[ScriptedJudge]:
    return [ScriptedJudge(script, name=f"member/{number}") for number, script in enumerate(grades)]


def the_only(results: Sequence[Proposal | JudgeFailure]) -> Proposal:
    (result,) = results
    assert isinstance(result, Proposal)
    return result


def test_the_majority_is_proposed_and_confidence_is_the_share_of_votes_on_its_side() -> None:
    """Disaster: votes for 2 and 3, which agree that the passage is relevant, counted against each other."""
    judge = EnsembleJudge(members({1: 3}, {1: 3}, {1: 2}, {1: 0}), scale=Scale())
    proposal = the_only(collect(judge, [request(1)]))
    assert (proposal.grade, proposal.confidence, proposal.confidence_kind) == (3, 0.75, ConfidenceKind.VOTES)
    assert proposal.grade_distribution == (0.25, 0.0, 0.25, 0.5)
    assert proposal.context is not None
    assert proposal.context["entropy"] == pytest.approx(0.5 * math.log(2) + 2 * 0.25 * math.log(4))
    assert proposal.context["first_second_distance"] == pytest.approx(0.25)
    assert proposal.reason == "2 of 4 votes for 3"


def test_every_member_and_its_grade_is_named_in_the_context() -> None:
    """Disaster: a label of which nobody can say who voted for it."""
    judge = EnsembleJudge(members({1: 3}, {1: None}, {1: 3}), scale=Scale())
    proposal = the_only(collect(judge, [request(1)]))
    assert proposal.context is not None
    said = proposal.context["members"]
    assert isinstance(said, list)
    assert [(m["judge"], m["grade"]) for m in said] == [("member/0", 3), ("member/1", None), ("member/2", 3)]
    assert proposal.reason == "2 of 2 votes for 3, 1 unreadable"
    assert proposal.confidence == 1.0


def test_one_readable_vote_is_no_ensemble_and_no_grade() -> None:
    """Disaster: unreadable replies counted as grade 0, or one voice sold as unanimity."""
    judge = EnsembleJudge(members({1: 3}, {1: None}), scale=Scale())
    proposal = the_only(collect(judge, [request(1)]))
    assert (proposal.status, proposal.grade) == (SuggestionStatus.UNREADABLE, None)
    assert proposal.confidence is None


def test_a_member_without_a_reply_fails_the_pair_and_later_members_are_not_asked_in_vain() -> None:
    """Disaster: an ensemble of five silently becomes one of four, or pays for votes that cannot be used."""
    failing = JudgeFailure(1, "HTTP 500", retryable=True)
    asked = members({1: 3, 2: 1}, {1: failing, 2: 1}, {1: 3, 2: 1})
    results = {r.pair_id: r for r in collect(EnsembleJudge(asked, scale=Scale()), [request(1), request(2)])}
    assert results[1] == JudgeFailure(1, "member/1: HTTP 500", retryable=True)
    assert isinstance(results[2], Proposal)
    assert [[r.pair_id for r in member.asked] for member in asked] == [[1, 2], [1, 2], [2]]


def test_what_a_member_has_said_already_is_read_and_not_asked_for_again() -> None:
    """Disaster: six paid judges asked again because somebody wants to see them together."""
    asked = members({1: 0, 2: 0}, {1: 3, 2: 3}, {1: 3, 2: 3})

    def stored(identity: JudgeIdentity, requests: Sequence[JudgeRequest]) -> Mapping[int, MemberVote]:
        vote = MemberVote(3, 0.7, ConfidenceKind.VERBAL, suggestion_id=55)
        return {1: vote} if identity.name != "member/2" else {1: vote, 2: vote}

    judge = EnsembleJudge(asked, scale=Scale(), stored=stored)
    results = {r.pair_id: r for r in collect(judge, [request(1), request(2)])}
    assert [[r.pair_id for r in member.asked] for member in asked] == [[2], [2], []]
    first, second = results[1], results[2]
    assert isinstance(first, Proposal)
    assert isinstance(second, Proposal)
    assert (first.grade, first.confidence, first.usage.cached) == (3, 1.0, True)
    assert first.usage.prompt_tokens == 0
    assert (second.grade, second.reason) == (3, "2 of 3 votes for 3")
    assert second.usage.prompt_tokens == 200


def test_the_identity_tells_which_members_vote_and_changes_with_any_of_them() -> None:
    """Disaster: suggestions of two different juries calibrated as one judge."""
    two = EnsembleJudge(members({}, {}), scale=Scale()).identity
    three = EnsembleJudge(members({}, {}, {}), scale=Scale()).identity
    assert (two.kind, two.criterion) == (JudgeKind.ENSEMBLE, Criterion.RELEVANCE)
    assert two.prompt_version != three.prompt_version
    doubtful = [*members({}), ScriptedJudge({}, name="doubtful", certifiable=False)]
    assert not EnsembleJudge(doubtful, scale=Scale()).identity.certifiable


def test_impossible_juries_are_refused() -> None:
    """Disaster: one prompt asked twice, which mostly repeats itself; or relevance and utility voting together."""
    with pytest.raises(ValueError, match="nobody to agree with"):
        EnsembleJudge(members({}), scale=Scale())
    with pytest.raises(ValueError, match="same judge"):
        EnsembleJudge([ScriptedJudge({}, name="a"), ScriptedJudge({}, name="a")], scale=Scale())
    mixed = [ScriptedJudge({}, name="a"), ScriptedJudge({}, name="b", criterion=Criterion.UTILITY)]
    with pytest.raises(ValueError, match="never mixed"):
        EnsembleJudge(mixed, scale=Scale())
