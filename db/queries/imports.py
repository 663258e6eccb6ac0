"""Bulk import of judgements, suggestions and candidates, one staged batch at a time.

Rows of a batch go into a temporary table of the connection; everything after that is set-based SQL that is the same on
SQLite and PostgreSQL. Callers hand over ids that exist and no pair twice in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from annotator.types import ConfidenceKind, Criterion, SuggestionStatus
from db.enums import LabelSource, ReviewAction, Visibility
from db.models import Candidate, CandidateHit, Pair, PairState, Review, Suggestion
from db.queries.suspending import suspend_replaced

_STAGES = sa.MetaData()
_PAIR = ("query_id", "passage_id")


def _stage(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(
        name,
        _STAGES,
        sa.Column("query_id", sa.Integer, nullable=False),
        sa.Column("passage_id", sa.Integer, nullable=False),
        *columns,
        prefixes=["TEMPORARY"],
    )


_JUDGEMENTS = _stage("staged_judgement", sa.Column("grade", sa.Integer), sa.Column("original_grade", sa.String(40)))
_SUGGESTIONS = _stage(
    "staged_suggestion",
    sa.Column("judge_id", sa.Integer),
    sa.Column("position", sa.Integer),
    sa.Column("status", sa.String(32)),
    sa.Column("grade", sa.Integer),
    sa.Column("original_grade", sa.String(40)),
    sa.Column(
        "grade_distribution", sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    ),
    sa.Column("confidence", sa.Float),
    sa.Column("confidence_kind", sa.String(32)),
    sa.Column("reason", sa.Text),
    sa.Column("raw_reply", sa.Text),
)
_CANDIDATES = _stage(
    "staged_candidate",
    sa.Column("system", sa.String(80)),
    sa.Column("rank", sa.Integer),
    sa.Column("score", sa.Float),
)


@dataclass(frozen=True, slots=True)
class JudgementRow:
    query_id: int
    passage_id: int
    grade: int
    original_grade: str


@dataclass(frozen=True, slots=True)
class SuggestionRow:
    """One imported proposal, its grade already on the workspace's scale."""

    query_id: int
    passage_id: int
    judge_id: int
    grade: int | None
    original_grade: str | None
    grade_distribution: tuple[float, ...] | None
    confidence: float | None
    confidence_kind: ConfidenceKind | None
    reason: str
    raw_reply: str


@dataclass(frozen=True, slots=True)
class CandidateRow:
    query_id: int
    passage_id: int
    system: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Added:
    """How many rows of a batch were new, and how many put a new value in place of an earlier one."""

    new: int
    changed: int
    decisions_undone: int = 0


