"""What the services of rounds return: frozen views, never rows of the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from annotator.types import Criterion
from db.enums import RoundStatus


class Part(StrEnum):
    """What is to be done next in a round; its words are the stage that screens show."""

    POOL = "pooling with the live model"
    CONSENT = "waiting for consent to what labelling costs"
    LABEL = "labelling what is new"
    AUDIT = "waiting for audits"
    TRAIN = "retraining"
    MEASURE = "measuring what the round gained"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over n held-out queries with its 95 % interval (bootstrap by query)."""

    mean: float
    low: float
    high: float
    n_queries: int


@dataclass(frozen=True, slots=True)
class RoundView:
    """A round as it is now; a figure is None until its part is done.

    next_part: what is to be done. alive: whether somebody does it. new_pairs: candidates that no earlier round had.
    labels: proposals of the judge that the round brought. n_audits: train pairs that people graded here since the round
    before; until the retraining, so far. ndcg: nDCG@10 of the round's model; gain: against `compared_with`.
    gain_per_100: gain of the whole round for each 100 audits. stop: whether to stop is recommended, None where nothing
    can be said; advice says it in words.
    """

    id: int
    number: int
    criterion: Criterion
    status: RoundStatus
    next_part: Part
    message: str
    alive: bool
    pooled_with: str
    judge: str
    new_pairs: int | None
    labels: int | None
    cost_usd: float | None
    waiting: int
    n_audits: int
    label_job_id: int | None
    run_id: int | None
    model: str | None
    compared_with: str | None
    ndcg: Figure | None
    gain: Figure | None
    gain_per_100: float | None
    stop: bool | None
    advice: str
    created_at: datetime
    finished_at: datetime | None
