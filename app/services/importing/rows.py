"""What an import adds, one value a line of the source, with the place it was read from. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from db.enums import Split

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A passage as the source gives it."""

    external_id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class NewQuery:
    """A query as the source gives it; `split` None asks for none, `definition` None leaves the present one."""

    external_id: str
    text: str
    split: Split | None = None
    definition: str | None = None


@dataclass(frozen=True, slots=True)
class NewJudgement:
    """A person's judgement; `grade` is a whole number on the source's scale, as the source writes it."""

    query_id: str
    passage_id: str
    grade: float | int | str


@dataclass(frozen=True, slots=True)
class NewCandidate:
    """A pair that a system retrieved; `rank` counts from 1, a higher score is better."""

    query_id: str
    passage_id: str
    system: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class NewSuggestion:
    """What a judge elsewhere said of a pair, on its own scale 0..max_grade.

    grade: None when its reply could not be read. token_probability, verbal_confidence: the judge's probability that its
    answer holds, in [0, 1]. grade_distribution: one probability for each grade of its scale. extra: what else the
    source tells, kept as it is.
    """

    query_id: str
    passage_id: str
    judge: str
    grade: float | int | str | None
    max_grade: int | None
    token_probability: float | None = None
    verbal_confidence: float | None = None
    grade_distribution: tuple[float, ...] | None = None
    reason: str = ""
    raw_reply: str = ""
    model: str | None = None
    prompt_version: str | None = None
    extra: dict[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line(Generic[T]):
    """A value with the file and line (counted from 1) it came from."""

    file: str
    line: int
    value: T


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that could not be read at all, and why."""

    file: str
    line: int
    reason: str


class BadLine(ValueError):
    """Raised while one line is read; caught by the import, which lists it and goes on."""