def import_judgements(
    session: Session,
    rows: Sequence[JudgementRow],
    *,
    source_id: int,
    person_id: int,
    criterion: Criterion,
    now: datetime,
) -> Added:
    """Appends a blind review for every row that differs from what this source last said; brings the pairs up to date.

    A row equal to this source's latest review changes nothing, whatever others have said since. An adjudication stays
    above an imported judgement.
    """
    _fill(session, _JUDGEMENTS, [(r.query_id, r.passage_id, r.grade, r.original_grade) for r in rows])
    _add_pairs(session, _JUDGEMENTS)
    before = _latest_id(session, Review)
    staged, latest = _JUDGEMENTS.c, sa.orm.aliased(Review)
    newest = (
        sa.select(sa.func.max(Review.id))
        .where(
            Review.pair_id == Pair.id,
            Review.criterion == criterion,
            Review.person_id == person_id,
            Review.source_id == source_id,
        )
        .correlate(Pair)
        .scalar_subquery()
    )
    differing = (
        sa.select(
            Pair.id,
            _enum(Review.criterion, criterion),
            sa.literal(person_id),
            _enum(Review.action, ReviewAction.GRADE),
            staged.grade,
            staged.original_grade,
            _enum(Review.visibility, Visibility.BLIND),
            sa.literal(source_id),
            sa.literal(""),
            sa.literal(now, Review.created_at.type),
        )
        .join_from(_JUDGEMENTS, Pair, _same_pair(_JUDGEMENTS))
        .outerjoin(latest, latest.id == newest)
        .where(
            sa.or_(
                latest.id.is_(None),
                latest.grade != staged.grade,
                latest.original_grade.is_distinct_from(staged.original_grade),
            )
        )
        .order_by(Pair.id)
    )
    known = (
        sa.select(sa.func.count())
        .select_from(_JUDGEMENTS)
        .join(Pair, _same_pair(_JUDGEMENTS))
        .where(newest.is_not(None))
    )
    n_known = session.execute(known).scalar_one()
    names = [
        "pair_id",
        "criterion",
        "person_id",
        "action",
        "grade",
        "original_grade",
        "visibility",
        "source_id",
        "note",
        "created_at",
    ]
    session.execute(sa.insert(Review).from_select(names, differing, include_defaults=False))
    fresh = sa.and_(
        Review.id > before,
        Review.source_id == source_id,
        Review.person_id == person_id,
        Review.criterion == criterion,
    )
    inserted = session.execute(sa.select(sa.func.count()).select_from(Review).where(fresh)).scalar_one()
    states = sa.select(
        Review.pair_id,
        Review.criterion,
        Review.id,
        Review.grade,
        _enum(PairState.curated_source, LabelSource.HUMAN),
        sa.literal(now, PairState.updated_at.type),
    ).where(fresh)
    upsert = _insert(session, PairState).from_select(
        ["pair_id", "criterion", "review_id", "curated_grade", "curated_source", "updated_at"],
        states,
        include_defaults=False,
    )
    new = upsert.excluded
    upsert = upsert.on_conflict_do_update(
        index_elements=[PairState.pair_id, PairState.criterion],
        set_={
            "review_id": new.review_id,
            "curated_grade": new.curated_grade,
            "curated_source": new.curated_source,
            "updated_at": new.updated_at,
        },
        where=sa.and_(
            PairState.curated_source.is_distinct_from(LabelSource.ADJUDICATED),
            # Somebody may have judged the pair between this import's reviews and this statement.
            sa.or_(PairState.review_id.is_(None), PairState.review_id < new.review_id),
        ),
    )
    session.execute(upsert)
    n_added = len(rows) - n_known
    return Added(new=n_added, changed=inserted - n_added)


