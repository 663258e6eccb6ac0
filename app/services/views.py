"""What services hand to screens and the command line: frozen values, never database rows, with no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from annotator.types import ConfidenceKind, Criterion, JudgeKind, SuggestionStatus
from app.config import Speed
from app.services.desk_views import CardReview
from app.services.votes import VotesView
from db.enums import LabelSource, ModelStage, Outcome, PromotionCause, RunStatus, Split


@dataclass(frozen=True, slots=True)
class ScaleView:
    """The workspace's grades: 0..max_grade, relevant from `relevant_from`; `labels[g]` is the word for grade g."""

    max_grade: int
    relevant_from: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many pairs are at each step, for one criterion.

    `candidates` to `curated` count train pairs alone: calibrate and held-out pairs are judged by people, blind, and
    never take these steps. `waiting` counts every pair that waits for a person.
    """

    candidates: int
    proposed: int
    unreadable: int
    accepted: int
    rejected: int
    audited: int
    curated: int
    waiting: int


@dataclass(frozen=True, slots=True)
class MeasureView:
    """One measure over n queries; `low` and `high` bound it at 95 % (bootstrap by query) when known."""

    name: str
    value: float
    n_queries: int


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """Candidate minus baseline on one measure: mean, 95 % interval, two-sided p (Holm-adjusted), n queries."""

    measure: str
    slice: str
    baseline: float | None
    candidate: float | None
    mean: float
    low: float
    high: float
    p_value: float
    n_queries: int


@dataclass(frozen=True, slots=True)
class QueryChange:
    """One held-out query's nDCG@10 under the old and the new model."""

    query_id: str
    text: str
    baseline: float
    candidate: float


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a regression check found: its passage's rank, None where it was not found or there was no such model."""

    id: int
    query: str
    passage_id: str
    title: str
    deepest_rank: int
    candidate: int | None
    baseline: int | None


@dataclass(frozen=True, slots=True)
class EvaluationView:
    id: int
    model: str
    baseline: str | None
    split: Split
    look: int
    n_queries: int
    n_judgements: int
    measures: tuple[MeasureView, ...]
    baseline_measures: tuple[MeasureView, ...]
    differences: tuple[DifferenceView, ...]
    better: tuple[QueryChange, ...]
    worse: tuple[QueryChange, ...]
    unjudged_at_10: float
    baseline_unjudged_at_10: float | None
    gate_passed: bool | None
    gate_reasons: tuple[str, ...]
    created_at: datetime
    model_hash: str = ""
    criterion: Criterion = Criterion.RELEVANCE
    n_to_judge: int = 0
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model version; `name` is short and readable, `hash` names its directory."""

    id: int
    name: str
    hash: str
    stage: ModelStage
    base: str | None
    label_set: str | None
    n_labels: int | None
    evaluation: EvaluationView | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do next, in one sentence, with the screen that does it (a key of `state.SCREENS`) or None."""

    text: str
    screen: str | None
    command: str | None


@dataclass(frozen=True, slots=True)
class OverviewView:
    workspace: str
    criterion: Criterion
    n_queries: Mapping[str, int]
    n_passages: int
    funnel: Funnel
    cost_usd: float | None
    prompt_tokens: int
    completion_tokens: int
    judges: tuple[str, ...]
    uncertified: bool
    graded_by: Mapping[str, int]  # pairs by the person whose grade stands, most first; imported judgements included
    live: ModelView | None
    next_steps: tuple[NextStep, ...]
    graded_candidates: str  # of calibrate and held-out questions, in words; empty when there are none


@dataclass(frozen=True, slots=True)
class JudgeView:
    """Who proposed; the local judge is no LLM and always uncertified."""

    name: str
    kind: JudgeKind
    model: str
    prompt_version: str
    certifiable: bool


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One line of the Labels screen: the current suggestion of a pair, what was decided, what people said.

    `concealed`: people judge the pair blind, so nothing of what was proposed and decided is here. `stale`: the
    definition changed after the judge had seen it.
    """

    pair_id: int
    query: str
    passage_title: str
    split: Split | None
    concealed: bool
    stale: bool
    status: SuggestionStatus | None
    grade: int | None
    confidence: float | None
    confidence_kind: ConfidenceKind | None
    judge: JudgeView | None
    outcome: Outcome | None
    certified: bool  # whether a certificate stands behind the decision
    why: str
    human_grade: int | None
    curated_grade: int | None
    curated_source: LabelSource | None


@dataclass(frozen=True, slots=True)
class LabelPage:
    """Some labels of a long list. total: how many fit, or, unless `counted`, than how many there are more. offset: how
    many come before these; None where that is not known. has_more: others come after these.
    """

    rows: tuple[LabelRow, ...]
    total: int
    offset: int | None
    counted: bool = True
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class HitView:
    system: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to a pair: who, what, when."""

    at: datetime
    who: str
    what: str
    note: str


