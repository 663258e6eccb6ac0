"""What judges propose, what is decided about it, and what people say: append-only, with one current state a pair."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from annotator.types import ConfidenceKind, Criterion, JudgeKind, SuggestionStatus
from db.base import Base, enum_of
from db.enums import CertificateState, LabelSource, Outcome, PolicyKind, ReviewAction, RunStatus, SpendState, Visibility

_BOUGHT_WITHOUT = "status = 'ok' AND reply_key IS NOT NULL AND definition_id IS NULL"
_BOUGHT_WITH = "status = 'ok' AND reply_key IS NOT NULL AND definition_id IS NOT NULL"


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


class JudgeRow(Base):
    """A judge as it was when it proposed: name, model, prompt version and parameters together."""

    __tablename__ = "judge"
    __table_args__ = (sa.UniqueConstraint("name", "prompt_version", "criterion", "parameters_hash"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    kind: Mapped[JudgeKind] = mapped_column(enum_of(JudgeKind, "judge_kind"))
    model: Mapped[str] = mapped_column(sa.String(200))
    prompt_version: Mapped[str] = mapped_column(sa.String(64))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    certifiable: Mapped[bool]
    parameters: Mapped[dict[str, Any]]
    parameters_hash: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]


class LabelJob(Base):
    """One request to label many pairs, with what it may spend and how far it is.

    `spent_tokens` and `spent_usd` are the sums of its spend entries, reservations at their worst case; they change in
    the transaction that changes an entry.
    """

    __tablename__ = "label_job"

    id: Mapped[int] = mapped_column(primary_key=True)
    judge_id: Mapped[int] = mapped_column(sa.ForeignKey("judge.id"))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    n_pairs: Mapped[int]
    token_cap: Mapped[int | None]
    cost_cap_usd: Mapped[float | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    status: Mapped[RunStatus] = mapped_column(
        enum_of(RunStatus, "run_status"), default=RunStatus.RUNNING, server_default=RunStatus.DONE
    )
    workflow_id: Mapped[str | None] = mapped_column(sa.String(80))
    person_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
    message: Mapped[str] = mapped_column(sa.Text, default="", server_default="")
    done: Mapped[int] = mapped_column(default=0, server_default="0")
    failed: Mapped[int] = mapped_column(default=0, server_default="0")
    cancel_requested: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    heartbeat_at: Mapped[datetime | None]
    spec: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    spent_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0, server_default="0")
    spent_usd: Mapped[float] = mapped_column(default=0.0, server_default="0")


class PromptRow(Base):
    """The text of a prompt as it was when it was used, by its version hash."""

    __tablename__ = "prompt"

    version: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    content: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime]


class LabelFailure(Base):
    """A pair for which no reply came, with the reason; only these are tried again."""

    __tablename__ = "label_failure"
    __table_args__ = (sa.Index(None, "pair_id", "judge_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(sa.ForeignKey("label_job.id"), index=True)
    judge_id: Mapped[int] = mapped_column(sa.ForeignKey("judge.id"))
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"))
    reason: Mapped[str] = mapped_column(sa.Text)
    retryable: Mapped[bool]
    created_at: Mapped[datetime]


class ReplyCacheEntry(Base):
    """A reply that was paid for, by the hash of (model, parameters, prompt, texts); stored before it is used."""

    __tablename__ = "reply_cache"

    key: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(200))
    reply: Mapped[dict[str, Any]]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    created_at: Mapped[datetime]


class Suggestion(Base):
    """One proposal of a judge for a pair; append-only. An unreadable reply has no grade, never grade 0."""

    __tablename__ = "suggestion"
    __table_args__ = (
        sa.CheckConstraint("(status = 'ok') = (grade IS NOT NULL)", name="grade_only_when_readable"),
        sa.CheckConstraint("confidence IS NULL OR (confidence >= 0 AND confidence <= 1)", name="confidence_range"),
        sa.CheckConstraint("(confidence IS NULL) = (confidence_kind IS NULL)", name="confidence_has_a_kind"),
        sa.Index(None, "pair_id", "criterion"),
        sa.Index(None, "judge_id", "pair_id"),
        sa.Index("uq_suggestion_one_valid", "judge_id", "pair_id", unique=True, **_where(_BOUGHT_WITHOUT)),
        sa.Index(
            "uq_suggestion_one_valid_a_definition",
            "judge_id",
            "pair_id",
            "definition_id",
            unique=True,
            **_where(_BOUGHT_WITH),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"))
    judge_id: Mapped[int] = mapped_column(sa.ForeignKey("judge.id"))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    job_id: Mapped[int | None] = mapped_column(sa.ForeignKey("label_job.id"), index=True)
    source_id: Mapped[int | None] = mapped_column(sa.ForeignKey("source.id"))
    definition_id: Mapped[int | None] = mapped_column(sa.ForeignKey("definition.id"))
    status: Mapped[SuggestionStatus] = mapped_column(enum_of(SuggestionStatus, "suggestion_status"))
    grade: Mapped[int | None]
    original_grade: Mapped[str | None] = mapped_column(sa.String(40))
    grade_distribution: Mapped[list[Any] | None]
    confidence: Mapped[float | None]
    confidence_kind: Mapped[ConfidenceKind | None] = mapped_column(enum_of(ConfidenceKind, "confidence_kind"))
    evidence_start: Mapped[int | None]
    evidence_end: Mapped[int | None]
    evidence_dropped: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str] = mapped_column(sa.Text)
    raw_reply: Mapped[str] = mapped_column(sa.Text)
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    cost_usd: Mapped[float | None]
    reply_key: Mapped[str | None] = mapped_column(sa.String(64))
    context: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]


class Calibrator(Base):
    """A fitted map from one judge's confidence of one kind to a probability; immutable once stored."""

    __tablename__ = "calibrator"

    id: Mapped[int] = mapped_column(primary_key=True)
    judge_id: Mapped[int] = mapped_column(sa.ForeignKey("judge.id"), index=True)
    confidence_kind: Mapped[ConfidenceKind] = mapped_column(enum_of(ConfidenceKind, "confidence_kind"))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    parameters: Mapped[dict[str, Any]]
    n_reviews: Mapped[int]
    created_at: Mapped[datetime]


