"""Which judges can be asked to label here, in words, each with the description that builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotator.types import Criterion
from app.config import Settings

POINTWISE = ("pointwise_relevance", "pointwise_criteria", "pointwise_sides")
"""Prompts for one pair a call that differ in how they go about it, not just in wording: fit to vote together."""


@dataclass(frozen=True, slots=True)
class JudgeChoice:
    """A judge one may ask: a short name, what it does and costs relative to the others, and the spec that builds it."""

    name: str
    about: str
    criterion: Criterion
    spec: Mapping[str, Any]


_WITH_EXAMPLES = (
    JudgeChoice(
        "One pair a call, with examples",
        "Shows pairs that people graded, from other train questions; measured better than without on blind reviews.",
        Criterion.RELEVANCE,
        {"kind": "pointwise", "examples": True},
    ),
)


def list_choices(settings: Settings, *, examples: bool = False) -> tuple[JudgeChoice, ...]:
    """The judges of this workspace, the one that `relabel label` asks first; `examples`: they measured better."""
    local = JudgeChoice(
        "Local judge",
        "No LLM: it ranks by retrieval signals, needs no key, and is always uncertified.",
        Criterion.RELEVANCE,
        {"kind": "local"},
    )
    if not settings.has_llm:
        return (local,)
    members = [{"kind": "pointwise", "prompt": name} for name in POINTWISE]
    return (
        JudgeChoice(
            "One pair a call",
            "The grade comes first, so its probability can be read off the token where the server shows it.",
            Criterion.RELEVANCE,
            members[0],
        ),
        JudgeChoice(
            "One pair a call, criteria first",
            "Another prompt: it takes the definition apart and weighs the passage against each part.",
            Criterion.RELEVANCE,
            members[1],
        ),
        JudgeChoice(
            "One pair a call, side first",
            "Another prompt: relevant or not comes first, the grade after.",
            Criterion.RELEVANCE,
            members[2],
        ),
        JudgeChoice(
            "Vote of three prompts",
            "All three prompts above; disagreement shows where to look. Replies that are stored cost nothing again.",
            Criterion.RELEVANCE,
            {"kind": "ensemble", "members": members},
        ),
        *(_WITH_EXAMPLES if examples else ()),
        JudgeChoice(
            "A query's whole pool in one call",
            "A fraction of the tokens; one reply grades many passages.",
            Criterion.RELEVANCE,
            {"kind": "listwise"},
        ),
        JudgeChoice(
            "Utility: selection",
            "Selects, writes an answer from what it selected, then keeps what that answer needs. Its own criterion.",
            Criterion.UTILITY,
            {"kind": "utility", "method": "utilsel"},
        ),
        JudgeChoice(
            "Utility: ranking",
            "As the selection, but ranks by use for the answer; the best tenth counts as useful. Its own criterion.",
            Criterion.UTILITY,
            {"kind": "utility", "method": "utilrank"},
        ),
        local,
    )