def import_suggestions(
    session: Session, rows: Sequence[SuggestionRow], *, source_id: int, criterion: Criterion, now: datetime
) -> Added:
    """Appends what differs from what its judge last said in this source; the last suggestion of a pair is current.

    What was decided about a pair's earlier suggestion no longer holds; what people said stays.
    """
    _fill(
        session,
        _SUGGESTIONS,
        [
            (
                r.query_id,
                r.passage_id,
                r.judge_id,
                position,
                str(SuggestionStatus.UNREADABLE if r.grade is None else SuggestionStatus.OK),
                r.grade,
                r.original_grade,
                None if r.grade_distribution is None else list(r.grade_distribution),
                r.confidence,
                None if r.confidence_kind is None else str(r.confidence_kind),
                r.reason,
                r.raw_reply,
            )
            for position, r in enumerate(rows)
        ],
    )
    _add_pairs(session, _SUGGESTIONS)
    before = _latest_id(session, Suggestion)
    staged, latest = _SUGGESTIONS.c, sa.orm.aliased(Suggestion)
    newest = (
        sa.select(sa.func.max(Suggestion.id))
        .where(
            Suggestion.pair_id == Pair.id,
            Suggestion.criterion == criterion,
            Suggestion.judge_id == staged.judge_id,
            Suggestion.source_id == source_id,
        )
        .correlate(Pair, _SUGGESTIONS)
        .scalar_subquery()
    )
    copied = ("status", "grade", "original_grade", "grade_distribution", "confidence", "confidence_kind")
    texts = ("reason", "raw_reply")
    compared = [name for name in (*copied, *texts) if name != "grade_distribution"]
    differing = (
        sa.select(
            Pair.id,
            staged.judge_id,
            _enum(Suggestion.criterion, criterion),
            sa.literal(source_id),
            *(staged[name] for name in (*copied, *texts)),
            sa.literal(False),
            sa.literal(0),
            sa.literal(0),
            sa.literal(now, Suggestion.created_at.type),
        )
        .join_from(_SUGGESTIONS, Pair, _same_pair(_SUGGESTIONS))
        .outerjoin(latest, latest.id == newest)
        .where(
            sa.or_(
                latest.id.is_(None),
                *(
                    sa.type_coerce(getattr(latest, name), staged[name].type).is_distinct_from(staged[name])
                    for name in compared
                ),
            )
        )
        .order_by(staged.position)
    )
    known = (
        sa.select(sa.func.count())
        .select_from(_SUGGESTIONS)
        .join(Pair, _same_pair(_SUGGESTIONS))
        .where(newest.is_not(None))
    )
    n_known = session.execute(known).scalar_one()
    names = ["pair_id", "judge_id", "criterion", "source_id", *copied, *texts]
    names += ["evidence_dropped", "prompt_tokens", "completion_tokens", "created_at"]
    session.execute(sa.insert(Suggestion).from_select(names, differing, include_defaults=False))
    fresh = sa.and_(Suggestion.id > before, Suggestion.source_id == source_id, Suggestion.criterion == criterion)
    inserted = session.execute(sa.select(sa.func.count()).select_from(Suggestion).where(fresh)).scalar_one()
    undone = session.execute(
        sa.select(sa.func.count())
        .select_from(PairState)
        .where(
            PairState.criterion == criterion,
            PairState.outcome.is_not(None),
            PairState.pair_id.in_(sa.select(Suggestion.pair_id).where(fresh)),
        )
    ).scalar_one()
    new_pairs = sa.select(Suggestion.pair_id).where(fresh).distinct()
    suspend_replaced(session, pair_ids=session.scalars(new_pairs).all(), criterion=criterion, now=now)
    states = (
        sa.select(
            Suggestion.pair_id,
            Suggestion.criterion,
            sa.func.max(Suggestion.id),
            sa.literal(now, PairState.updated_at.type),
        )
        .where(fresh)
        .group_by(Suggestion.pair_id, Suggestion.criterion)
    )
    upsert = _insert(session, PairState).from_select(
        ["pair_id", "criterion", "suggestion_id", "updated_at"], states, include_defaults=False
    )
    accepted = PairState.curated_source == LabelSource.ACCEPTED
    upsert = upsert.on_conflict_do_update(
        index_elements=[PairState.pair_id, PairState.criterion],
        set_={
            "suggestion_id": upsert.excluded.suggestion_id,
            "decision_id": None,
            "outcome": None,
            "curated_grade": sa.case((accepted, None), else_=PairState.curated_grade),
            "curated_source": sa.case((accepted, None), else_=PairState.curated_source),
            "updated_at": upsert.excluded.updated_at,
        },
    )
    session.execute(upsert)
    n_added = len(rows) - n_known
    return Added(new=n_added, changed=inserted - n_added, decisions_undone=undone)