class Batch(Base):
    """A frozen list of suggestions, hashed, for which a certificate is sought; all is fixed before the draw."""

    __tablename__ = "batch"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    judge_id: Mapped[int] = mapped_column(sa.ForeignKey("judge.id"))
    calibrator_id: Mapped[int] = mapped_column(sa.ForeignKey("calibrator.id"))
    epsilon: Mapped[float]
    delta: Mapped[float]
    n_pairs: Mapped[int]
    n_audits: Mapped[int]
    plan: Mapped[dict[str, Any]]
    person_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
    created_at: Mapped[datetime]


class BatchPair(Base):
    """One suggestion of a batch with its frozen class and calibrated confidence; a sampled one has its place."""

    __tablename__ = "batch_pair"
    __table_args__ = (sa.Index(None, "batch_id", "audit_position"),)

    batch_id: Mapped[int] = mapped_column(sa.ForeignKey("batch.id"), primary_key=True)
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True, index=True)
    suggestion_id: Mapped[int] = mapped_column(sa.ForeignKey("suggestion.id"))
    relevant_class: Mapped[bool]
    confidence: Mapped[float]
    audit_position: Mapped[int | None]


class Certificate(Base):
    """At most epsilon wrong among the accepted of one class of one frozen batch, with confidence 1 - delta."""

    __tablename__ = "certificate"

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_hash: Mapped[str] = mapped_column(sa.String(64), index=True)
    batch_id: Mapped[int | None] = mapped_column(sa.ForeignKey("batch.id"))
    judge_id: Mapped[int] = mapped_column(sa.ForeignKey("judge.id"))
    calibrator_id: Mapped[int | None] = mapped_column(sa.ForeignKey("calibrator.id"))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    relevant_class: Mapped[bool]
    epsilon: Mapped[float]
    delta: Mapped[float]
    n_audits: Mapped[int]
    n_errors: Mapped[int]
    threshold: Mapped[float | None]
    coverage: Mapped[float]
    recall_relevant: Mapped[float | None]
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class CertificateEvent(Base):
    """A certificate's state over time: issued, then suspended by drift or by a change of what it rests on."""

    __tablename__ = "certificate_event"

    id: Mapped[int] = mapped_column(primary_key=True)
    certificate_id: Mapped[int] = mapped_column(sa.ForeignKey("certificate.id"), index=True)
    state: Mapped[CertificateState] = mapped_column(enum_of(CertificateState, "certificate_state"))
    reason: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime]


class Policy(Base):
    """The rule that accepts or rejects suggestions, by version."""

    __tablename__ = "policy"
    __table_args__ = (sa.UniqueConstraint("version", "criterion"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(sa.String(64))
    kind: Mapped[PolicyKind] = mapped_column(enum_of(PolicyKind, "policy_kind"))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    parameters: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Decision(Base):
    """Accepted or rejected, by which policy version, and why; append-only, the latest of a pair holds."""

    __tablename__ = "decision"

    id: Mapped[int] = mapped_column(primary_key=True)
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), index=True)
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    suggestion_id: Mapped[int] = mapped_column(sa.ForeignKey("suggestion.id"), index=True)
    policy_id: Mapped[int] = mapped_column(sa.ForeignKey("policy.id"))
    certificate_id: Mapped[int | None] = mapped_column(sa.ForeignKey("certificate.id"))
    outcome: Mapped[Outcome] = mapped_column(enum_of(Outcome, "outcome"))
    why: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime]