@dataclass(frozen=True, slots=True)
class PairView:
    """Everything about one pair, for the Labels screen's detail and for the review card.

    `concealed`: people judge the pair blind, so nothing that a judge or another person said of it is here. `stale`: the
    definition changed after the judge had seen it.
    """

    pair_id: int
    query_id: str
    query: str
    definition: str | None
    passage_id: str
    passage_title: str
    passage_text: str
    evidence: tuple[int, int] | None  # character offsets into passage_text
    split: Split | None
    concealed: bool
    stale: bool
    status: SuggestionStatus | None
    grade: int | None
    grade_distribution: tuple[float, ...] | None
    confidence: float | None
    confidence_kind: ConfidenceKind | None
    reason: str
    votes: VotesView | None  # of an ensemble's members
    judge: JudgeView | None
    outcome: Outcome | None
    certified: bool
    why: str
    hits: tuple[HitView, ...]
    history: tuple[HistoryEntry, ...]
    curated_grade: int | None
    curated_source: LabelSource | None


@dataclass(frozen=True, slots=True)
class Card:
    """One pair served to one person; `card` is the id that a key press must carry to count.

    `phase` is "revise" once a blind grade is stored (`own_grade`) and the proposal shows; the id is then another.
    `reveals`: the proposal follows the blind grade. `reviews`: earlier ones, empty when blind. `open` of the `wanted`
    people are still to grade the pair.
    """

    card: str
    pair: PairView
    queue_reason: str
    position: int
    waiting: int
    expires_at: datetime
    phase: Literal["grade", "revise"] = "grade"
    own_grade: int | None = None
    reveals: bool = False
    reviews: tuple[CardReview, ...] = ()
    wanted: int = 1
    open: int = 1


@dataclass(frozen=True, slots=True)
class ReviewProgress:
    """One person's work so far: reviews that stand, and how many were today."""

    person: str
    graded: int
    skipped: int
    graded_today: int
    waiting: int
    flagged: int = 0


@dataclass(frozen=True, slots=True)
class UndoneView:
    """What an undo took back."""

    pair_id: int
    query: str
    passage_title: str
    grade: int | None
    action: str


@dataclass(frozen=True, slots=True)
class LossPoint:
    step: int
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class RunView:
    """A training run: where it stands, its loss curve and, when done, how the new model compares."""

    id: int
    status: RunStatus
    stage: str
    done: int
    total: int
    message: str
    cancel_requested: bool
    worker_alive: bool
    label_set: str
    n_labels: int
    label_counts: Mapping[str, int]
    speed: Speed
    loss_name: str
    settings: Mapping[str, object]
    report: Mapping[str, object]
    remarks: tuple[str, ...]  # what the report says that people must know, in sentences
    points: tuple[LossPoint, ...]
    model: ModelView | None
    evaluation: EvaluationView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class TrainableLabels:
    """What the next label set would hold, before it is frozen."""

    n_labels: int
    n_queries: int
    counts: Mapping[str, int]
    n_uncertified: int  # of the accepted ones, those behind which no certificate stands
    problem: str | None  # why training cannot start, or None


@dataclass(frozen=True, slots=True)
class PromotionView:
    model: str
    previous: str | None
    cause: PromotionCause
    reason: str
    person: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SearchHit:
    passage_id: str
    title: str
    text: str
    rank: int
    score: float
    other_rank: int | None  # rank in the other model's list, None when not in its top k


@dataclass(frozen=True, slots=True)
class SearchResult:
    question: str
    live_model: str
    live: tuple[SearchHit, ...]
    candidate_model: str | None
    candidate: tuple[SearchHit, ...]
    retriever: str = "dense"  # or "hybrid"
    mixed: str = ""  # how a hybrid search made one ranking of two for the live model


@dataclass(frozen=True, slots=True)
class SourceView:
    name: str
    layout: str
    n_passages: int
    n_queries: int
    n_judgements: int
    n_suggestions: int
    n_rejected_lines: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LineProblem:
    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did: new things by kind, repeats that changed nothing, lines refused with the reason."""

    source: str
    passages: int
    queries: int
    judgements: int
    suggestions: int
    candidates: int
    unchanged: int
    problems: tuple[LineProblem, ...]  # the first 1,000
    n_problems: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataView:
    n_passages: int
    n_queries: Mapping[str, int]
    n_judgements: Mapping[str, int]
    n_uncertified: int
    sources: tuple[SourceView, ...]


@dataclass(frozen=True, slots=True)
class ExportReport:
    path: str
    n_rows: int
    files: tuple[str, ...]
