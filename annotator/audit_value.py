"""What a person's answer to a pair is worth to the retriever, and the order of audits that follows from it.

Pure: who is asked, and which pairs may be shown to whom, is the queue's matter. Certificates are never read off audits
that were chosen by value; see `audit_design` for the random sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.errors import InputRefused
from annotator.shrunk_logistic import expit
from annotator.types import Scale

CLOSE = 0.1
"""Cosine at which the closeness to the query's threshold falls to 1/e. Our choice: two temperatures of training."""

EXPLORED = 0.2
"""Share of the audits that is drawn at random: the calibrator must see what the value order avoids. Our choice."""


@dataclass(frozen=True, slots=True)
class AuditCase:
    """What is known of a pair before a person looks at it; never a person's grade.

    p_relevant: probability in [0, 1] that people call it relevant, calibrated where a calibrator is there, else
    `p_of_grade`. rank: in the live retriever's list of the query, from 1, None where it does not return the pair.
    margin: its score minus the query's threshold of `score_threshold`, in cosine, None where there is none.
    disagreement: of several judges, in [0, 1], 1 where they are evenly split; None with one judge.
    """

    p_relevant: float
    rank: int | None = None
    margin: float | None = None
    disagreement: float | None = None


def p_of_grade(grade: int, scale: Scale) -> float:
    """What a grade alone says of being relevant, in (0, 1): 1 / (1 + e^−(grade − relevant_from + ½)). Our choice."""
    return float(expit(np.array([grade - scale.relevant_from + 0.5]))[0])


def score_threshold(scores: Sequence[float], relevant: Sequence[bool]) -> float | None:
    """Where a query's scores part relevant from irrelevant: halfway between the medians; None without both sides.

    scores: cosines of the query's pairs. relevant: what is thought of each now, by whoever judged it last. Our choice.
    """
    sides = [
        [score for score, side in zip(scores, relevant, strict=True) if side is wanted] for wanted in (True, False)
    ]
    if not all(sides):
        return None
    return float(np.median(sides[0]) + np.median(sides[1])) / 2.0


def audit_value(case: AuditCase) -> float:
    """The value of auditing a pair, in [0, 1], higher is more: doubt · reach.

    doubt = max(4 p (1 − p), disagreement): how likely an answer is to change the label. reach = the mean of
    1 / log2(1 + rank), nDCG's discount, and e^(−|margin| / CLOSE), of those that are known, else 1: how much the label
    moves the ranking, at the top and where relevant and irrelevant passages meet. Our choice, not tuned on any data.

    Raises:
        InputRefused: a number out of range.
    """
    p, disagreement = case.p_relevant, case.disagreement
    if not 0.0 <= p <= 1.0:
        raise InputRefused(f"p_relevant is {p}; it must be in [0, 1]")
    if disagreement is not None and not 0.0 <= disagreement <= 1.0:
        raise InputRefused(f"disagreement is {disagreement}; it must be in [0, 1]")
    if case.rank is not None and case.rank < 1:
        raise InputRefused(f"rank is {case.rank}; it must be 1 or more")
    if case.margin is not None and not math.isfinite(case.margin):
        raise InputRefused(f"margin is {case.margin}; it must be a number")
    reach = []
    if case.rank is not None:
        reach.append(1.0 / math.log2(1.0 + case.rank))
    if case.margin is not None:
        reach.append(math.exp(-abs(case.margin) / CLOSE))
    doubt = max(4.0 * p * (1.0 - p), disagreement or 0.0)
    return doubt * (math.fsum(reach) / len(reach) if reach else 1.0)


def audit_order(values: Sequence[float], *, seed: int, explored: float = EXPLORED) -> NDArray[np.int64]:
    """Positions of pairs in the order in which they are to be audited, (n,) int64, each once.

    values: of `audit_value`; the highest comes first, the earlier of equals. explored: share of the places, spread
    evenly, that pairs drawn at random take, in [0, 1]; 1 is random order. The same seed gives the same order.

    Raises:
        InputRefused: explored is no share.
    """
    if not 0.0 <= explored <= 1.0:
        raise InputRefused(f"explored is {explored}; it must be in [0, 1]")
    by_value = np.argsort(-np.asarray(values, dtype=np.float64), kind="stable").tolist()
    by_chance = np.random.default_rng(seed).permutation(len(values)).tolist()
    taken: set[int] = set()
    order: list[int] = []
    next_of = {True: iter(by_chance), False: iter(by_value)}
    for place in range(len(values)):
        drawn = math.floor((place + 1) * explored) > math.floor(place * explored)
        chosen = next(at for at in next_of[drawn] if at not in taken)
        taken.add(chosen)
        order.append(chosen)
    return np.array(order, dtype=np.int64)
