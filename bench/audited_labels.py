"""One year of TREC DL as an audit campaign: which pairs people have audited by when, and what may train then.

People's grades come out of `Campaign.human` only for audited pairs. What is trained and measured is not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.audit_value import AuditCase, audit_order, audit_value, p_of_grade, score_threshold
from annotator.calibration import JudgedInput, fit_calibrator
from annotator.errors import CalibrationImpossible
from annotator.types import ConfidenceKind, RetrievalSignals, Scale
from app.services.soft_targets import soft_grade, soft_weight
from retriever.training_lists import IRRELEVANT_BELOW
from retriever.types import GradedList, LabelledPassage, TrainingStage

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

SCALE = Scale(max_grade=3, relevant_from=2)
FIRST_LOOK = 0.01
"""Share audited before the calibrator is fitted for the first time; it is fitted anew at every share after."""

DEPTH = 1000
"""Ranks beyond this count as not returned."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """The judged pairs of one year's queries; all arrays are (n_pairs,).

    query_ids, passage_ids: of each pair. proposed: the LLM's grades. human: people's. rank: of the passage in the live
    retriever's list of the query, from 1. score: its cosine. queries, passages: texts by id.
    """

    query_ids: tuple[str, ...]
    passage_ids: tuple[str, ...]
    proposed: NDArray[np.int64]
    human: NDArray[np.int64]
    rank: NDArray[np.int64]
    score: Floats
    queries: Mapping[str, str]
    passages: Mapping[str, str]

    @property
    def n_pairs(self) -> int:
        """How many pairs there are to audit."""
        return len(self.query_ids)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to spend audits. by_value: the queue's order, else random. curriculum: LLM labels first, people's last,
    else both in one stage. soft: proposals train as calibrated soft targets, else by the LLM's grade at full weight."""

    name: str
    by_value: bool
    curriculum: bool
    soft: bool


@dataclass(frozen=True, slots=True)
class Audited:
    """Where a campaign stands. share: of the pairs. audited: (n_pairs,) bool. p_relevant: (n_pairs,), of every pair by
    a calibrator fitted on the audited ones; None while it cannot be fitted."""

    share: float
    audited: Bools
    p_relevant: Floats | None


def run_campaign(campaign: Campaign, *, by_value: bool, shares: Sequence[float], seed: int) -> Iterator[Audited]:
    """Where the campaign stands at each share, ascending; the queue is ordered anew at each by what is known there."""
    audited = np.zeros(campaign.n_pairs, dtype=np.bool_)
    p: Floats | None = None
    steps = sorted({FIRST_LOOK, *shares} if max(shares) >= FIRST_LOOK else set(shares))
    for number, share in enumerate(steps):
        missing = round(share * campaign.n_pairs) - int(audited.sum())
        if missing > 0:
            open_pairs = np.flatnonzero(~audited)
            values = case_values(campaign, audited, p)[open_pairs].tolist() if by_value else [0.0] * len(open_pairs)
            places = audit_order(values, seed=1000 * seed + number, **({} if by_value else {"explored": 1.0}))
            audited = audited.copy()
            audited[open_pairs[places[:missing]]] = True
            p = None if audited.all() else calibrated(campaign, audited)
        if share in shares:
            yield Audited(share, audited, p)


def case_values(campaign: Campaign, audited: Bools, p_relevant: Floats | None) -> Floats:
    """The value of auditing each pair, (n_pairs,) float64; people's grades are read of audited pairs only."""
    if p_relevant is None:
        p_relevant = np.array([p_of_grade(int(grade), SCALE) for grade in campaign.proposed])
    believed = np.where(audited, campaign.human >= SCALE.relevant_from, p_relevant >= 0.5)
    query_of = np.array(campaign.query_ids)
    values = np.zeros(campaign.n_pairs)
    for query_id in dict.fromkeys(campaign.query_ids):
        inside = np.flatnonzero(query_of == query_id)
        threshold = score_threshold(campaign.score[inside].tolist(), believed[inside].tolist())
        for at in inside.tolist():
            values[at] = audit_value(
                AuditCase(
                    p_relevant=float(p_relevant[at]),
                    rank=int(campaign.rank[at]),
                    margin=None if threshold is None else float(campaign.score[at]) - threshold,
                )
            )
    return values


