"""Label sets, training runs, model versions, evaluations and what went live."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from annotator.types import Criterion
from db.base import Base, enum_of
from db.enums import LabelSource, ModelKind, ModelStage, PromotionCause, RunStatus, Split


class LabelSet(Base):
    """A frozen, hashed snapshot of curated grades with their sources."""

    __tablename__ = "label_set"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    n_labels: Mapped[int]
    n_queries: Mapped[int]
    counts: Mapped[dict[str, Any]]
    person_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
    created_at: Mapped[datetime]


class LabelSetItem(Base):
    """One grade of a label set, with where it came from; a held-out query is refused here (trigger)."""

    __tablename__ = "label_set_item"
    __table_args__ = (sa.CheckConstraint("weight > 0", name="weight_positive"),)

    label_set_id: Mapped[int] = mapped_column(sa.ForeignKey("label_set.id"), primary_key=True)
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True, index=True)
    grade: Mapped[float]
    weight: Mapped[float]
    source: Mapped[LabelSource] = mapped_column(enum_of(LabelSource, "label_source"))
    suggestion_id: Mapped[int | None] = mapped_column(sa.ForeignKey("suggestion.id"))
    decision_id: Mapped[int | None] = mapped_column(sa.ForeignKey("decision.id"))
    review_id: Mapped[int | None] = mapped_column(sa.ForeignKey("review.id"))


class ModelVersion(Base):
    """An immutable model directory, named by the hash of its content.

    An adapter is a transform of query vectors: `encoder_id` is the full model whose passage vectors it searches.
    """

    __tablename__ = "model_version"
    __table_args__ = (sa.CheckConstraint("(kind = 'adapter') = (encoder_id IS NOT NULL)", name="adapter_has_encoder"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    path: Mapped[str] = mapped_column(sa.Text)
    dim: Mapped[int]
    stage: Mapped[ModelStage] = mapped_column(enum_of(ModelStage, "model_stage"))
    base_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_version.id"))
    created_at: Mapped[datetime]
    kind: Mapped[ModelKind] = mapped_column(
        enum_of(ModelKind, "model_kind"), default=ModelKind.FULL, server_default=ModelKind.FULL.value
    )
    encoder_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_version.id"))


class IndexVersion(Base):
    """An immutable index of one corpus state by one system (a model, or BM25), complete before anything uses it."""

    __tablename__ = "index_version"
    __table_args__ = (sa.UniqueConstraint("system", "corpus_hash"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    system: Mapped[str] = mapped_column(sa.String(80))
    corpus_hash: Mapped[str] = mapped_column(sa.String(64))
    model_version_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_version.id"), index=True)
    path: Mapped[str] = mapped_column(sa.Text)
    n_passages: Mapped[int]
    created_at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(sa.String(40), default="flat", server_default="flat")
    recall: Mapped[float | None]
    """recall@10 against exact search over the same vectors, measured when it was built; None where search is exact."""


class TrainingRun(Base):
    """One retraining, from click to evaluated candidate; at most one is active at a time."""

    __tablename__ = "training_run"
    __table_args__ = (
        sa.Index(
            "uq_training_run_one_active",
            "active",
            unique=True,
        ),
        sa.CheckConstraint("(active IS NOT NULL) = (status IN ('queued', 'running'))", name="active_matches_status"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    active: Mapped[bool | None]
    workflow_id: Mapped[str] = mapped_column(sa.String(100), unique=True)
    label_set_id: Mapped[int] = mapped_column(sa.ForeignKey("label_set.id"))
    base_model_id: Mapped[int] = mapped_column(sa.ForeignKey("model_version.id"))
    model_version_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_version.id"))
    trained_encoder_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_version.id"))
    """The encoder that the run trained first, where `model_version_id` is an adapter on top of it."""
    evaluation_id: Mapped[int | None] = mapped_column(sa.ForeignKey("evaluation.id"))
    status: Mapped[RunStatus] = mapped_column(enum_of(RunStatus, "run_status"))
    stage: Mapped[str] = mapped_column(sa.String(60))
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    settings: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    message: Mapped[str] = mapped_column(sa.Text, default="")
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    person_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]


class TrainingPoint(Base):
    """The loss at one step of a run, for the live curve."""

    __tablename__ = "training_point"

    run_id: Mapped[int] = mapped_column(sa.ForeignKey("training_run.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    loss: Mapped[float]
    seconds: Mapped[float]


class Evaluation(Base):
    """One look at a split's human-judged queries with one model beside another; append-only, because looks count."""

    __tablename__ = "evaluation"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version_id: Mapped[int] = mapped_column(sa.ForeignKey("model_version.id"), index=True)
    baseline_model_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_version.id"))
    label_set_id: Mapped[int | None] = mapped_column(sa.ForeignKey("label_set.id"))
    split: Mapped[Split] = mapped_column(enum_of(Split, "split"))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    qrels_hash: Mapped[str] = mapped_column(sa.String(64), index=True)
    look: Mapped[int]
    n_queries: Mapped[int]
    n_judgements: Mapped[int]
    measures: Mapped[dict[str, Any]]
    comparison: Mapped[dict[str, Any]]
    per_query: Mapped[list[Any]]
    gate_passed: Mapped[bool | None]
    gate_reasons: Mapped[list[Any]]
    created_at: Mapped[datetime]


class LiveModel(Base):
    """The one row that says which model and index serve; changing it is the whole of a promotion."""

    __tablename__ = "live_model"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version_id: Mapped[int] = mapped_column(sa.ForeignKey("model_version.id"))
    index_version_id: Mapped[int | None] = mapped_column(sa.ForeignKey("index_version.id"))
    changed_at: Mapped[datetime]


class Promotion(Base):
    """A change of the live model: by the gate, by an owner's override with a reason, or back; append-only."""

    __tablename__ = "promotion"
    __table_args__ = (
        sa.CheckConstraint("cause <> 'override' OR length(trim(reason)) > 0", name="override_needs_a_reason"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version_id: Mapped[int] = mapped_column(sa.ForeignKey("model_version.id"))
    previous_model_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_version.id"))
    evaluation_id: Mapped[int | None] = mapped_column(sa.ForeignKey("evaluation.id"))
    cause: Mapped[PromotionCause] = mapped_column(enum_of(PromotionCause, "promotion_cause"))
    reason: Mapped[str] = mapped_column(sa.Text)
    person_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
    created_at: Mapped[datetime]