class Review(Base):
    """One person's judgement of one pair; append-only, undo appends. `card` makes a double press harmless."""

    __tablename__ = "review"
    __table_args__ = (
        sa.CheckConstraint("(action IN ('grade', 'adjudicate')) = (grade IS NOT NULL)", name="grade_when_graded"),
        sa.CheckConstraint("(action = 'undo') = (undoes_id IS NOT NULL)", name="undo_names_a_review"),
        sa.CheckConstraint("seconds IS NULL OR seconds >= 0", name="seconds_not_negative"),
        sa.Index(None, "pair_id", "criterion"),
        sa.Index(None, "person_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"))
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"))
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("person.id"))
    action: Mapped[ReviewAction] = mapped_column(enum_of(ReviewAction, "review_action"))
    grade: Mapped[int | None]
    original_grade: Mapped[str | None] = mapped_column(sa.String(40))
    visibility: Mapped[Visibility] = mapped_column(enum_of(Visibility, "visibility"))
    suggestion_id: Mapped[int | None] = mapped_column(sa.ForeignKey("suggestion.id"))
    undoes_id: Mapped[int | None] = mapped_column(sa.ForeignKey("review.id"), unique=True)
    revises_id: Mapped[int | None] = mapped_column(sa.ForeignKey("review.id"), index=True)
    hidden_check: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    source_id: Mapped[int | None] = mapped_column(sa.ForeignKey("source.id"))
    card: Mapped[str | None] = mapped_column(sa.String(64), unique=True)
    seconds: Mapped[float | None]
    note: Mapped[str] = mapped_column(sa.Text, default="")
    created_at: Mapped[datetime]


class PairState(Base):
    """What holds for a pair now under one criterion; derived from the append-only tables in the same transaction.

    `graders`: people whose grade stands, hidden checks left out. `disputed`: two of them differ and nobody adjudicated.
    `flagged`: somebody raised a flag that nobody settled by grading or adjudicating after it.
    """

    __tablename__ = "pair_state"
    __table_args__ = (
        sa.CheckConstraint("(curated_grade IS NULL) = (curated_source IS NULL)", name="grade_has_a_source"),
        sa.Index(None, "criterion", "outcome", "review_id"),
        sa.Index(None, "criterion", "curated_source"),
        sa.Index("ix_pair_state_disputed", "criterion", "pair_id", **_where("disputed")),
        sa.Index("ix_pair_state_flagged", "criterion", "pair_id", **_where("flagged")),
    )

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True)
    criterion: Mapped[Criterion] = mapped_column(enum_of(Criterion, "criterion"), primary_key=True)
    suggestion_id: Mapped[int | None] = mapped_column(sa.ForeignKey("suggestion.id"))
    decision_id: Mapped[int | None] = mapped_column(sa.ForeignKey("decision.id"))
    outcome: Mapped[Outcome | None] = mapped_column(enum_of(Outcome, "outcome"))
    review_id: Mapped[int | None] = mapped_column(sa.ForeignKey("review.id"))
    curated_grade: Mapped[int | None]
    curated_source: Mapped[LabelSource | None] = mapped_column(enum_of(LabelSource, "label_source"))
    graders: Mapped[int] = mapped_column(default=0, server_default="0")
    disputed: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    flagged: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    updated_at: Mapped[datetime]


class SpendEntry(Base):
    """Money and tokens reserved for a call before it is made and settled after.

    A reservation that nobody settled counts as spent for ever; after `expires_at` it no longer counts as a call under
    way. A released one was refused by the server before it could cost anything.
    """

    __tablename__ = "spend_entry"
    __table_args__ = (sa.Index(None, "endpoint", "state", "expires_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(sa.ForeignKey("label_job.id"), index=True)
    endpoint: Mapped[str] = mapped_column(sa.String(300))
    key: Mapped[str] = mapped_column(sa.String(64))
    owner: Mapped[str] = mapped_column(sa.String(64))
    state: Mapped[SpendState] = mapped_column(enum_of(SpendState, "spend_state"))
    tokens: Mapped[int]
    cost_usd: Mapped[float | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class RateWindow(Base):
    """How many requests one endpoint may be sent at once now, shared by all workers: a token bucket."""

    __tablename__ = "rate_window"

    endpoint: Mapped[str] = mapped_column(sa.String(300), primary_key=True)
    tokens: Mapped[float]
    updated_at: Mapped[datetime]


class CallPlaces(Base):
    """How many calls to an endpoint one living worker may have under way; together never more than the limit."""

    __tablename__ = "call_places"

    endpoint: Mapped[str] = mapped_column(sa.String(300), primary_key=True)
    owner: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    places: Mapped[int]
    expires_at: Mapped[datetime]