def calibrated(campaign: Campaign, audited: Bools) -> Floats | None:
    """p(relevant) of every pair by the product's calibrator fitted on the audited ones, (n_pairs,); None if too few.

    The LLM states no confidence here, so the calibrator starts from its side and learns from grade and rank.
    """
    inputs = [_input(campaign, at) for at in range(campaign.n_pairs)]
    known = np.flatnonzero(audited).tolist()
    try:
        calibrator = fit_calibrator(
            [inputs[at] for at in known],
            [bool(campaign.human[at] >= SCALE.relevant_from) for at in known],
            [campaign.query_ids[at] for at in known],
            scale=SCALE,
            kind=ConfidenceKind.VERBAL,
        )
    except CalibrationImpossible:
        return None
    return calibrator.p_relevant(inputs)


def training_stages(campaign: Campaign, arm: Arm, standing: Audited) -> list[TrainingStage]:
    """What trains: people's grades of audited pairs, the LLM's of the others; stages without a positive are left out.

    A pair trains with one label, as in a label set. The curriculum is the product's: first all labels of the queries
    that still have one of the LLM, then people's alone. Without any calibrator, at 0 % audited, the LLM's grades train
    as they are in every arm.
    """
    people, llm = [], []
    for at in range(campaign.n_pairs):
        if standing.audited[at]:
            people.append((at, float(campaign.human[at]), 1.0))
            continue
        grade = int(campaign.proposed[at])
        if arm.soft and standing.p_relevant is not None:
            p = float(standing.p_relevant[at])
            llm.append((at, soft_grade(grade, p, SCALE), soft_weight(p)))
        else:
            llm.append((at, float(grade), 1.0))
    judged = {campaign.query_ids[at] for at, _, _ in llm}
    first = [*llm, *(label for label in people if campaign.query_ids[label[0]] in judged)]
    parts = {"llm": first, "people": people} if arm.curriculum else {"union": [*llm, *people]}
    stages = [TrainingStage(name=name, lists=_lists(campaign, labels)) for name, labels in parts.items()]
    return [stage for stage in stages if _has_positive(stage)]


def wrong_labels(campaign: Campaign, standing: Audited) -> float:
    """The share of pairs whose label is on another side than people's, the LLM's grade counting where nobody audited.

    It reads what the campaign may not: for the report only.
    """
    wrong = (campaign.proposed >= SCALE.relevant_from) != (campaign.human >= SCALE.relevant_from)
    return float((wrong & ~standing.audited).mean())


def _input(campaign: Campaign, at: int) -> JudgedInput:
    rank = int(campaign.rank[at])
    return JudgedInput(
        grade=int(campaign.proposed[at]),
        confidence=None,
        distribution=None,
        signals=RetrievalSignals(dense_rank=rank if rank <= DEPTH else None, pool_size=DEPTH),
    )


def _lists(campaign: Campaign, labels: Sequence[tuple[int, float, float]]) -> tuple[GradedList, ...]:
    """Lists as a label set gives them: positives first, then negatives, then grades between; surest, then best rank."""
    by_query: dict[str, list[tuple[tuple[float, ...], LabelledPassage]]] = {}
    for at, grade, weight in labels:
        passage_id = campaign.passage_ids[at]
        side = 0 if grade >= SCALE.relevant_from else 1 if grade < IRRELEVANT_BELOW else 2
        passage = LabelledPassage(passage_id, campaign.passages[passage_id], grade, weight)
        order = (side, -weight, -grade, float(campaign.rank[at]))
        by_query.setdefault(campaign.query_ids[at], []).append((order, passage))
    return tuple(
        GradedList(
            query_id=query_id,
            query=campaign.queries[query_id],
            passages=tuple(passage for _, passage in sorted(found, key=lambda one: (one[0], one[1].passage_id))),
        )
        for query_id, found in sorted(by_query.items())
    )


def _has_positive(stage: TrainingStage) -> bool:
    return any(passage.grade >= SCALE.relevant_from for entry in stage.lists for passage in entry.passages)
