"""Queries, passages, pairs, and the candidates that retrieval put up for judging."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, enum_of
from db.enums import QuestionOutcome, Split


class QueryCluster(Base):
    """Queries that are near-duplicates of each other; the split is theirs together and is set once (trigger)."""

    __tablename__ = "query_cluster"

    id: Mapped[int] = mapped_column(primary_key=True)
    split: Mapped[Split | None] = mapped_column(enum_of(Split, "split"), index=True)


class Query(Base):
    """What is asked."""

    __tablename__ = "query"

    id: Mapped[int] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(sa.String(500), unique=True)
    text: Mapped[str] = mapped_column(sa.Text)
    text_key: Mapped[str] = mapped_column(sa.String(64), index=True)
    cluster_id: Mapped[int] = mapped_column(sa.ForeignKey("query_cluster.id"), index=True)
    source_id: Mapped[int] = mapped_column(sa.ForeignKey("source.id"))
    created_at: Mapped[datetime]


class Definition(Base):
    """What counts as relevant for one query; append-only, the highest version holds."""

    __tablename__ = "definition"
    __table_args__ = (sa.UniqueConstraint("query_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    query_id: Mapped[int] = mapped_column(sa.ForeignKey("query.id"))
    version: Mapped[int]
    text: Mapped[str] = mapped_column(sa.Text)
    person_id: Mapped[int | None] = mapped_column(sa.ForeignKey("person.id"))
    judge_id: Mapped[int | None] = mapped_column(sa.ForeignKey("judge.id"))
    created_at: Mapped[datetime]


class Passage(Base):
    """What is retrieved."""

    __tablename__ = "passage"

    id: Mapped[int] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(sa.String(500), unique=True)
    title: Mapped[str] = mapped_column(sa.Text)
    text: Mapped[str] = mapped_column(sa.Text)
    text_hash: Mapped[str] = mapped_column(sa.String(64))
    source_id: Mapped[int] = mapped_column(sa.ForeignKey("source.id"))
    created_at: Mapped[datetime]


class Pair(Base):
    """One (query, passage) to be judged."""

    __tablename__ = "pair"
    __table_args__ = (sa.UniqueConstraint("query_id", "passage_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    query_id: Mapped[int] = mapped_column(sa.ForeignKey("query.id"))
    passage_id: Mapped[int] = mapped_column(sa.ForeignKey("passage.id"), index=True)


class Candidate(Base):
    """A pair put up for judging, with its fused rank and score in the latest pooling that found it."""

    __tablename__ = "candidate"

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True)
    rank: Mapped[int]
    score: Mapped[float]
    pool_size: Mapped[int]
    pooled_at: Mapped[datetime]


class CandidateHit(Base):
    """The rank and score that one retrieving system gave a candidate."""

    __tablename__ = "candidate_hit"

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True)
    system: Mapped[str] = mapped_column(sa.String(80), primary_key=True)
    rank: Mapped[int]
    score: Mapped[float]


class GeneratedQuestion(Base):
    """A question that an LLM wrote from a passage: the verbatim evidence for it and the examples it was shown.

    `evidence_start` and `evidence_end` are characters of the passage's text as it was; a passage that was asked about
    keeps its text.
    """

    __tablename__ = "generated_question"
    __table_args__ = (
        sa.CheckConstraint("evidence_start >= 0 AND evidence_end > evidence_start", name="evidence_is_a_span"),
    )

    query_id: Mapped[int] = mapped_column(sa.ForeignKey("query.id"), primary_key=True)
    passage_id: Mapped[int] = mapped_column(sa.ForeignKey("passage.id"), index=True)
    judge_id: Mapped[int] = mapped_column(sa.ForeignKey("judge.id"))
    job_id: Mapped[int] = mapped_column(sa.ForeignKey("label_job.id"))
    pattern: Mapped[str] = mapped_column(sa.String(80))
    evidence_start: Mapped[int]
    evidence_end: Mapped[int]
    demonstrations: Mapped[list[Any]]
    created_at: Mapped[datetime]


class QuestionedPassage(Base):
    """A passage that questions were asked for, once, and what came of it; a failed one may be asked again.

    `dropped` counts questions by the reason why they were not kept; `reason` says why nothing could be read or came.
    """

    __tablename__ = "questioned_passage"

    passage_id: Mapped[int] = mapped_column(sa.ForeignKey("passage.id"), primary_key=True)
    job_id: Mapped[int] = mapped_column(sa.ForeignKey("label_job.id"), index=True)
    outcome: Mapped[QuestionOutcome] = mapped_column(enum_of(QuestionOutcome, "question_outcome"))
    kept: Mapped[int]
    dropped: Mapped[dict[str, Any]]
    reason: Mapped[str] = mapped_column(sa.Text)
    retryable: Mapped[bool]
    reply_key: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[datetime]
