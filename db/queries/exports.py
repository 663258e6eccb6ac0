"""Streams of what a workspace holds, for files that leave it: labels with who stands behind them, passages, queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from annotator.types import ConfidenceKind, Criterion
from db.enums import LabelSource, Outcome, Split, Visibility
from db.models import (
    Decision,
    Definition,
    ImportRejection,
    JudgeRow,
    Pair,
    PairState,
    Passage,
    Person,
    Policy,
    Query,
    QueryCluster,
    Review,
    Source,
    Suggestion,
)
from db.queries.audits import PEOPLE_ONLY, locked_pairs

STREAM_ROWS = 1000


@dataclass(frozen=True, slots=True)
class ExportedLabel:
    """One label with all who took part in it; the texts are empty when they were not asked for.

    person, original_grade, visibility: of the review that stands, if one does. judge to why: of the current suggestion,
    whether or not the label follows it.
    """

    query_id: str
    passage_id: str
    query: str
    title: str
    text: str
    split: Split | None
    grade: int
    source: LabelSource
    person: str | None
    original_grade: str | None
    visibility: Visibility | None
    judge: str | None
    prompt_version: str | None
    judge_grade: int | None
    confidence: float | None
    confidence_kind: ConfidenceKind | None
    decision: Outcome | None
    policy: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """One source of imported data and how much of what is there came from it."""

    name: str
    layout: str
    created_at: datetime
    n_passages: int
    n_queries: int
    n_judgements: int
    n_suggestions: int
    n_rejected_lines: int


def freeze_snapshot(session: Session) -> None:
    """Makes all later reads of the session see one moment; on SQLite they do anyway. Must be its first statement."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


def stream_labels(
    session: Session,
    *,
    criterion: Criterion,
    include_proposed: bool = False,
    split: Split | None = None,
    with_texts: bool = False,
) -> Iterator[ExportedLabel]:
    """Every curated label of the criterion, query by query; proposals nobody decided about only when asked for.

    Left out are the samples of open batches and, of calibrate and held-out queries, what nobody has graded yet: people
    judge those blind, and a file would tell.
    """
    none = sa.literal("")
    statement = (
        sa.select(
            Query.external_id,
            Passage.external_id,
            *((Query.text, Passage.title, Passage.text) if with_texts else (none, none, none)),
            QueryCluster.split,
            sa.func.coalesce(PairState.curated_grade, Suggestion.grade),
            PairState.curated_source,
            Person.name,
            Review.original_grade,
            Review.visibility,
            JudgeRow.name,
            JudgeRow.prompt_version,
            Suggestion.grade,
            Suggestion.confidence,
            Suggestion.confidence_kind,
            Decision.outcome,
            Policy.version,
            Decision.why,
        )
        .select_from(PairState)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .outerjoin(Review, Review.id == PairState.review_id)
        .outerjoin(Person, Person.id == Review.person_id)
        .outerjoin(Suggestion, Suggestion.id == PairState.suggestion_id)
        .outerjoin(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .outerjoin(Decision, Decision.id == PairState.decision_id)
        .outerjoin(Policy, Policy.id == Decision.policy_id)
        .where(
            PairState.criterion == criterion,
            Pair.id.not_in(locked_pairs(criterion)),
            sa.or_(
                QueryCluster.split.is_(None),
                QueryCluster.split.not_in(PEOPLE_ONLY),
                PairState.curated_grade.is_not(None),
            ),
        )
        .order_by(Query.id, Pair.id)
        .execution_options(yield_per=STREAM_ROWS)
    )
    if include_proposed:
        statement = statement.where(sa.func.coalesce(PairState.curated_grade, Suggestion.grade).is_not(None))
    else:
        statement = statement.where(PairState.curated_grade.is_not(None))
    if split is not None:
        statement = statement.where(QueryCluster.split == split)
    for row in session.execute(statement):
        query_id, passage_id, query, title, text, of_split, grade, source, *rest = row
        yield ExportedLabel(
            query_id, passage_id, query, title, text, of_split, grade, source or LabelSource.PROPOSED, *rest
        )


def stream_passages(session: Session) -> Iterator[tuple[str, str, str]]:
    """Id, title and text of every passage."""
    rows = session.execute(
        sa.select(Passage.external_id, Passage.title, Passage.text)
        .order_by(Passage.id)
        .execution_options(yield_per=STREAM_ROWS)
    )
    for external_id, title, text in rows:
        yield external_id, title, text


def stream_queries(session: Session) -> Iterator[tuple[str, str, str | None, Split | None]]:
    """Id, text, the definition that holds and the split (or None) of every query."""
    later = sa.orm.aliased(Definition)
    newest = sa.select(sa.func.max(later.version)).where(later.query_id == Query.id).scalar_subquery()
    rows = session.execute(
        sa.select(Query.external_id, Query.text, Definition.text, QueryCluster.split)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Definition, sa.and_(Definition.query_id == Query.id, Definition.version == newest))
        .order_by(Query.id)
        .execution_options(yield_per=STREAM_ROWS)
    )
    for external_id, text, definition, split in rows:
        yield external_id, text, definition, split


def count_curated(session: Session, *, criterion: Criterion) -> dict[LabelSource, int]:
    """Curated labels by who stands behind them."""
    rows = session.execute(
        sa.select(PairState.curated_source, sa.func.count())
        .where(PairState.criterion == criterion, PairState.curated_source.is_not(None))
        .group_by(PairState.curated_source)
    )
    return {source: n for source, n in rows if source is not None}


def list_sources(session: Session) -> list[SourceCounts]:
    """Every source, in the order they came, with what is there of it; a pair judged twice by it counts once."""
    counted = [
        _by_source(session, sa.func.count(), Passage.source_id),
        _by_source(session, sa.func.count(), Query.source_id),
        _by_source(session, sa.func.count(sa.distinct(Review.pair_id)), Review.source_id),
        _by_source(session, sa.func.count(), Suggestion.source_id),
        _by_source(session, sa.func.count(), ImportRejection.source_id),
    ]
    return [
        SourceCounts(source.name, source.layout, source.created_at, *(counts.get(source.id, 0) for counts in counted))
        for source in session.scalars(sa.select(Source).order_by(Source.id))
    ]


def _by_source(session: Session, count: sa.ColumnElement[int], source_id: InstrumentedAttribute[Any]) -> dict[int, int]:
    rows = session.execute(sa.select(source_id, count).where(source_id.is_not(None)).group_by(source_id))
    return {source: n for source, n in rows}
