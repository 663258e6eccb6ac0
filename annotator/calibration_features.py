"""What a calibrator looks at: one suggestion as numbers. Fitting is in `calibration`, the human's answer never here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotator.ensembling import entropy, first_second_distance, vote_shares
from annotator.errors import InputRefused
from annotator.shrunk_logistic import Floats, logit
from annotator.types import ConfidenceKind, RetrievalSignals, Scale

EDGES = {
    ConfidenceKind.VERBAL: 0.01,
    ConfidenceKind.TOKEN: 1e-4,
    ConfidenceKind.VOTES: 0.01,
    ConfidenceKind.RETRIEVER: 1e-3,
}
"""How near to 0 and 1 a raw confidence of each kind is believed. Our choice: a stated 100 % is a manner of speaking."""

NO_CONFIDENCE = 0.75
"""What a grade without any confidence counts as, on its side. Our choice; the reviews then move it."""


@dataclass(frozen=True, slots=True)
class JudgedInput:
    """What is known of one suggestion, never the human's answer.

    grade: the proposed one, 0..K. confidence: the judge's, in [0, 1], that the pair lies on the side of that grade.
    distribution: probability of each grade 0..K (of a second kind of confidence of the same judge, or of the same).
    votes: one grade a judge or prompt, always in the same order, None where one is missing. kind: what `confidence`
    is, where the caller knows it; another kind than the calibrator's is refused.
    """

    grade: int
    confidence: float | None
    distribution: tuple[float, ...] | None
    votes: tuple[int | None, ...] = ()
    signals: RetrievalSignals | None = None
    kind: ConfidenceKind | None = None


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Suggestions as numbers.

    offset: (n,) float64, log-odds of relevant as the judge itself says. values: (n, d) float64, NaN where nothing is
    known. names: d of them, as in `columns_of`.
    """

    names: tuple[str, ...]
    offset: Floats
    values: Floats


def feature_table(inputs: Sequence[JudgedInput], scale: Scale, kind: ConfidenceKind) -> FeatureTable:
    """Every feature that these inputs could give, in a fixed order that depends on the scale and number of votes only.

    - `raw`: the log-odds of relevant by the judge's own confidence, as in `offset`
    - `irrelevant.raw`, `relevant.raw`: the same where the proposed grade lies on that side, else 0
    - `side`: 1 when the proposed grade is relevant, 0 when not
    - `grade>=k`: 1 when the proposed grade reaches k, for every k but the side's own
    - `distribution`: log-odds of relevant by the grade distribution
    - `vote.j>=k`: 1 when vote j reaches k; `votes.entropy`, `votes.distance`: with the sign of the proposed side
    - `dense.rank`, `bm25.rank`: −ln of the rank, one past the pool where a system did not return the passage;
      `bm25.score`: as a share of the query's best. A cosine is left out: it does not compare across queries
      (arXiv 2510.00137, Lemma 1).

    Raises:
        InputRefused: another kind of confidence, a grade off the scale, no probability, or uneven numbers of votes.
    """
    n_votes = len(inputs[0].votes) if inputs else 0
    for one in inputs:
        _check(one, scale=scale, kind=kind, n_votes=n_votes)
    edge = EDGES[kind]
    side = np.array([scale.is_relevant(one.grade) for one in inputs], dtype=np.float64)
    offset = logit(np.array([raw_p_relevant(one, scale, kind) for one in inputs], dtype=np.float64), edge=edge)
    columns: dict[str, Floats] = {
        "raw": offset,
        "irrelevant.raw": offset * (1.0 - side),
        "relevant.raw": offset * side,
        "side": side,
    }
    for k in scale.grades:
        if k not in (0, scale.relevant_from):
            columns[f"grade>={k}"] = np.array([one.grade >= k for one in inputs], dtype=np.float64)
    columns["distribution"] = np.array([_distribution_odds(one, scale) for one in inputs], dtype=np.float64)
    for j in range(n_votes):
        given = np.array([math.nan if (v := one.votes[j]) is None else v for one in inputs], dtype=np.float64)
        for k in range(1, scale.max_grade + 1):
            columns[f"vote.{j}>={k}"] = np.where(np.isnan(given), math.nan, given >= k)
    if n_votes > 1:
        shares = [vote_shares(one.votes, scale) for one in inputs]
        sign = 2.0 * side - 1.0
        columns["votes.entropy"] = -sign * np.array([math.nan if s is None else entropy(s) for s in shares])
        columns["votes.distance"] = sign * np.array(
            [math.nan if s is None else first_second_distance(s) for s in shares]
        )
    columns["dense.rank"] = np.array([_rank(one.signals, "dense") for one in inputs], dtype=np.float64)
    columns["bm25.rank"] = np.array([_rank(one.signals, "bm25") for one in inputs], dtype=np.float64)
    columns["bm25.score"] = np.array([_bm25_share(one.signals) for one in inputs], dtype=np.float64)
    values = np.column_stack(list(columns.values())) if inputs else np.zeros((0, len(columns)))
    return FeatureTable(names=tuple(columns), offset=offset, values=values)


