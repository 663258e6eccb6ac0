"""Pairs as people look at them: one in full, or pages of them with what is known now."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import Outcome, Split
from db.errors import NotFound
from db.models import (
    CandidateHit,
    Decision,
    Definition,
    JudgeRow,
    Pair,
    PairState,
    Passage,
    Person,
    Policy,
    Query,
    QueryCluster,
    Review,
    Suggestion,
)
from db.queries.audits import is_concealed
from db.queries.definitions import is_stale


@dataclass(frozen=True, slots=True)
class PairRecord:
    """The rows that make up one pair under one criterion; what has not happened yet is None.

    `concealed`: people judge it blind, so that what was proposed and decided must not be shown. `stale`: the judge was
    shown another definition than holds now.
    """

    pair: Pair
    query: Query
    passage: Passage
    cluster: QueryCluster
    state: PairState | None
    suggestion: Suggestion | None
    judge: JudgeRow | None
    decision: Decision | None
    review: Review | None
    concealed: bool
    stale: bool


_Rows = sa.Select[Pair, Query, Passage, QueryCluster, PairState, Suggestion, JudgeRow, Decision, Review, bool, bool]


def _records(criterion: Criterion) -> _Rows:
    return (
        sa.select(
            Pair,
            Query,
            Passage,
            QueryCluster,
            PairState,
            Suggestion,
            JudgeRow,
            Decision,
            Review,
            is_concealed(criterion).label("concealed"),
            sa.func.coalesce(is_stale(), sa.false()).label("stale"),
        )
        .join(Query, Query.id == Pair.query_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(PairState, sa.and_(PairState.pair_id == Pair.id, PairState.criterion == criterion))
        .outerjoin(Suggestion, Suggestion.id == PairState.suggestion_id)
        .outerjoin(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .outerjoin(Decision, Decision.id == PairState.decision_id)
        .outerjoin(Review, Review.id == PairState.review_id)
    )


def get_record_or_raise(session: Session, *, pair_id: int, criterion: Criterion) -> PairRecord:
    """One pair with all that holds for it.

    Raises:
        NotFound: there is no such pair.
    """
    row = session.execute(_records(criterion).where(Pair.id == pair_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no pair {pair_id}", user_message="This pair is not in the workspace any more.")
    return PairRecord(*row)


def list_records(
    session: Session,
    *,
    criterion: Criterion,
    outcome: Outcome | None,
    reviewed: bool | None,
    text: str,
    offset: int,
    limit: int,
) -> tuple[list[PairRecord], int]:
    """A page of the pairs that have a suggestion, and how many there are in all.

    Narrowed to one outcome, it leaves out those that people judge blind: being in the list would tell.
    """
    conditions: list[sa.ColumnElement[bool]] = [PairState.suggestion_id.is_not(None)]
    if outcome is not None:
        conditions += [PairState.outcome == outcome, sa.not_(is_concealed(criterion))]
    if reviewed is not None:
        conditions.append(PairState.review_id.is_not(None) if reviewed else PairState.review_id.is_(None))
    if text.strip():
        pattern = "%" + text.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        conditions.append(
            sa.or_(*(column.ilike(pattern, escape="\\") for column in (Query.text, Passage.title, Passage.text)))
        )
    selected = _records(criterion).where(*conditions)
    total = session.scalar(selected.with_only_columns(sa.func.count())) or 0
    rows = session.execute(selected.order_by(Query.id, Pair.id).offset(offset).limit(limit))
    return [PairRecord(*row) for row in rows], total


def get_split(session: Session, pair_id: int) -> Split | None:
    """The split of a pair's query."""
    return session.scalar(
        sa.select(QueryCluster.split)
        .join(Query, Query.cluster_id == QueryCluster.id)
        .join(Pair, Pair.query_id == Query.id)
        .where(Pair.id == pair_id)
    )


def list_hits(session: Session, pair_id: int) -> list[CandidateHit]:
    """Where each retrieving system ranked the pair."""
    return list(
        session.scalars(sa.select(CandidateHit).where(CandidateHit.pair_id == pair_id).order_by(CandidateHit.system))
    )


def get_definition(session: Session, query_id: int) -> Definition | None:
    """The definition that holds for a query: its highest version."""
    return session.scalar(
        sa.select(Definition).where(Definition.query_id == query_id).order_by(Definition.version.desc()).limit(1)
    )


def list_pair_suggestions(session: Session, *, pair_id: int, criterion: Criterion) -> list[tuple[Suggestion, JudgeRow]]:
    """Every suggestion made for a pair, oldest first."""
    rows = session.execute(
        sa.select(Suggestion, JudgeRow)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(Suggestion.pair_id == pair_id, Suggestion.criterion == criterion)
        .order_by(Suggestion.id)
    )
    return [(row[0], row[1]) for row in rows]


def list_pair_decisions(session: Session, *, pair_id: int, criterion: Criterion) -> list[tuple[Decision, Policy]]:
    """Every decision about a pair, oldest first."""
    rows = session.execute(
        sa.select(Decision, Policy)
        .join(Policy, Policy.id == Decision.policy_id)
        .where(Decision.pair_id == pair_id, Decision.criterion == criterion)
        .order_by(Decision.id)
    )
    return [(row[0], row[1]) for row in rows]


def list_pair_reviews(session: Session, *, pair_id: int, criterion: Criterion) -> list[tuple[Review, Person]]:
    """Everything people did with a pair, undone or not, oldest first."""
    rows = session.execute(
        sa.select(Review, Person)
        .join(Person, Person.id == Review.person_id)
        .where(Review.pair_id == pair_id, Review.criterion == criterion)
        .order_by(Review.id)
    )
    return [(row[0], row[1]) for row in rows]
