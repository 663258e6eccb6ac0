"""The list-wise LLM judge: one query's pool in one call, for a fraction of the tokens of one call a pair."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from annotator.confidence import side_probability, token_distribution
from annotator.judges.chat import TOP_LOGPROBS, Answer, CallFailed, ChatModel, ChatRequest, ChatSession
from annotator.judges.pools import ListLimits, Pool, pools_of, split, split_usage
from annotator.judges.running import run_all
from annotator.list_parsing import ListedGrade, parse_grades
from annotator.prompts.loader import TextPrompt
from annotator.types import (
    ConfidenceKind,
    JudgeFailure,
    JudgeIdentity,
    JudgeKind,
    JudgeRequest,
    Proposal,
    Scale,
    SuggestionStatus,
)

TOKENS_A_PASSAGE = 40
"""Room for one entry of the reply: label, grade, confidence, with spaces to spare. Our choice."""


class ListwiseJudge:
    """Proposes grades for a query's pairs together; a pool beyond the limits is split into several calls.

    Each proposal's context holds `order`, the pair ids in the order shown, from which its prompt can be rendered again.

    Raises:
        ValueError: `max_completion_tokens` is not positive.
    """

    def __init__(
        self,
        chat: ChatModel,
        *,
        prompt: TextPrompt,
        scale: Scale,
        max_completion_tokens: int = 400,
        limits: ListLimits | None = None,
    ) -> None:
        if max_completion_tokens < 1:
            raise ValueError(f"max_completion_tokens {max_completion_tokens} must be positive")
        self.chat = chat
        self.prompt = prompt
        self._scale = scale
        self._max_completion_tokens = max_completion_tokens
        self._limits = limits or ListLimits()
        self._schema = prompt.schema_for(scale)
        self.identity = JudgeIdentity(
            name=f"{chat.model}/{prompt.name}",
            kind=JudgeKind.LLM,
            model=chat.model,
            prompt_version=prompt.version,
            criterion=prompt.criterion,
            certifiable=True,
            parameters={
                "temperature": 0,
                "max_completion_tokens": max_completion_tokens,
                "tokens_a_passage": TOKENS_A_PASSAGE,
                "top_logprobs": TOP_LOGPROBS,
                "max_grade": scale.max_grade,
                "relevant_from": scale.relevant_from,
                "labels": json.dumps(scale.labels, ensure_ascii=False),
                "max_passages": self._limits.passages,
                "max_characters": self._limits.characters,
            },
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """One result a request, a call's results together.

        Closed early, it starts no further call, but waits for those under way and stores their replies.

        Raises:
            JudgeUnavailable: the server refuses the key, the model or the account.
            CapReached: the next call could cost more than the job may still spend.
        """
        async with self.chat.session() as session:

            async def one(pool: Pool) -> list[Proposal | JudgeFailure]:
                return await self._one(session, pool)

            calls = self.calls(requests)
            async with aclosing(run_all(session, calls, one, concurrency=self.chat.concurrency)) as results:
                async for some in results:
                    for result in some:
                        yield result

    def calls(self, requests: Sequence[JudgeRequest]) -> list[Pool]:
        """The pairs as they will be asked about, one pool a call."""
        return [part for pool in pools_of(requests) for part in split(pool, prompt=self.prompt, limits=self._limits)]

    def chat_request(self, pool: Pool) -> tuple[ChatRequest, tuple[str, ...]]:
        """The call that asks about these pairs in this order, and the label of each in it."""
        rendered = self.prompt.render(pool.texts(), items=pool.items(), scale=self._scale)
        request = ChatRequest(
            messages=rendered.messages,
            schema=self._schema,
            schema_name="grades_of_passages",
            prompt_version=self.prompt.version,
            max_completion_tokens=self._max_completion_tokens + TOKENS_A_PASSAGE * len(pool.requests),
        )
        return request, rendered.labels

    async def _one(self, session: ChatSession, pool: Pool) -> list[Proposal | JudgeFailure]:
        request, labels = self.chat_request(pool)
        try:
            answer = await session.ask(request)
        except CallFailed as failure:
            return list(pool.failures(failure.reason, retryable=failure.retryable))
        return list(self._proposals(pool, answer, labels))

    def _proposals(self, pool: Pool, answer: Answer, labels: tuple[str, ...]) -> list[Proposal]:
        reply = answer.reply
        listed = parse_grades(reply.text, labels=labels, scale=self._scale, finish_reason=reply.finish_reason)
        context = {"order": pool.pair_ids}
        proposals = []
        for place, (request, share) in enumerate(
            zip(pool.requests, split_usage(answer.usage, len(pool.requests)), strict=True)
        ):
            stated = listed.grades.get(place)
            distribution = None if stated is None or reply.reasoned else self._distribution(answer, stated)
            confidence, kind = None if stated is None else stated.confidence, ConfidenceKind.VERBAL
            if distribution is not None and stated is not None:
                confidence = side_probability(distribution, grade=stated.grade, scale=self._scale)
                kind = ConfidenceKind.TOKEN
            proposals.append(
                Proposal(
                    pair_id=request.pair_id,
                    status=SuggestionStatus.UNREADABLE if stated is None else SuggestionStatus.OK,
                    grade=None if stated is None else stated.grade,
                    grade_distribution=distribution,
                    confidence=confidence,
                    confidence_kind=None if confidence is None else kind,
                    evidence=None,
                    evidence_dropped=False,
                    reason="" if stated is not None else listed.problems[place],
                    raw_reply=reply.text,
                    usage=share,
                    reply_key=answer.key,
                    context=context,
                )
            )
        return proposals

    def _distribution(self, answer: Answer, stated: ListedGrade) -> tuple[float, ...] | None:
        return token_distribution(
            answer.reply.logprobs, grade_at=stated.grade_at, grade=stated.grade, scale=self._scale
        )