def raw_p_relevant(one: JudgedInput, scale: Scale, kind: ConfidenceKind) -> float:
    """The judge's own probability in [0, 1] that the pair is relevant: c when it proposes relevant, 1 − c when not.

    With kind `votes` and at least one vote: (relevant votes + ½) / (votes + 1), our choice of smoothing. Without any
    confidence, `NO_CONFIDENCE` on the side of the grade.

    Source: c and 1 − c follow DIRAS (arXiv 2406.14162).
    """
    if kind is ConfidenceKind.VOTES:
        given = [vote for vote in one.votes if vote is not None]
        if given:
            return (sum(scale.is_relevant(vote) for vote in given) + 0.5) / (len(given) + 1.0)
    if one.confidence is not None:
        confidence = one.confidence
    elif one.distribution is not None:
        return min(1.0, math.fsum(p for grade, p in enumerate(one.distribution) if scale.is_relevant(grade)))
    else:
        confidence = NO_CONFIDENCE
    return confidence if scale.is_relevant(one.grade) else 1.0 - confidence


def lowest_coefficient(name: str) -> float:
    """How far down a feature's coefficient may go: −1 cancels the raw confidence, 0 keeps a feature monotone.

    More confidence, a higher grade, a higher vote and a better rank never make a pair less probably relevant. The side
    itself is free: the raw confidence may overstate it.
    """
    if name == "raw" or name.endswith(".raw"):
        return -1.0
    return -math.inf if name == "side" else 0.0


def _distribution_odds(one: JudgedInput, scale: Scale) -> float:
    if one.distribution is None:
        return math.nan
    p = math.fsum(p for grade, p in enumerate(one.distribution) if scale.is_relevant(grade))
    return float(logit(np.array([p]), edge=EDGES[ConfidenceKind.TOKEN])[0])


def _rank(signals: RetrievalSignals | None, system: str) -> float:
    if signals is None:
        return math.nan
    rank = signals.dense_rank if system == "dense" else signals.bm25_rank
    if rank is not None:
        return -math.log(rank)
    return math.nan if signals.pool_size is None else -math.log(signals.pool_size + 1)


def _bm25_share(signals: RetrievalSignals | None) -> float:
    if signals is None or not signals.best_bm25_score or signals.best_bm25_score <= 0:
        return math.nan
    return 0.0 if signals.bm25_score is None else signals.bm25_score / signals.best_bm25_score


def _check(one: JudgedInput, *, scale: Scale, kind: ConfidenceKind, n_votes: int) -> None:
    if one.kind is not None and one.kind is not kind:
        raise InputRefused(f"a confidence of kind {one.kind} among those of kind {kind}; kinds are never mixed")
    grades = [one.grade, *(vote for vote in one.votes if vote is not None)]
    for grade in grades:
        if grade not in scale.grades:
            raise InputRefused(f"grade {grade} is not on the scale 0..{scale.max_grade}")
    if one.confidence is not None and not 0.0 <= one.confidence <= 1.0:
        raise InputRefused(f"confidence {one.confidence} is no probability in [0, 1]")
    if one.distribution is not None and (
        len(one.distribution) != scale.max_grade + 1 or not math.isclose(sum(one.distribution), 1.0, abs_tol=1e-6)
    ):
        raise InputRefused(f"distribution {one.distribution} is none over the grades 0..{scale.max_grade}")
    if len(one.votes) != n_votes:
        raise InputRefused(f"{len(one.votes)} votes beside {n_votes}; give None for a vote that is missing")
