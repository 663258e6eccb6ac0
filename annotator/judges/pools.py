"""One query's pairs as one list: grouped, put in an order of chance that repeats, and split where they are too many."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from annotator.prompts.loader import TextPrompt
from annotator.types import JudgeFailure, JudgeRequest, Usage


@dataclass(frozen=True, slots=True)
class ListLimits:
    """How much one call holds: at most `passages` of them, and at most `characters` of them as they are shown."""

    passages: int = 20
    characters: int = 60_000

    def __post_init__(self) -> None:
        if self.passages < 1 or self.characters < 1:
            raise ValueError(f"a call needs room for at least one passage: {self}")


def limits_within(usual: ListLimits, *, context_tokens: int, reply_tokens: int) -> ListLimits:
    """The usual limits, or fewer characters where the model's context is too short for them.

    Of the context a quarter is left for instructions, query and definition, the reply's limit is taken off, and the
    rest is counted at two characters a token: less than most texts in Latin script have, more than some others. A
    model that is asked for more all the same refuses, and the pairs are in the ledger with its reason. Our choice.
    """
    room = 2 * (context_tokens * 3 // 4 - reply_tokens)
    return ListLimits(usual.passages, max(1_000, min(usual.characters, room)))


@dataclass(frozen=True, slots=True)
class Pool:
    """The pairs of one query that are judged together, in the order in which the judge is shown them."""

    query: str
    definition: str | None
    requests: tuple[JudgeRequest, ...]

    @property
    def pair_ids(self) -> list[int]:
        return [request.pair_id for request in self.requests]

    def part(self, requests: Sequence[JudgeRequest]) -> Pool:
        """The same query with some of its pairs."""
        return Pool(self.query, self.definition, tuple(requests))

    def texts(self) -> dict[str, str]:
        """What a prompt shows of the query."""
        return {"query": self.query, "definition": self.definition or ""}

    def items(self) -> list[dict[str, str]]:
        """What a prompt shows of the passages, in order."""
        return [{"title": request.title, "passage": request.passage} for request in self.requests]

    def failures(self, reason: str, *, retryable: bool) -> list[JudgeFailure]:
        """The same failure for every pair."""
        return [JudgeFailure(request.pair_id, reason, retryable) for request in self.requests]


def pools_of(requests: Iterable[JudgeRequest]) -> list[Pool]:
    """The pairs by query, each query's passages in an order drawn from a hash of the texts.

    Models favour places at the beginning and the end of a list; retrieval order would turn that into a bias for what
    the retriever ranks first. The order follows from the texts alone, so that a repeated call finds its reply. Our
    choice.
    """
    grouped: dict[object, list[JudgeRequest]] = {}
    for request in requests:
        key = request.query_id if request.query_id is not None else (request.query, request.definition)
        grouped.setdefault(key, []).append(request)
    return [Pool(group[0].query, group[0].definition, tuple(sorted(group, key=_chance))) for group in grouped.values()]


def split(pool: Pool, *, prompt: TextPrompt, limits: ListLimits) -> list[Pool]:
    """The pool in as few calls as the limits allow, of about equal length; a passage too long alone is a call alone."""
    shown = [_shown_characters(request, prompt) for request in pool.requests]
    calls = max(-(-len(shown) // limits.passages), -(-sum(shown) // limits.characters), 1)
    size = min(limits.passages, -(-len(shown) // calls))
    parts: list[list[JudgeRequest]] = [[]]
    filled = 0
    for request, characters in zip(pool.requests, shown, strict=True):
        if parts[-1] and (len(parts[-1]) >= size or filled + characters > limits.characters):
            parts.append([])
            filled = 0
        parts[-1].append(request)
        filled += characters
    return [pool.part(part) for part in parts if part]


def split_usage(usage: Usage, count: int) -> list[Usage]:
    """What a call used, shared evenly over its pairs: tokens whole and adding up, dollars in equal parts."""
    cost = None if usage.cost_usd is None else usage.cost_usd / count
    return [
        Usage(
            prompt_tokens=_share(usage.prompt_tokens, count, place),
            completion_tokens=_share(usage.completion_tokens, count, place),
            cached=usage.cached,
            cost_usd=cost,
        )
        for place in range(count)
    ]


def add_usage(usages: Sequence[Usage]) -> Usage:
    """What several calls used together; cached when all were, without a price when one has none."""
    costs = [usage.cost_usd for usage in usages]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages if not usage.cached),
        completion_tokens=sum(usage.completion_tokens for usage in usages if not usage.cached),
        cached=all(usage.cached for usage in usages),
        cost_usd=None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None),
    )


def with_context(context: Mapping[str, object] | None, **more: object) -> dict[str, object]:
    """A proposal's context with more in it."""
    return {**(context or {}), **more}


def _share(total: int, count: int, place: int) -> int:
    return total // count + (1 if place < total % count else 0)


def _chance(request: JudgeRequest) -> tuple[str, int]:
    seed = "\n".join((request.query, request.title, request.passage)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(seed).hexdigest(), request.pair_id


def _shown_characters(request: JudgeRequest, prompt: TextPrompt) -> int:
    return sum(min(len(text), prompt.limits[name]) for name, text in _parts(request))


def _parts(request: JudgeRequest) -> tuple[tuple[str, str], ...]:
    return ("title", request.title), ("passage", request.passage)
