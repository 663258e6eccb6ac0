"""What every judge offers, and how a caller without an event loop uses one. The judges live beside this file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Protocol, cast, runtime_checkable

from annotator.types import JudgeFailure, JudgeIdentity, JudgeRequest, Proposal


@runtime_checkable
class Judge(Protocol):
    """Whatever proposes grades."""

    @property
    def identity(self) -> JudgeIdentity:
        """Who this judge is."""
        ...

    def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """One result a request, in order of completion; an async generator that may be closed early.

        Raises:
            JudgeUnavailable: no request can succeed with the present settings.
        """
        ...


def collect(judge: Judge, requests: Sequence[JudgeRequest]) -> list[Proposal | JudgeFailure]:
    """All results of one batch, in order of completion, for callers that run no event loop.

    Raises:
        JudgeUnavailable: no request can succeed with the present settings.
    """
    return asyncio.run(_drain(judge, requests))


async def _drain(judge: Judge, requests: Sequence[JudgeRequest]) -> list[Proposal | JudgeFailure]:
    results = judge.judge(requests)
    if not hasattr(results, "aclose"):
        return [result async for result in results]
    async with aclosing(cast("AsyncGenerator[Proposal | JudgeFailure]", results)) as generator:
        return [result async for result in generator]
