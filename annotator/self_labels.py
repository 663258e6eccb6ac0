"""The retriever's own labels: where a pair stands in its query's list, and a classifier that knows when it is sure.

A raw similarity says nothing across queries: a contrastive loss does not change when all scores of a query are shifted,
so neither may the features. All that comes from a learnt score here is a difference within one query's list. Which
passages the list holds, who certifies the labels and who stores them is elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np

from annotator.errors import CalibrationImpossible, InputRefused
from annotator.shrunk_logistic import Floats, expit, fit_shrunk_logistic
from annotator.types import ListSignals, RetrievalSignals, Scale

LIST_DEPTH: Final = 30
"""How many passages a query's list has: the best of one model version. Fixed, or a probability in it means nothing."""

TEMPERATURE: Final = 0.05
"""Cosines are divided by it in the softmax, as in training."""

LEAST_EACH_SIDE: Final = 10
"""Fewest labelled pairs of each side to fit on; with fewer the classifier would repeat how common relevance is."""

PENALTY: Final = 10.0
"""Of a squared weight, half of it in nats, on features of unit spread. Chosen on questions of msrd train and dev: for
20, 40 and 100 judged questions to fit on, log loss .41, .40 and .39 against .43, .41 and .40 at a penalty of 1."""

FEATURES: Final = (
    "log_probability",
    "lead",
    "above_median",
    "log_rank",
    "bm25_share",
    "log_bm25_rank",
    "log_probability_change",
    "log_rank_change",
)
"""Every feature, in order; the last two are there when the model version before was asked too."""

_OF_CHANGE: Final = FEATURES[-2:]

_FORMAT: Final = 1


