"""What comes after the first retraining: rounds, revocations, the regression set, what to judge first, hybrid mixes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from annotator.types import Criterion
from db.base import Base, enum_of
from db.enums import RevocationAct, RoundStatus


class TrainingRound(Base):
    """One turn of the loop: pool with the present retriever, label what is new, retrain with what people audited.

    `progress` keeps the figures of every finished part, so that a repeated part is found done.
    """

    __tablename__ = "training_round"
    __table_args__ = (sa.UniqueConstraint("criterion", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    status: Mapped[RoundStatus] = mapped_column(enum_of(RoundStatus, "round_status"))
    stage: Mapped[str] = mapped_column(sa.String(60))
    pooled_with_id: Mapped[int] = mapped_column(sa.ForeignKey("model_version.id"))
    label_job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("label_job.id"))
    run_id: Mapped[int | None] = mapped_column(sa.ForeignKey("training_run.id"))
    n_audits: Mapped[int] = mapped_column(default=0)
    settings: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]]
    message: Mapped[str] = mapped_column(sa.Text, default="")
    person_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Revocation(Base):
    """A judge's or a reviewer's labels taken out of use, or given back; the newest row of each holds; append-only."""

    __tablename__ = "revocation"
    __table_args__ = (
        sa.CheckConstraint("(judge_id IS NULL) <> (reviewer_id IS NULL)", name="judge_or_reviewer"),
        sa.CheckConstraint("length(trim(reason)) > 0", name="needs_a_reason"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    act: Mapped[RevocationAct] = mapped_column(enum_of(RevocationAct, "revocation_act"))
    judge_id: Mapped[int | None] = mapped_column(sa.ForeignKey("judge.id"), index=True)
    reviewer_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"), index=True)
    reason: Mapped[str] = mapped_column(sa.Text)
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"))
    created_at: Mapped[datetime]


class RegressionCheck(Base):
    """A passage that must stay within the first `deepest_rank` results of a query, for every model that goes live."""

    __tablename__ = "regression_check"
    __table_args__ = (sa.CheckConstraint("deepest_rank >= 1", name="deepest_rank_from_one"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    query_id: Mapped[int] = mapped_column(sa.ForeignKey("query.id"))
    passage_id: Mapped[int] = mapped_column(sa.ForeignKey("passage.id"))
    deepest_rank: Mapped[int]
    note: Mapped[str] = mapped_column(sa.Text)
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"))
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class JudgeFirst(Base):
    """An unjudged pair near the top of a model under comparison: people judge it before the rest of the queue."""

    __tablename__ = "judge_first"

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True)
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"), primary_key=True)
    evaluation_id: Mapped[int] = mapped_column(sa.ForeignKey("evaluation.id"), index=True)
    rank: Mapped[int]
    created_at: Mapped[datetime]


class HybridMix(Base):
    """How a model's cosines and BM25 are mixed into one score, fitted on human judgements of queries not trained on."""

    __tablename__ = "hybrid_mix"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version_id: Mapped[int] = mapped_column(sa.ForeignKey("model_version.id"), index=True)
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    weights: Mapped[dict[str, Any]]
    figures: Mapped[dict[str, Any]]
    n_queries: Mapped[int]
    n_judgements: Mapped[int]
    created_at: Mapped[datetime]
