"""How hostile texts are put before a judge: cleaned, cut where a limit says so, and fenced with a code they lack."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from annotator.types import Scale

PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_WORD = re.compile(r"\S+")
_LETTERS = "bcdfghjkmnpqrtvwxz"
"""No vowels, so that no label spells a word; no l or s, which look like digits."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True, slots=True)
class Cut:
    """A text as shown, and what a note has to say about it: nothing when it is whole."""

    text: str
    shown: int
    total: int

    @property
    def is_cut(self) -> bool:
        return self.shown < self.total


def cut(text: str, *, limit: int, words: int | None = None) -> Cut:
    """At most `limit` characters and, where `words` is given, at most that many words (runs without white space)."""
    shown = text[:limit]
    if words is not None:
        for number, word in enumerate(_WORD.finditer(shown), start=1):
            if number == words:
                shown = shown[: word.end()] if shown[word.end() :].strip() else shown
                break
    return Cut(shown, len(shown), len(text))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders filled in one pass, so that what fills them is never read as a template."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


def without_empty_blocks(template: str, blocks: Mapping[str, str]) -> str:
    """The template without the lines that hold nothing but an empty block."""
    empty = {f"{{{{{name}}}}}" for name, text in blocks.items() if not text}
    return "\n".join(line for line in template.splitlines() if line.strip() not in empty)


def fence(version: str, texts: Mapping[str, str]) -> str:
    """A short code that occurs in none of the texts and that their authors could not foresee."""
    seed = json.dumps([version, texts], sort_keys=True)
    for salt in range(1_000):
        code = hashlib.sha256(f"{salt}\n{seed}".encode()).hexdigest()[:12]
        if not any(code in text for text in texts.values()):
            return code
    raise AssertionError("a hash cannot occur a thousand times in texts that it is a hash of")


def labels(count: int, *, code: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Short names of `count` passages by their place, such as `3kf`; none occurs in any of the texts.

    The two letters follow from the fence's code, which no author of a passage can foresee: a passage can neither claim
    to be another one nor speak of it by name. Our choice.
    """
    lowered = "\n".join(texts).casefold()
    for salt in range(1_000):
        length = 2 + salt // 50  # texts full of short labels only make the labels longer
        names = tuple(f"{place}{_letters(f'{salt} {place} {code}', length)}" for place in range(1, count + 1))
        if not any(name in lowered for name in names):
            return names
    raise AssertionError("labels of twenty letters cannot all occur in texts of a bounded length")


def _letters(seed: str, length: int) -> str:
    digest = hashlib.sha256(f"label {seed}".encode()).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:length])


def rubric(scale: Scale, meanings: Mapping[str, str], *, grades: Sequence[int] | None = None) -> str:
    """One line a grade, with its meaning when the prompt knows the meaning of every label of the scale."""
    known = all(label in meanings for label in scale.labels)
    chosen = scale.grades if grades is None else grades
    return "\n".join(f"{g} = {scale.labels[g]}" + (f": {meanings[scale.labels[g]]}" if known else "") for g in chosen)
