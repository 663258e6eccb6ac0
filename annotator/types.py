"""The words of judging as values: scales, requests, proposals and who made them. No input or output happens here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from annotator.errors import ScaleInvalid

DEFAULT_LABELS = ("unrelated", "related", "partly answers", "answers")


class Criterion(StrEnum):
    """What a grade is about; grades of different criteria are never mixed or compared."""

    RELEVANCE = "relevance"
    UTILITY = "utility"


class ConfidenceKind(StrEnum):
    """Where a confidence comes from; numbers of different kinds are never compared raw."""

    TOKEN = "token"
    VERBAL = "verbal"
    VOTES = "votes"
    RETRIEVER = "retriever"


class SuggestionStatus(StrEnum):
    """Whether a reply could be read without guessing."""

    OK = "ok"
    UNREADABLE = "unreadable"


class JudgeKind(StrEnum):
    """What sort of thing proposes."""

    LLM = "llm"
    LOCAL = "local"
    RETRIEVER = "retriever"
    ENSEMBLE = "ensemble"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Scale:
    """Grades 0..max_grade, of which those from `relevant_from` up count as relevant.

    Labels left at their default are replaced by numbered ones when the scale has not four grades.

    Raises:
        ScaleInvalid: the bounds contradict each other, or the labels do not match the grades one to one.
    """

    max_grade: int = 3
    relevant_from: int = 2
    labels: tuple[str, ...] = DEFAULT_LABELS

    def __post_init__(self) -> None:
        if self.max_grade < 1:
            raise ScaleInvalid(f"max_grade is {self.max_grade}; a scale needs at least the grades 0 and 1")
        if not 1 <= self.relevant_from <= self.max_grade:
            raise ScaleInvalid(f"relevant_from is {self.relevant_from}; it must lie in 1..{self.max_grade}")
        if self.labels == DEFAULT_LABELS and self.max_grade != len(DEFAULT_LABELS) - 1:
            object.__setattr__(self, "labels", tuple(f"grade {g} of {self.max_grade}" for g in self.grades))
        if len(self.labels) != self.max_grade + 1:
            raise ScaleInvalid(f"{len(self.labels)} labels for {self.max_grade + 1} grades; give one label a grade")
        if len(set(self.labels)) != len(self.labels) or not all(label.strip() for label in self.labels):
            raise ScaleInvalid(f"labels must be non-empty and all different: {self.labels!r}")

    @property
    def grades(self) -> range:
        """All grades, lowest first."""
        return range(self.max_grade + 1)

    def is_relevant(self, grade: int) -> bool:
        """Whether the grade lies on the relevant side."""
        return grade >= self.relevant_from


@dataclass(frozen=True, slots=True)
class ListSignals:
    """Where a passage stands in its query's list: one model version's best passages, of a fixed number.

    Only differences of scores within the query, so a shift of all its scores changes nothing. `log_probability` is the
    natural logarithm of the softmax over the list, at most 0; `lead` is the distance in cosine to the best other
    passage, above 0 for the first only; `above_median` that to the list's median; `rank` counts from 1, and one past
    the list means that all of it scores higher.
    """

    log_probability: float
    lead: float
    above_median: float
    rank: int


@dataclass(frozen=True, slots=True)
class RetrievalSignals:
    """What the retrieval systems said of a pair; None where a system did not return it. Ranks count from 1.

    `dense_score` is a cosine in [-1, 1]; BM25 scores are raw, `best_bm25_score` is the query's highest. `listed` is
    what the live model says of the pair within the query's list, `listed_before` what the model version before it said.
    """

    dense_score: float | None = None
    dense_rank: int | None = None
    bm25_score: float | None = None
    bm25_rank: int | None = None
    fused_rank: int | None = None
    pool_size: int | None = None
    best_bm25_score: float | None = None
    listed: ListSignals | None = None
    listed_before: ListSignals | None = None


@dataclass(frozen=True, slots=True)
class GradedExample:
    """A pair that a person graded, shown to a judge as an example; `id` is that of the review behind it."""

    id: int
    query: str
    title: str
    passage: str
    grade: int


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """One pair put before a judge; pairs with the same `query_id` make up one query's pool.

    Requests without a `query_id` belong together when query and definition are the same text.
    """

    pair_id: int
    query: str
    definition: str | None
    title: str
    passage: str
    signals: RetrievalSignals = field(default_factory=RetrievalSignals)
    query_id: int | None = None
    examples: tuple[GradedExample, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verbatim span of the passage as it was given: `text == passage[start:end]`, offsets in characters."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply and what they cost now: a cached reply costs 0, an unknown price is None."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a judge says of one pair; the database stores it as a suggestion.

    `confidence` is the judge's probability in [0, 1] that the pair lies on the side (relevant or not) of the proposed
    grade. `reply_key` finds the stored reply; `context` says what else the judge was shown (ids of examples, the order
    of a list), as plain JSON.

    Raises:
        ValueError: the fields contradict each other (an unreadable reply with a grade, a confidence without its kind).
    """

    pair_id: int
    status: SuggestionStatus
    grade: int | None
    grade_distribution: tuple[float, ...] | None
    confidence: float | None
    confidence_kind: ConfidenceKind | None
    evidence: Evidence | None
    evidence_dropped: bool
    reason: str
    raw_reply: str
    usage: Usage
    reply_key: str | None = None
    context: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        if (self.status is SuggestionStatus.OK) != (self.grade is not None):
            raise ValueError(f"pair {self.pair_id}: status {self.status} with grade {self.grade}")
        if (self.confidence is None) != (self.confidence_kind is None):
            raise ValueError(f"pair {self.pair_id}: confidence {self.confidence} of kind {self.confidence_kind}")
        if self.confidence is not None and not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"pair {self.pair_id}: confidence {self.confidence} is no probability")
        if self.grade_distribution is not None and not math.isclose(sum(self.grade_distribution), 1.0, abs_tol=1e-6):
            raise ValueError(f"pair {self.pair_id}: grade distribution {self.grade_distribution} does not sum to 1")


@dataclass(frozen=True, slots=True)
class JudgeFailure:
    """No valid reply came for a pair; `retryable` says whether asking again later could help."""

    pair_id: int
    reason: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """Who judges, precisely enough that two equal identities propose alike; `prompt_version` is a hash."""

    name: str
    kind: JudgeKind
    model: str
    prompt_version: str
    criterion: Criterion
    certifiable: bool
    parameters: Mapping[str, str | int | float | bool]
