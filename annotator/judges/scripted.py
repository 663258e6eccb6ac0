"""A judge that says what it was told to say: the double for tests and demonstrations of everything built on judges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from annotator.types import (
    ConfidenceKind,
    Criterion,
    JudgeFailure,
    JudgeIdentity,
    JudgeKind,
    JudgeRequest,
    Proposal,
    SuggestionStatus,
    Usage,
)

Scripted = Proposal | JudgeFailure | int | None | Exception
"""A whole result, a grade, None for an unreadable reply, or an exception that `judge` raises."""


class ScriptedJudge:
    """Answers from a script: a mapping by pair id, or a function of the request.

    A pair that the mapping does not name gets a retryable `JudgeFailure`, never an invented grade. `delays` are seconds
    before the answer of a pair; pairs without one answer at once, in order.
    """

    def __init__(
        self,
        script: Mapping[int, Scripted] | Callable[[JudgeRequest], Scripted],
        *,
        confidence: float | None = 0.95,
        confidence_kind: ConfidenceKind = ConfidenceKind.VERBAL,
        delays: Mapping[int, float] | None = None,
        name: str = "scripted/1",
        criterion: Criterion = Criterion.RELEVANCE,
        certifiable: bool = True,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._script = script
        self._confidence = confidence
        self._confidence_kind = confidence_kind
        self._delays = dict(delays or {})
        self._sleep = sleep
        self.asked: list[JudgeRequest] = []
        self.identity = JudgeIdentity(
            name=name,
            kind=JudgeKind.LLM,
            model="scripted",
            prompt_version="scripted",
            criterion=criterion,
            certifiable=certifiable,
            parameters={},
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """The scripted results, earliest delay first."""
        elapsed = 0.0
        for request in sorted(requests, key=lambda r: self._delays.get(r.pair_id, 0.0)):
            due = self._delays.get(request.pair_id, 0.0)
            if due > elapsed:
                await self._sleep(due - elapsed)
                elapsed = due
            self.asked.append(request)
            yield self._result(request)

    def _result(self, request: JudgeRequest) -> Proposal | JudgeFailure:
        if callable(self._script):
            scripted = self._script(request)
        elif request.pair_id in self._script:
            scripted = self._script[request.pair_id]
        else:
            return JudgeFailure(request.pair_id, "the script names no answer for this pair", retryable=True)
        if isinstance(scripted, Exception):
            raise scripted
        if isinstance(scripted, Proposal | JudgeFailure):
            return scripted
        readable = scripted is not None
        return Proposal(
            pair_id=request.pair_id,
            status=SuggestionStatus.OK if readable else SuggestionStatus.UNREADABLE,
            grade=scripted,
            grade_distribution=None,
            confidence=self._confidence if readable else None,
            confidence_kind=self._confidence_kind if readable and self._confidence is not None else None,
            evidence=None,
            evidence_dropped=False,
            reason="scripted",
            raw_reply="" if scripted is None else f'{{"grade": {scripted}}}',
            usage=Usage(prompt_tokens=100, completion_tokens=10, cached=False, cost_usd=0.0),
        )
