"""The point-wise LLM judge: one pair a call, to any server that speaks OpenAI's chat protocol; it guesses nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from annotator.confidence import side_probability, token_distribution
from annotator.evidence import locate
from annotator.judges.chat import TOP_LOGPROBS, Answer, CallFailed, ChatModel, ChatRequest, ChatSession
from annotator.judges.running import run_all
from annotator.parsing import parse_reply
from annotator.prompts.loader import Prompt
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


class OpenAIChatJudge:
    """Proposes grades with one model and one prompt.

    At most as many calls are under way as the model allows, and not many more results wait to be taken, however many
    requests there are.

    Raises:
        ValueError: `max_completion_tokens` is not positive.
    """

    def __init__(self, chat: ChatModel, *, prompt: Prompt, scale: Scale, max_completion_tokens: int = 400) -> None:
        if max_completion_tokens < 1:
            raise ValueError(f"max_completion_tokens {max_completion_tokens} must be positive")
        self.chat = chat
        self._prompt = prompt
        self._scale = scale
        self._max_completion_tokens = max_completion_tokens
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
                "top_logprobs": TOP_LOGPROBS,
                "max_grade": scale.max_grade,
                "relevant_from": scale.relevant_from,
                "labels": json.dumps(scale.labels, ensure_ascii=False),
            },
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """One result a request, in order of completion.

        Closed early, it starts no further call, but waits for those under way and stores their replies: they are paid
        for.

        Raises:
            JudgeUnavailable: the server refuses the key, the model or the account.
            CapReached: the next call could cost more than the job may still spend.
        """
        async with self.chat.session() as session:

            async def one(request: JudgeRequest) -> Proposal | JudgeFailure:
                return await self._one(session, request)

            async with aclosing(run_all(session, requests, one, concurrency=self.chat.concurrency)) as results:
                async for result in results:
                    yield result

    def chat_request(self, request: JudgeRequest) -> ChatRequest:
        """The call that asks about one pair."""
        return ChatRequest(
            messages=self._prompt.render(request, self._scale),
            schema=self._schema,
            schema_name="grade_of_a_passage",
            prompt_version=self._prompt.version,
            max_completion_tokens=self._max_completion_tokens,
        )

    async def _one(self, session: ChatSession, request: JudgeRequest) -> Proposal | JudgeFailure:
        try:
            answer = await session.ask(self.chat_request(request))
        except CallFailed as failure:
            return JudgeFailure(request.pair_id, failure.reason, failure.retryable)
        return self._proposal(request, answer)

    def _proposal(self, request: JudgeRequest, answer: Answer) -> Proposal:
        reply = answer.reply
        parsed = parse_reply(reply.text, scale=self._scale, finish_reason=reply.finish_reason)
        if parsed.grade is None:
            return Proposal(
                pair_id=request.pair_id,
                status=SuggestionStatus.UNREADABLE,
                grade=None,
                grade_distribution=None,
                confidence=None,
                confidence_kind=None,
                evidence=None,
                evidence_dropped=False,
                reason=parsed.problem or "the reply could not be read",
                raw_reply=reply.text,
                usage=answer.usage,
                reply_key=answer.key,
            )
        distribution = token_distribution(
            reply.logprobs,
            grade_at=None if reply.reasoned else parsed.grade_at,
            grade=parsed.grade,
            scale=self._scale,
        )
        confidence, kind = parsed.confidence, ConfidenceKind.VERBAL
        if distribution is not None:
            confidence = side_probability(distribution, grade=parsed.grade, scale=self._scale)
            kind = ConfidenceKind.TOKEN
        evidence = locate(request.passage, parsed.evidence_text) if parsed.evidence_text else None
        return Proposal(
            pair_id=request.pair_id,
            status=SuggestionStatus.OK,
            grade=parsed.grade,
            grade_distribution=distribution,
            confidence=confidence,
            confidence_kind=kind if confidence is not None else None,
            evidence=evidence,
            evidence_dropped=parsed.evidence_text is not None and evidence is None,
            reason=parsed.reason,
            raw_reply=reply.text,
            usage=answer.usage,
            reply_key=answer.key,
        )
