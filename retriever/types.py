"""The words of the retriever as frozen values: no I/O, and nothing heavy is imported here.

Behaviour lives beside each use: search in `dense_index` and `bm25`, training in `training`, tests in `evaluation`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

LOSS_NAMES = (
    "sum_marginal",
    "infonce",
    "rand1",
    "joint",
    "lse_pair",
    "arl2",
    "list_net",
    "list_mle",
    "lambda",
    "contrastive",
    "margin",
    "kl",
)
"""Every loss `retriever.losses.make_loss` knows; the first is the default."""

ADAPTER_KINDS = ("low_rank", "mlp", "kernel")
"""The forms of a query adapter, see `retriever.adapter`."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One text that can be retrieved; an empty title is allowed."""

    id: str
    title: str
    text: str

    @property
    def full_text(self) -> str:
        """Title and text joined by one space: what is indexed, encoded and trained on."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Query:
    """One question or search."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved passage; rank counts from 1, a higher score is better, scores do not compare across queries."""

    passage_id: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class SystemHit:
    """Where one system ranked a passage; rank counts from 1."""

    system: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class FusedHit:
    """A passage after fusion: the fused score, and every system that retrieved it, in the order of their names."""

    passage_id: str
    rank: int
    score: float
    hits: tuple[SystemHit, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair put up for judging: its fused rank (from 1) and score, and the rank and score of each system."""

    query_id: str
    passage_id: str
    rank: int
    score: float
    hits: tuple[SystemHit, ...]


@dataclass(frozen=True, slots=True)
class LabelledPassage:
    """A passage with its curated grade.

    grade: 0 to K, soft grades (expected grades) allowed. weight: trust in the label, above 0, 1 for full trust.
    """

    passage_id: str
    text: str
    grade: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.grade) and self.grade >= 0):
            raise ValueError(f"the grade of passage {self.passage_id!r} is {self.grade}; it must be 0 or more")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"the weight of passage {self.passage_id!r} is {self.weight}; it must be above 0")


@dataclass(frozen=True, slots=True)
class GradedList:
    """All labelled passages of one query. Order matters when a list is cut: earlier passages are kept first."""

    query_id: str
    query: str
    passages: tuple[LabelledPassage, ...]


ENOUGH_LISTS = 400
"""So many lists, each counted once a pass, are enough for one fine-tune; our choice, see docs/training.md."""

MOST_PASSES = 2
"""Most passes over few lists: with four, fifty of SciFact's lost on unseen queries; our choice."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a model is trained; every default is chosen for a small label set on two CPU cores.

    loss: a name of LOSS_NAMES. epochs: passes over the lists; None makes as many as so many lists need, see `passes`.
    learning_rate: peak, AdamW. batch_queries: queries per step. list_size: most passages of one query that are used.
    temperature: cosine is divided by it. warmup_ratio: share of the steps, in [0, 1). max_length: tokens kept of a
    text. relevant_from: lowest positive grade. max_grade: K.
    weight_decay: AdamW's. in_batch_negatives: other queries' passages count as negatives when they score below the
    query's weakest positive by in_batch_margin (relative, in [0, 1)). trainable_layers: how many of the last
    transformer layers learn; None is all of them and the embeddings, as it is for a model without layers.
    gradient_chunk: texts encoded at a time with gradients (GradCache, arXiv 2101.06983): memory holds so many, for a
    second forward pass; None encodes a batch at once. lora_rank: low-rank updates of the linear weights of the layers
    that learn (LoRA, by peft), merged at the end; they need about ten times the learning_rate. None trains the weights.
    anchor: weight of the anchored term beside the loss, 0 for none. anchor_temperature: β' of that term, by which a
    score's change against the base model is divided. keep: the part of the weights' change that is kept, in (0, 1]: the
    result lies on the line from the base to the trained model (Wortsman et al., arXiv 2109.01903). unseen_share: part
    of the lists, in [0, 0.5], put aside with all their relevant passages and not trained on; if it is above 0, of keep,
    a half and a quarter of it the one is taken that ranks them best, see `training.train`. bf16: autocast to bfloat16
    on the CPU or GPU.
    All layers are our choice, on training-side splits: with the last three a step takes two thirds of the time, and
    nDCG@10 gained .035 in place of .038 on unseen queries of MSRD, .040 in place of .058 on seen ones of SciFact.

    Raises: ValueError naming the setting, its value and what is allowed.
    """

    loss: str = LOSS_NAMES[0]
    epochs: int | None = None
    learning_rate: float = 5e-5
    batch_queries: int = 16
    list_size: int = 4
    temperature: float = 0.05
    warmup_ratio: float = 0.1
    seed: int = 0
    max_length: int = 128
    relevant_from: float = 2
    max_grade: int = 3
    weight_decay: float = 0.01
    in_batch_negatives: bool = True
    in_batch_margin: float = 0.05
    trainable_layers: int | None = None
    gradient_chunk: int | None = None
    lora_rank: int | None = None
    anchor: float = 0.0
    anchor_temperature: float = 0.2
    keep: float = 1.0
    unseen_share: float = 0.0
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.loss not in LOSS_NAMES:
            raise ValueError(f"loss is {self.loss!r}; choose one of {', '.join(LOSS_NAMES)}")
        for name, lowest in (
            ("epochs", 1),
            ("batch_queries", 1),
            ("list_size", 2),
            ("max_length", 8),
            ("max_grade", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} is {value}; it must be {lowest} or more")
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; it must be a number above 0")
        for name in ("warmup_ratio", "in_batch_margin"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; it must be in [0, 1)")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be 0 or more")
        if not 0 < self.relevant_from <= self.max_grade:
            raise ValueError(f"relevant_from is {self.relevant_from}; it must be above 0 and at most {self.max_grade}")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more")
        if self.trainable_layers is not None and self.trainable_layers < 1:
            raise ValueError(f"trainable_layers is {self.trainable_layers}; it must be 1 or more, or None for all")
        for name in ("gradient_chunk", "lora_rank"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more, or None")
        if not (math.isfinite(self.anchor) and self.anchor >= 0):
            raise ValueError(f"anchor is {self.anchor}; it must be 0 or more")
        if not (math.isfinite(self.anchor_temperature) and self.anchor_temperature > 0):
            raise ValueError(f"anchor_temperature is {self.anchor_temperature}; it must be a number above 0")
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep is {self.keep}; it must be above 0 and at most 1")
        if not 0 <= self.unseen_share <= 0.5:
            raise ValueError(f"unseen_share is {self.unseen_share}; it must be in [0, 0.5]")

    def passes(self, n_lists: int) -> int:
        """How many passes over so many lists a training makes: `epochs`, or of few lists as many as make ENOUGH_LISTS.

        At least 1, and of its own accord at most MOST_PASSES.
        """
        if self.epochs is not None:
            return self.epochs
        return min(MOST_PASSES, max(1, math.ceil(ENOUGH_LISTS / max(1, n_lists))))


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """One part of a curriculum, trained in order: its lists and, where they differ from the settings, how.

    name: for people and the report. epochs, learning_rate, loss: None takes those of the settings. one_positive: of
    each list only the highest, surest positive is used (the human stage of arXiv 2504.05220).

    Raises: ValueError naming the stage, the value and what is allowed.
    """

    name: str
    lists: tuple[GradedList, ...]
    epochs: int | None = None
    learning_rate: float | None = None
    loss: str | None = None
    one_positive: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("a training stage has no name")
        if self.loss is not None and self.loss not in LOSS_NAMES:
            raise ValueError(f"stage {self.name!r}: loss is {self.loss!r}; choose one of {', '.join(LOSS_NAMES)}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"stage {self.name!r}: epochs is {self.epochs}; it must be 1 or more")
        if self.learning_rate is not None and not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"stage {self.name!r}: learning_rate is {self.learning_rate}; it must be above 0")


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """How a query adapter is trained on cached vectors; the defaults were chosen by measurement, see docs/training.md.

    kind: a name of ADAPTER_KINDS. rank: width of the low-rank map or hidden layer, or most keys of a kernel; None takes
    what suits the kind (32, 32, 4096). kernel_power: how fast a key's effect falls with the cosine, above 0. loss,
    temperature, relevant_from, max_grade, seed, in_batch_margin: as in TrainingSettings. epochs: most passes; fewer
    where the slices put aside say so. learning_rate: AdamW's. batch_queries: most queries a step. identity_decay:
    weight of the squared size of the change that the adapter makes, 0 or more. corpus_negatives: most passages of the
    corpus that may be unlabelled negatives; list_negatives: most of them in one query's list, the highest scores under
    the margin first.
    unseen_share: part of the lists, in [0, 0.5], put aside with all their relevant passages, on which no epoch that is
    chosen is worse than the model before by more than unseen_tolerance (nDCG@10, in [0, 1]).

    Raises: ValueError naming the setting, its value and what is allowed.
    """

    kind: str = "kernel"
    rank: int | None = None
    loss: str = LOSS_NAMES[0]
    epochs: int = 16
    learning_rate: float = 2e-3
    batch_queries: int = 64
    temperature: float = 0.05
    identity_decay: float = 0.0
    corpus_negatives: int = 20_000
    list_negatives: int = 64
    kernel_power: float = 4.0
    in_batch_margin: float = 0.05
    unseen_share: float = 0.2
    unseen_tolerance: float = 0.0
    relevant_from: float = 2
    max_grade: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ADAPTER_KINDS:
            raise ValueError(f"kind is {self.kind!r}; choose one of {', '.join(ADAPTER_KINDS)}")
        if self.loss not in LOSS_NAMES:
            raise ValueError(f"loss is {self.loss!r}; choose one of {', '.join(LOSS_NAMES)}")
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"rank is {self.rank}; it must be 1 or more, or None")
        for name, lowest in (("epochs", 1), ("batch_queries", 1), ("max_grade", 1), ("seed", 0), ("list_negatives", 0)):
            value = getattr(self, name)
            if value < lowest:
                raise ValueError(f"{name} is {value}; it must be {lowest} or more")
        for name in ("learning_rate", "temperature", "kernel_power"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; it must be a number above 0")
        if not (math.isfinite(self.identity_decay) and self.identity_decay >= 0):
            raise ValueError(f"identity_decay is {self.identity_decay}; it must be 0 or more")
        if self.corpus_negatives < 0:
            raise ValueError(f"corpus_negatives is {self.corpus_negatives}; it must be 0 or more")
        if not 0 <= self.in_batch_margin < 1:
            raise ValueError(f"in_batch_margin is {self.in_batch_margin}; it must be in [0, 1)")
        if not 0 <= self.unseen_share <= 0.5:
            raise ValueError(f"unseen_share is {self.unseen_share}; it must be in [0, 0.5]")
        if not 0 <= self.unseen_tolerance <= 1:
            raise ValueError(f"unseen_tolerance is {self.unseen_tolerance}; it must be in [0, 1]")
        if not 0 < self.relevant_from <= self.max_grade:
            raise ValueError(f"relevant_from is {self.relevant_from}; it must be above 0 and at most {self.max_grade}")


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands after a step; epoch is fractional, seconds count from the start of the training."""

    step: int
    total_steps: int
    loss: float
    epoch: float
    seconds: float


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage used and did; steps is 0 when none of its lists could be trained on, or no pass was kept.

    loss: its name. n_queries: lists trained on. n_passages: labelled passages used in them. n_positives and
    n_hard_negatives: their parts; the rest are weak labels, on neither side. skipped_lists: reason -> lists left out.
    cut_passages: labelled passages left out because their list was longer than list_size; of an adapter, because they
    have no vector or the stage takes one positive of a list. final_loss: mean over the last epoch's steps, 0 without
    steps.
    """

    name: str
    loss: str
    steps: int
    final_loss: float
    n_queries: int
    n_passages: int
    n_positives: int
    n_hard_negatives: int
    skipped_lists: Mapping[str, int]
    cut_passages: int = 0


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training used and did, summed over its stages.

    The counts are those of `StageReport`; a query with a list in two stages counts twice, of an adapter once.
    final_loss: of the last stage trained. stages: names of the stages trained, in order. by_stage: every stage's own
    report, also of those left out. unseen: figures of the lists put aside (name -> value, see `keep_choice.keep_best`,
    of an adapter `adapter_choice.choose_plan`), empty when none were asked for. keep: the part of the change that was
    kept.
    """

    steps: int
    seconds: float
    final_loss: float
    n_queries: int
    n_passages: int
    n_positives: int
    n_hard_negatives: int
    skipped_lists: Mapping[str, int]
    cut_passages: int = 0
    stages: tuple[str, ...] = ()
    by_stage: tuple[StageReport, ...] = ()
    unseen: Mapping[str, float] = field(default_factory=dict)
    keep: float = 1.0


@dataclass(frozen=True, slots=True)
class QueryMeasures:
    """The measures of one query, each in [0, 1], higher is better; and the share of its top 10 that nobody judged."""

    query_id: str
    values: Mapping[str, float]
    unjudged_at_10: float = 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean measures of one ranking over judged queries.

    n_queries: queries with at least one relevant judgement, the only ones that count. n_judgements: judgements of those
    queries. unjudged_at_10: mean share of the top 10 that nobody judged, in [0, 1]. n_queries_left_out: queries with
    judgements, none of them relevant.
    """

    measures: Mapping[str, float]
    per_query: tuple[QueryMeasures, ...]
    n_queries: int
    n_judgements: int
    unjudged_at_10: float
    n_queries_left_out: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus baseline for one measure, paired by query.

    low, high: bootstrap interval of the mean at 1 - alpha. p_value: two-sided sign-flip randomisation, not adjusted;
    p_adjusted: after Holm over the measures of the same slice. better, worse: query ids, largest change first.
    per_query: (query id, difference), so that the interval can be computed again at another alpha.
    """

    measure: str
    mean: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    n: int
    better: tuple[str, ...]
    worse: tuple[str, ...]
    per_query: tuple[tuple[str, float], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations of the same queries.

    slices: name (see `retriever.slices`) -> measure -> difference, without "seen" and "unseen" when these are unknown.
    resamples, seed, alpha: how the intervals were drawn.
    """

    baseline: Evaluation
    candidate: Evaluation
    differences: Mapping[str, Difference]
    slices: Mapping[str, Mapping[str, Difference]]
    resamples: int
    seed: int
    alpha: float


@dataclass(frozen=True, slots=True)
class RegressionOutcome:
    """What a candidate does to the passages that must stay near the top, each failure in words for people.

    n_checks: checks made. broken: those that the candidate fails and the live model holds. failing_before: those that
    both fail.
    """

    n_checks: int = 0
    broken: tuple[str, ...] = ()
    failing_before: tuple[str, ...] = ()


GATE_RULES = ("better", "not-worse")
"""What a candidate must be shown to be, see `retriever.gate.decide`; the first is the default."""


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether a candidate may go live, and why, in plain sentences.

    better: it beat the live model on all held-out queries. alpha: what this look was allowed to spend.
    """

    passed: bool
    better: bool
    reasons: tuple[str, ...]
    alpha: float
