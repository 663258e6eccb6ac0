"""Several judges, or several prompts that differ, as one judge: their votes, and how far these agree.

What a member has said already is taken from where it is stored; a member asked anew goes through the same reply cache
as when it judges alone. Either way nothing is paid twice. The members' own words stay theirs: an ensemble's proposal
names each member's grade in its context, and labelling with a member alone later costs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from annotator.ensembling import entropy, equal_share, first_second_distance, majority_grade, side_share, vote_shares
from annotator.judges.base import Judge
from annotator.judges.pools import add_usage
from annotator.types import (
    ConfidenceKind,
    JudgeFailure,
    JudgeIdentity,
    JudgeKind,
    JudgeRequest,
    Proposal,
    Scale,
    SuggestionStatus,
    Usage,
)

MIN_VOTES = 2
"""Fewer readable votes than this are no ensemble: the pair is unreadable. Our choice."""
_FREE = Usage(cached=True, cost_usd=0.0)


@dataclass(frozen=True, slots=True)
class MemberVote:
    """What one member said of one pair: its grade or None when unreadable, its own confidence, where it came from."""

    grade: int | None
    confidence: float | None
    confidence_kind: ConfidenceKind | None
    usage: Usage = _FREE
    suggestion_id: int | None = None
    reply_key: str | None = None
    context: Mapping[str, object] | None = None


StoredVotes = Callable[[JudgeIdentity, Sequence[JudgeRequest]], Mapping[int, MemberVote]]
"""What a judge has said already, by pair id; pairs of which it has said nothing (that still holds) are missing."""


def nothing_stored(identity: JudgeIdentity, requests: Sequence[JudgeRequest]) -> Mapping[int, MemberVote]:
    """No votes at all: every member is asked."""
    return {}


class EnsembleJudge:
    """Proposes the members' majority; the confidence, of kind `votes`, is the share of votes on the grade's side.

    A vote that is missing or unreadable counts for nothing, never for grade 0; a pair for which a member got no reply
    fails with that member's reason, so that it is asked for again and no vote is lost in silence.

    Raises:
        ValueError: fewer than two members, two members alike, or members of different criteria.
    """

    def __init__(
        self, members: Sequence[Judge], *, scale: Scale, name: str = "ensemble", stored: StoredVotes = nothing_stored
    ) -> None:
        identities = [member.identity for member in members]
        if len(members) < MIN_VOTES:
            raise ValueError(f"an ensemble of {len(members)} has nobody to agree with")
        if len({identity.criterion for identity in identities}) != 1:
            raise ValueError("members judge different criteria, which are never mixed")
        described = [_describe(identity) for identity in identities]
        if len(set(described)) != len(described):
            raise ValueError("two members are the same judge: asking twice is no second opinion")
        self.members = tuple(members)
        self._scale = scale
        self._stored = stored
        version = hashlib.sha256("\n".join(sorted(described)).encode()).hexdigest()[:16]
        self.identity = JudgeIdentity(
            name=name,
            kind=JudgeKind.ENSEMBLE,
            model=" + ".join(sorted({identity.model for identity in identities})),
            prompt_version=version,
            criterion=identities[0].criterion,
            certifiable=all(identity.certifiable for identity in identities),
            parameters={
                "members": " + ".join(f"{i.name}@{i.prompt_version}" for i in identities),
                "max_grade": scale.max_grade,
                "relevant_from": scale.relevant_from,
            },
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """One result a request, once every member has spoken of it.

        Raises:
            JudgeUnavailable, CapReached: from a member.
        """
        by_id = {request.pair_id: request for request in requests}
        votes: dict[int, dict[int, MemberVote]] = {pair_id: {} for pair_id in by_id}
        failures: dict[int, JudgeFailure] = {}
        for number, member in enumerate(self.members):
            known = self._stored(member.identity, requests)
            for pair_id in known.keys() & by_id.keys():
                votes[pair_id][number] = known[pair_id]
        last = len(self.members) - 1
        for number, member in enumerate(self.members):
            missing = [by_id[i] for i in by_id if number not in votes[i] and i not in failures]
            if number == last:
                asked = {request.pair_id for request in missing}
                for pair_id in by_id:
                    if pair_id not in asked:
                        yield failures.get(pair_id) or self._proposal(pair_id, votes[pair_id])
            if not missing:
                continue
            results = cast("AsyncGenerator[Proposal | JudgeFailure]", member.judge(missing))
            async with aclosing(results) as generator:
                async for result in generator:
                    if isinstance(result, JudgeFailure):
                        reason = f"{member.identity.name}: {result.reason}"
                        failures[result.pair_id] = JudgeFailure(result.pair_id, reason, result.retryable)
                    else:
                        votes[result.pair_id][number] = _vote(result)
                    if number == last:
                        yield failures.get(result.pair_id) or self._proposal(result.pair_id, votes[result.pair_id])

    def _proposal(self, pair_id: int, votes: Mapping[int, MemberVote]) -> Proposal:
        ordered = [votes[number] for number in range(len(self.members))]
        grades = [vote.grade for vote in ordered]
        readable = sum(grade is not None for grade in grades)
        shares = vote_shares(grades, self._scale) if readable >= MIN_VOTES else None
        grade = None if shares is None else majority_grade(grades, self._scale)
        context: dict[str, object] = {
            "members": [
                {
                    "judge": member.identity.name,
                    "model": member.identity.model,
                    "prompt_version": member.identity.prompt_version,
                    "parameters": dict(member.identity.parameters),
                    "grade": vote.grade,
                    "confidence": vote.confidence,
                    "confidence_kind": None if vote.confidence_kind is None else str(vote.confidence_kind),
                    "suggestion_id": vote.suggestion_id,
                    "reply_key": vote.reply_key,
                    "context": None if vote.context is None else dict(vote.context),
                }
                for member, vote in zip(self.members, ordered, strict=True)
            ]
        }
        if shares is None or grade is None:
            said = f"only {readable} of {len(grades)} members said something readable"
            confidence = None
        else:
            confidence = side_share(shares, grade, self._scale)
            agree = round(equal_share(shares) * readable)
            said = f"{agree} of {readable} votes for {grade}"
            if readable < len(grades):
                said += f", {len(grades) - readable} unreadable"
            context["entropy"] = entropy(shares)
            context["first_second_distance"] = first_second_distance(shares)
        return Proposal(
            pair_id=pair_id,
            status=SuggestionStatus.UNREADABLE if grade is None else SuggestionStatus.OK,
            grade=grade,
            grade_distribution=shares,
            confidence=confidence,
            confidence_kind=None if confidence is None else ConfidenceKind.VOTES,
            evidence=None,
            evidence_dropped=False,
            reason=said,
            raw_reply="",
            usage=add_usage([vote.usage for vote in ordered]),
            context=context,
        )


def _describe(identity: JudgeIdentity) -> str:
    parameters = json.dumps(dict(identity.parameters), sort_keys=True)
    return "\n".join((identity.name, identity.model, identity.prompt_version, str(identity.criterion), parameters))


def _vote(proposal: Proposal) -> MemberVote:
    return MemberVote(
        grade=proposal.grade,
        confidence=proposal.confidence,
        confidence_kind=proposal.confidence_kind,
        usage=proposal.usage,
        reply_key=proposal.reply_key,
        context=proposal.context,
    )
