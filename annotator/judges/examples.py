"""Pairs that people graded, shown to a judge as examples: which ones, and the judge that shows them.

Only reviews of train questions may be examples, and none from the sample of an open certificate: whoever gathers the
pool sees to that. Whether showing examples helps is measured elsewhere, never assumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from annotator.judges.base import Judge
from annotator.judges.pools import with_context
from annotator.types import GradedExample, JudgeFailure, JudgeIdentity, JudgeRequest, Proposal

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""How like each of several queries is to one query; any scale, higher is more alike."""


@dataclass(frozen=True, slots=True)
class ExamplePool:
    """All pairs that may be shown, and their hash, which is part of the identity of a judge that shows them."""

    examples: tuple[GradedExample, ...]

    @property
    def hash(self) -> str:
        """SHA-256 over reviews, grades and texts; another audit makes another pool."""
        digest = hashlib.sha256()
        for example in sorted(self.examples, key=lambda e: e.id):
            parts = (str(example.id), str(example.grade), example.query, example.title, example.passage)
            digest.update("\x1f".join(parts).encode("utf-8", "surrogatepass") + b"\x1e")
        return digest.hexdigest()[:16]

    def nearest(self, query: str, *, k: int, similarity: Similarity) -> tuple[GradedExample, ...]:
        """The k examples whose queries are most like this one, of different grades first; never of the same query.

        Grades take turns, the most similar example of each first, so that a pool of mostly irrelevant pairs does not
        show one grade only. Ties go to the older review. Our choice.
        """
        others = [example for example in self.examples if _plain(example.query) != _plain(query)]
        if not others or k < 1:
            return ()
        likeness = similarity(query, [example.query for example in others])
        ranked = sorted(zip(others, likeness, strict=True), key=lambda pair: (-pair[1], pair[0].id))
        by_grade: dict[int, list[GradedExample]] = {}
        for example, _ in ranked:
            by_grade.setdefault(example.grade, []).append(example)
        chosen: list[GradedExample] = []
        while len(chosen) < k and any(by_grade.values()):
            for waiting in by_grade.values():
                if waiting and len(chosen) < k:
                    chosen.append(waiting.pop(0))
        return tuple(sorted(chosen, key=lambda e: e.id))


class ExampleJudge:
    """A judge with examples: it shows `inner`, whose prompt has a place for them, the nearest of the pool.

    Each proposal's context names the reviews behind its examples.

    Raises:
        ValueError: `k` is not positive, or the pool is empty.
    """

    def __init__(self, inner: Judge, *, pool: ExamplePool, k: int, similarity: Similarity) -> None:
        if k < 1 or not pool.examples:
            raise ValueError(f"a judge with examples needs some: k is {k}, the pool holds {len(pool.examples)}")
        self.inner = inner
        self._pool = pool
        self._k = k
        self._similarity = similarity
        of = inner.identity
        self.identity = JudgeIdentity(
            name=of.name,
            kind=of.kind,
            model=of.model,
            prompt_version=of.prompt_version,
            criterion=of.criterion,
            certifiable=of.certifiable,
            parameters={**of.parameters, "examples": k, "example_pool": pool.hash},
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """The inner judge's results, each with the ids of the examples it was shown.

        Raises:
            JudgeUnavailable, CapReached: from the inner judge.
        """
        with_examples = self.with_examples(requests)
        shown = {request.pair_id: [example.id for example in request.examples] for request in with_examples}
        results = cast("AsyncGenerator[Proposal | JudgeFailure]", self.inner.judge(with_examples))
        async with aclosing(results) as generator:
            async for result in generator:
                if isinstance(result, Proposal):
                    result = replace(result, context=with_context(result.context, examples=shown[result.pair_id]))
                yield result

    def with_examples(self, requests: Sequence[JudgeRequest]) -> list[JudgeRequest]:
        """The requests as the inner judge gets them, each with the examples for its query."""
        chosen: dict[str, tuple[GradedExample, ...]] = {}
        for request in requests:
            if request.query not in chosen:
                chosen[request.query] = self._pool.nearest(request.query, k=self._k, similarity=self._similarity)
        return [replace(request, examples=chosen[request.query]) for request in requests]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