def import_candidates(session: Session, rows: Sequence[CandidateRow], *, now: datetime) -> Added:
    """Records where a system ranked these pairs; a pair that pooling already put up keeps its fused rank.

    A pair put up only by imported runs gets its best imported rank, and as fused score that of reciprocal rank fusion
    with one system, 1 / (60 + rank), so that scores compare.
    """
    _fill(session, _CANDIDATES, [(r.query_id, r.passage_id, r.system, r.rank, r.score) for r in rows])
    _add_pairs(session, _CANDIDATES)
    staged = _CANDIDATES.c
    joined = sa.select(Pair.id, staged.system, staged.rank, staged.score).join_from(
        _CANDIDATES, Pair, _same_pair(_CANDIDATES)
    )
    same_hit = sa.and_(CandidateHit.pair_id == Pair.id, CandidateHit.system == staged.system)
    hits = (
        sa.select(
            sa.func.count(),
            sa.func.count().filter(sa.and_(CandidateHit.rank == staged.rank, CandidateHit.score == staged.score)),
        )
        .select_from(_CANDIDATES)
        .join(Pair, _same_pair(_CANDIDATES))
        .join(CandidateHit, same_hit)
    )
    n_known, n_same = session.execute(hits).one()
    upsert = _insert(session, CandidateHit).from_select(
        ["pair_id", "system", "rank", "score"], joined.where(sa.true()), include_defaults=False
    )
    session.execute(
        upsert.on_conflict_do_update(
            index_elements=[CandidateHit.pair_id, CandidateHit.system],
            set_={"rank": upsert.excluded.rank, "score": upsert.excluded.score},
        )
    )
    best = sa.func.min(staged.rank)
    fused = (
        sa.select(
            Pair.id, best, sa.literal(1.0) / (60 + best), sa.literal(0), sa.literal(now, Candidate.pooled_at.type)
        )
        .join_from(_CANDIDATES, Pair, _same_pair(_CANDIDATES))
        .group_by(Pair.id)
    )
    session.execute(
        _insert(session, Candidate)
        .from_select(["pair_id", "rank", "score", "pool_size", "pooled_at"], fused, include_defaults=False)
        .on_conflict_do_nothing(index_elements=[Candidate.pair_id])
    )
    return Added(new=len(rows) - n_known, changed=n_known - n_same)


def set_pool_sizes(session: Session, query_ids: Sequence[int]) -> None:
    """Gives the candidates that imported runs put up for these queries the number of candidates of their query."""
    other, other_pair = sa.orm.aliased(Candidate), sa.orm.aliased(Pair)
    size = (
        sa.select(sa.func.count())
        .select_from(other)
        .join(other_pair, other_pair.id == other.pair_id)
        .where(other_pair.query_id == Pair.query_id)
        .scalar_subquery()
    )
    pool_size = sa.select(size).where(Pair.id == Candidate.pair_id).correlate(Candidate).scalar_subquery()
    session.execute(
        sa.update(Candidate)
        .where(Candidate.pool_size == 0, Candidate.pair_id.in_(sa.select(Pair.id).where(Pair.query_id.in_(query_ids))))
        .values(pool_size=pool_size)
        .execution_options(synchronize_session=False)
    )


def _fill(session: Session, stage: sa.Table, rows: Sequence[tuple[object, ...]]) -> None:
    session.execute(sa.schema.CreateTable(stage, if_not_exists=True))
    session.execute(sa.delete(stage))
    names = [column.name for column in stage.columns]
    if rows:
        session.execute(sa.insert(stage), [dict(zip(names, row, strict=True)) for row in rows])
        if session.get_bind().dialect.name == "postgresql":
            session.execute(sa.text(f"ANALYZE {stage.name}"))  # nobody else does it for a temporary table


def _add_pairs(session: Session, stage: sa.Table) -> None:
    missing = (
        sa.select(stage.c.query_id, stage.c.passage_id)
        .distinct()
        .outerjoin(Pair, _same_pair(stage))
        .where(Pair.id.is_(None))
    )
    session.execute(
        _insert(session, Pair)
        .from_select(list(_PAIR), missing, include_defaults=False)
        .on_conflict_do_nothing(index_elements=[Pair.query_id, Pair.passage_id])
    )


def _same_pair(stage: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(Pair.query_id == stage.c.query_id, Pair.passage_id == stage.c.passage_id)


def _latest_id(session: Session, table: type[Review] | type[Suggestion]) -> int:
    return session.scalar(sa.select(sa.func.max(table.id))) or 0


def _enum(column: Any, value: object) -> sa.ColumnElement[Any]:
    return sa.literal(value, column.type)


def _insert(session: Session, table: Any) -> Any:
    """An INSERT of the session's dialect, which knows ON CONFLICT."""
    return sqlite.insert(table) if session.get_bind().dialect.name == "sqlite" else postgresql.insert(table)
