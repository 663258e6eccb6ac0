"""What models gained on held-out questions, and the people's hours and dollars that their labels took until then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import RoundStatus, RunStatus, Split
from db.models import (
    Evaluation,
    LabelJob,
    LabelSet,
    ModelVersion,
    Pair,
    Query,
    QueryCluster,
    Review,
    SpendEntry,
    TrainingRound,
    TrainingRun,
)
from db.queries.standing import GRADING, standing_reviews
from db.queries.training import made_by_run


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A finished run: its model, when its labels were frozen, and what was measured of it, as stored.

    comparison: of its evaluation on held-out questions beside `baseline_id`; None where there was none. measured: of
    the round that it was the retraining of, None outside of rounds or while the round is not done.
    """

    run_id: int
    model_id: int
    model: str
    labels_at: datetime
    baseline_id: int | None
    comparison: Mapping[str, Any] | None
    round_number: int | None
    measured: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Effort:
    """What people had done until a moment: train pairs graded here, seconds on train pairs and on all others."""

    audits: int
    seconds: float
    other_seconds: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What label jobs that began until a moment have cost; `is_priced` is False where some job had no known price."""

    usd: float
    is_priced: bool


def list_trained(session: Session, *, criterion: Criterion, newest: int) -> list[TrainedModel]:
    """Finished runs whose labels are about that criterion, oldest first, the newest so many."""
    rows = session.execute(
        sa.select(
            TrainingRun.id,
            ModelVersion.id,
            ModelVersion.name,
            LabelSet.created_at,
            Evaluation.baseline_model_id,
            Evaluation.comparison,
            TrainingRound.number,
            TrainingRound.progress,
        )
        .join(ModelVersion, ModelVersion.id == TrainingRun.model_version_id)
        .join(LabelSet, LabelSet.id == TrainingRun.label_set_id)
        .outerjoin(
            Evaluation,
            sa.and_(
                Evaluation.id == TrainingRun.evaluation_id,
                Evaluation.split == Split.HELD_OUT,
                Evaluation.criterion == criterion,
                Evaluation.baseline_model_id.is_not(None),
            ),
        )
        .outerjoin(
            TrainingRound,
            sa.and_(TrainingRound.run_id == TrainingRun.id, TrainingRound.status == RoundStatus.DONE),
        )
        .where(LabelSet.criterion == criterion, TrainingRun.status == RunStatus.DONE)
        .order_by(TrainingRun.id.desc())
        .limit(newest)
    ).all()
    return [
        TrainedModel(
            run_id=row[0],
            model_id=row[1],
            model=row[2],
            labels_at=row[3],
            baseline_id=row[4],
            comparison=row[5],
            round_number=row[6],
            measured=None if row[7] is None else row[7].get("measured"),
        )
        for row in reversed(rows)
    ]


def labels_frozen_at(session: Session, *, criterion: Criterion, model_ids: Sequence[int]) -> dict[int, datetime]:
    """When the labels of these models were frozen; a model that no run of that criterion made is missing."""
    rows = session.execute(
        sa.select(ModelVersion.id, sa.func.max(LabelSet.created_at))
        .select_from(TrainingRun)
        .join(ModelVersion, made_by_run())
        .join(LabelSet, LabelSet.id == TrainingRun.label_set_id)
        .where(LabelSet.criterion == criterion, ModelVersion.id.in_(list(model_ids)))
        .group_by(ModelVersion.id)
    )
    return {row[0]: row[1] for row in rows}


def effort_until(
    session: Session, *, criterion: Criterion, moments: Sequence[datetime], pause: float
) -> dict[datetime, Effort]:
    """What people had done here until each of a few moments; cards open for longer than `pause` seconds give no time.

    Grades that were taken back or that came in a file are no audits; the time that they took was spent.
    """
    if not moments:
        return {}
    count = sa.func.count
    first = (
        standing_reviews(criterion)
        .join(Pair, Pair.id == Review.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(Review.action.in_(GRADING), Review.source_id.is_(None), QueryCluster.split == Split.TRAIN)
        .with_only_columns(sa.func.min(Review.created_at).label("at"))
        .group_by(Review.pair_id)
        .subquery()
    )
    audits = session.execute(sa.select(*(count().filter(first.c.at <= moment) for moment in moments))).one()
    trains = QueryCluster.split == Split.TRAIN
    seconds = session.execute(
        sa.select(
            *(
                sa.func.coalesce(sa.func.sum(Review.seconds).filter(Review.created_at <= moment, of), 0.0)
                for of in (trains, ~trains)
                for moment in moments
            )
        )
        .select_from(Review)
        .join(Pair, Pair.id == Review.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(Review.criterion == criterion, Review.source_id.is_(None), Review.seconds <= pause)
    ).one()
    n = len(moments)
    return {
        moment: Effort(int(audits[place]), float(seconds[place] or 0.0), float(seconds[n + place] or 0.0))
        for place, moment in enumerate(moments)
    }


def spent_until(session: Session, *, criterion: Criterion, moments: Sequence[datetime]) -> dict[datetime, Spent]:
    """What LLMs had cost until each moment, from the running totals of the label jobs."""
    one_entry = (
        sa.select(SpendEntry.id)
        .where(SpendEntry.job_id == LabelJob.id, SpendEntry.cost_usd.is_(None), SpendEntry.tokens > 0)
        .limit(1)
        .correlate(LabelJob)
        .exists()
    )
    jobs = session.execute(
        sa.select(LabelJob.started_at, LabelJob.spent_usd, LabelJob.spent_tokens, one_entry.label("unpriced")).where(
            LabelJob.criterion == criterion
        )
    ).all()
    return {
        moment: Spent(
            usd=sum(float(job.spent_usd) for job in jobs if job.started_at <= moment),
            is_priced=not any(job.unpriced for job in jobs if job.started_at <= moment),
        )
        for moment in moments
    }
