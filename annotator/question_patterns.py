"""Patterns of questions, by how they ask and never by what about; examples from different patterns make for diversity.

Our choice, after the idea of cluster-driven demonstrations of ARL2 (arXiv 2402.13542, section 1 of the methods), whose
own clustering is not public: a pattern is the way a question opens (which question word, yes-or-no, a comparison, key
words without a verb, a statement of need) and whether it is short or long. The openings are English; a question in
another language counts as `other question` when it ends with a question mark, else as key words or a statement.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SHORT_WORDS = 7
"""A question of at most so many words is short."""

KEPT_A_PATTERN = 12
"""At most so many examples of one pattern are kept, the built-in ones first."""

MAX_EXAMPLE_CHARACTERS = 160

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_MARKS = ("?", "\uff1f", "\u061f", "\u037e")
_COMPARISON = re.compile(
    r"\b(?:vs|versus|compared?\s+(?:to|with)|difference|differences|differ|better\s+than|worse\s+than)\b", re.I
)
_AMOUNT = frozenset({"much", "many", "long", "often", "far", "old", "big", "large", "fast", "high", "deep", "likely"})
_YES_NO = frozenset(
    {"is", "are", "was", "were", "am", "do", "does", "did", "can", "could", "should", "would", "will", "has", "have"}
    | {"had", "may", "might", "must", "isn't", "aren't", "doesn't", "don't", "can't"}
)
_WHAT = frozenset({"what", "what's", "whats"})
_WHO = frozenset({"who", "whom", "whose", "who's"})
_NEED = frozenset(
    {"i", "i'm", "i've", "my", "we", "our", "please", "tell", "explain", "describe", "list", "give", "find"}
)

SEEDS = (
    "what is condensation",
    "What happens to a savings account when its owner moves abroad?",
    "how to remove rust from tools",
    "How does a heat pump keep warming a house when it is freezing outside?",
    "how long does paint dry",
    "How many hours of sleep does a ten-year-old need on a school night?",
    "why do leaves turn red",
    "Why is bread dough left to rise twice before it goes into the oven?",
    "when are tax returns due",
    "When did cities begin to light their streets, and what did they burn?",
    "where is vitamin D stored",
    "Where should a smoke detector be mounted in a room with a sloped ceiling?",
    "who signs a building permit",
    "Who has to pay for repairs when a rented flat is damaged by a leaking pipe?",
    "which battery lasts longest",
    "Which documents must be shown to register a car bought in another country?",
    "can dogs eat apples",
    "Is it safe to take a train with a bicycle during the morning rush hour?",
    "cast iron vs steel pan",
    "What is the difference between a patent and a trademark for a small company?",
    "hiking boots waterproofing",
    "side effects of standing all day at work without any break",
    "my phone will not charge",
    "I want to plant a hedge that stays green in winter and needs little water.",
)
"""General questions, written by hand, two or so a pattern; they are about nothing in particular."""


@dataclass(frozen=True, slots=True)
class QuestionBank:
    """Examples by pattern, and how many questions of each pattern were written so far."""

    examples: Mapping[str, tuple[str, ...]]
    written: Mapping[str, int]


def pattern_of(question: str) -> str:
    """The pattern of a question, such as `how, long` or `key words, short`; at most 80 characters."""
    text = unicodedata.normalize("NFKC", question).strip()
    words = [word.casefold().replace("\u2019", "'") for word in _WORD.findall(text)]
    return f"{_opening(text, words)}, {'short' if len(words) <= SHORT_WORDS else 'long'}"


def build_bank(questions: Iterable[str]) -> QuestionBank:
    """The built-in examples, joined by questions that were written before, in the order given."""
    kept: dict[str, list[str]] = {}
    for seed in SEEDS:
        kept.setdefault(pattern_of(seed), []).append(seed)
    written: Counter[str] = Counter()
    for question in questions:
        pattern = pattern_of(question)
        written[pattern] += 1
        examples = kept.setdefault(pattern, [])
        if len(examples) < KEPT_A_PATTERN and len(question) <= MAX_EXAMPLE_CHARACTERS and question not in examples:
            examples.append(question)
    return QuestionBank({name: tuple(examples) for name, examples in kept.items()}, dict(written))


def choose_demonstrations(bank: QuestionBank, *, count: int, seed: str) -> tuple[str, ...]:
    """`count` examples (fewer when there are fewer patterns), each of another pattern; the same seed, the same choice.

    Patterns are drawn without replacement with weight 1 / (1 + written so far), so that what was asked seldom is shown
    often; within a pattern every example is as likely as another. Drawn by exponential keys (Efraimidis and Spirakis,
    "Weighted random sampling with a reservoir", 2006).
    """
    keyed = sorted(
        (-math.log(_draw(seed, "pattern", pattern)) * (1 + bank.written.get(pattern, 0)), pattern)
        for pattern, examples in bank.examples.items()
        if examples
    )
    return tuple(_pick(bank.examples[pattern], seed=f"{seed} {pattern}") for _, pattern in keyed[:count])


def _pick(examples: Sequence[str], *, seed: str) -> str:
    return min(examples, key=lambda example: _draw(seed, "example", example))


def _draw(*parts: str) -> float:
    """A number in (0, 1) that follows from the parts."""
    digest = hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).digest()
    return (int.from_bytes(digest[:8]) + 1) / (2**64 + 2)


def _opening(text: str, words: Sequence[str]) -> str:
    if not words:
        return "other"
    first = words[0]
    asks = text.endswith(_MARKS)
    if _COMPARISON.search(text):
        return "comparison"
    if first == "how":
        return "how much" if len(words) > 1 and words[1] in _AMOUNT else "how"
    if first in _WHAT:
        return "what"
    if first in _WHO:
        return "who"
    if first in ("why", "when", "where", "which"):
        return first
    if first in _YES_NO:
        return "yes or no"
    if first in _NEED:
        return "need"
    if asks:
        return "other question"
    return "key words"