def list_signals(score: float, best: Sequence[float], *, temperature: float = TEMPERATURE) -> ListSignals:
    """Where a passage with this score stands in its query's list; a shift of all scores changes nothing.

    best: the scores of the query's list, highest first, by the same model version; the passage may be one of them or
    lie below them all. Formula: log_probability = s/τ − LSE(best/τ), held at 0; lead = s − the best other score;
    above_median = s − median(best); rank = 1 + how many of the list score higher.

    Source: per-query features instead of raw similarity, because contrastive losses are invariant to a per-query shift
    (arXiv 2510.00137, Lemma 1); which features, and τ, are our choice.

    Raises:
        InputRefused: the list has fewer than two scores or is not sorted, or a number is not finite.
    """
    if len(best) < 2:
        raise InputRefused(f"a list of {len(best)} passages says nothing; it needs 2 or more")
    if not all(math.isfinite(value) for value in (score, *best)):
        raise InputRefused("a score of the list is NaN or infinite")
    if any(earlier < later for earlier, later in pairwise(best)):
        raise InputRefused("the scores of a list must come highest first")
    top, middle = best[0], len(best) // 2
    log_sum = math.log(math.fsum(math.exp((other - top) / temperature) for other in best))
    median = best[middle] if len(best) % 2 else (best[middle - 1] + best[middle]) / 2
    return ListSignals(
        log_probability=min(0.0, (score - top) / temperature - log_sum),
        lead=score - (best[1] if score >= top else top),
        above_median=score - median,
        rank=1 + sum(other > score for other in best),
    )


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair that a person judged; the group is its query, or what holds near-duplicate queries together."""

    group: str
    signals: RetrievalSignals
    relevant: bool


@dataclass(frozen=True, slots=True)
class SelfLabelClassifier:
    """The fitted probability that a pair is relevant; `fit_classifier` makes one. Equal versions answer alike.

    means, spreads: of each feature among the pairs it was fitted on. weights: of the standardised features.
    n_pairs, n_relevant, n_groups: what it was fitted on.
    """

    features: tuple[str, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    intercept: float
    weights: tuple[float, ...]
    n_pairs: int
    n_relevant: int
    n_groups: int

    @property
    def needs_model_before(self) -> bool:
        """Whether it looks at the agreement with the model version before."""
        return "log_rank_change" in self.features

    @property
    def version(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of everything that decides an answer."""
        decides = {**self.to_json(), "list_depth": LIST_DEPTH, "temperature": TEMPERATURE}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def p_relevant(self, signals: RetrievalSignals) -> float:
        """Probability in [0, 1] that a person would call the pair relevant.

        Raises:
            InputRefused: the live model, or the one before where it is needed, was not asked about the pair.
        """
        return float(self.p_relevant_of(feature_rows([signals], self.features))[0])

    def p_relevant_of(self, rows: Floats) -> Floats:
        """The same for many: rows (n, d) float64 of `feature_rows` with this classifier's features; (n,) float64."""
        standardised = (rows - np.array(self.means)) / np.array(self.spreads)
        return expit(self.intercept + standardised @ np.array(self.weights))

    def to_json(self) -> dict[str, object]:
        """Everything, for the database; floats keep all their digits."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Self:
        """What `to_json` gave.

        Raises:
            InputRefused: it was written by another version of this class.
        """
        fields = dict(stored)
        if fields.pop("format", None) != _FORMAT:
            raise InputRefused(
                f"a self-label classifier of format {stored.get('format')}; this version reads {_FORMAT}"
            )
        tupled = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        return cls(**tupled)  # type: ignore[arg-type]  # the format vouches for the fields


def fit_classifier(pairs: Sequence[LabelledPair]) -> SelfLabelClassifier:
    """The classifier fitted on these pairs, which belong to other queries than those it will label.

    The two features of change are used only when every pair has the word of the model version before.
    Formula: logistic regression on standardised features, half an L2 penalty on the weights and none on the intercept.
    No weight but those of change is negative: a better place in a list never makes a pair less probably relevant.

    Raises:
        CalibrationImpossible: fewer than `LEAST_EACH_SIDE` pairs of a side.
        InputRefused: the live model was not asked about a pair.
    """
    n_relevant = sum(pair.relevant for pair in pairs)
    if min(n_relevant, len(pairs) - n_relevant) < LEAST_EACH_SIDE:
        raise CalibrationImpossible(
            f"{n_relevant} relevant and {len(pairs) - n_relevant} irrelevant pairs are judged; fitting needs "
            f"{LEAST_EACH_SIDE} of each",
            user_message=(
                f"The retriever cannot label yet: people judged {n_relevant} pairs as relevant and "
                f"{len(pairs) - n_relevant} as not; {LEAST_EACH_SIDE} of each are needed."
            ),
        )
    names = FEATURES if all(pair.signals.listed_before is not None for pair in pairs) else FEATURES[: -len(_OF_CHANGE)]
    rows = feature_rows([pair.signals for pair in pairs], names)
    means, spreads = rows.mean(axis=0), rows.std(axis=0)
    spreads[spreads < 1e-9] = 1.0  # a feature that never varies gets no weight
    design = np.column_stack([np.ones(len(rows)), (rows - means) / spreads])
    weights = fit_shrunk_logistic(
        design,
        np.zeros(len(rows)),
        np.array([pair.relevant for pair in pairs], dtype=np.float64),
        penalties=np.array([0.0, *[PENALTY] * len(names)]),
        lowest=np.array([-np.inf, *(-np.inf if name in _OF_CHANGE else 0.0 for name in names)]),
    )
    return SelfLabelClassifier(
        features=names,
        means=tuple(means.tolist()),
        spreads=tuple(spreads.tolist()),
        intercept=float(weights[0]),
        weights=tuple(weights[1:].tolist()),
        n_pairs=len(pairs),
        n_relevant=n_relevant,
        n_groups=len({pair.group for pair in pairs}),
    )


def feature_rows(signals: Sequence[RetrievalSignals], names: Sequence[str]) -> Floats:
    """The named features of each pair, (n, len(names)) float64.

    A rank enters as −ln, one past the list where a system did not return the passage; BM25's score as a share of the
    query's best. A change is that between the live model and the one before, without its sign: 0 is agreement.

    Raises:
        InputRefused: a model version that the features need was not asked about a pair.
    """
    return np.array([_row(one, names) for one in signals], dtype=np.float64).reshape(len(signals), len(names))


def proposed_grade(p_relevant: float, scale: Scale) -> int:
    """0 or the highest grade, whichever side is likelier; a grade between them is never the retriever's to give.

    Our choice: what is certified is the side, and a middle grade is a finer judgement than a rank or a margin can give.
    """
    return scale.max_grade if p_relevant >= 0.5 else 0


def _row(signals: RetrievalSignals, names: Sequence[str]) -> list[float]:
    listed, before = signals.listed, signals.listed_before
    if listed is None:
        raise InputRefused("the live model was not asked about the pair")
    values = {
        "log_probability": listed.log_probability,
        "lead": listed.lead,
        "above_median": listed.above_median,
        "log_rank": -math.log(listed.rank),
        "bm25_share": _bm25_share(signals),
        "log_bm25_rank": -math.log(min(signals.bm25_rank or LIST_DEPTH + 1, LIST_DEPTH + 1)),
    }
    if before is not None:
        values["log_probability_change"] = abs(listed.log_probability - before.log_probability)
        values["log_rank_change"] = abs(math.log(listed.rank) - math.log(before.rank))
    try:
        return [values[name] for name in names]
    except KeyError as exc:
        raise InputRefused("the model version before was not asked about the pair") from exc


def _bm25_share(signals: RetrievalSignals) -> float:
    if signals.bm25_score is None or not signals.best_bm25_score or signals.best_bm25_score <= 0:
        return 0.0
    return min(1.0, max(0.0, signals.bm25_score / signals.best_bm25_score))
