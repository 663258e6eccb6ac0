"""Pairs as people look at them: one in full, or pages of them with what is known now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

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
    PairFacts,
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
from db.queries.listed_words import in_list
from db.queries.text_search import FIELDS, Field


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


# Statements are made once and kept: making one takes longer than running it.
_Rows = sa.Select[Pair, Query, Passage, QueryCluster, PairState, Suggestion, JudgeRow, Decision, Review, bool, bool]


@cache
def _record(criterion: Criterion) -> _Rows:
    return _records(criterion).where(Pair.id == sa.bindparam("pair"))


@cache
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
    row = session.execute(_record(criterion), {"pair": pair_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no pair {pair_id}", user_message="This pair is not in the workspace any more.")
    return PairRecord(*row)


@dataclass(frozen=True, slots=True)
class PairFilter:
    """What a list of pairs is narrowed to; None and "" narrow nothing.

    text: words in the question, the passage or the reason; query, passage, reason: words in that alone.
    confidence_from, confidence_to: of the current suggestion, in [0, 1], both ends belong.
    """

    text: str = ""
    query: str = ""
    passage: str = ""
    reason: str = ""
    judge_id: int | None = None
    grade: int | None = None
    confidence_from: float | None = None
    confidence_to: float | None = None
    split: Split | None = None
    outcome: Outcome | None = None
    reviewed: bool | None = None
    disputed: bool | None = None
    flagged: bool | None = None

    @property
    def tells(self) -> bool:
        """Whether being in the list would tell what was proposed, decided or said of a pair that is judged blind."""
        told = (self.judge_id, self.grade, self.confidence_from, self.confidence_to, self.outcome, self.disputed)
        return any(value is not None for value in told)


def list_ids(session: Session, *, criterion: Criterion, wanted: PairFilter, after: int = 0, limit: int) -> list[int]:
    """Ids of the next pairs that have a suggestion and fit, in the order of their ids, from behind `after` on.

    Narrowed by what may not be shown of pairs that people judge blind, it leaves those out.
    """
    statement = _fitting(session, criterion=criterion, wanted=wanted).where(PairFacts.pair_id > after)
    return list(session.scalars(statement.order_by(PairFacts.pair_id).limit(limit)))


def list_ids_before(
    session: Session, *, criterion: Criterion, wanted: PairFilter, before: int, limit: int
) -> list[int]:
    """Ids of the pairs that come just before, in the order of their ids."""
    statement = _fitting(session, criterion=criterion, wanted=wanted).where(PairFacts.pair_id < before)
    return list(session.scalars(statement.order_by(PairFacts.pair_id.desc()).limit(limit)))[::-1]


def list_records(session: Session, *, criterion: Criterion, pair_ids: Sequence[int]) -> list[PairRecord]:
    """These pairs with all that holds for them, in the order of their ids; a page of them at a time."""
    rows = session.execute(_records(criterion).where(Pair.id.in_(pair_ids)).order_by(Pair.id))
    return [PairRecord(*row) for row in rows]


def _fitting(session: Session, *, criterion: Criterion, wanted: PairFilter) -> sa.Select[int]:
    facts = PairFacts
    conditions = [facts.criterion == criterion, facts.status.is_not(None)]
    equal = {
        facts.judge_id: wanted.judge_id,
        facts.grade: wanted.grade,
        facts.split: wanted.split,
        facts.outcome: wanted.outcome,
    }
    conditions += [column == value for column, value in equal.items() if value is not None]
    if wanted.confidence_from is not None:
        conditions.append(facts.confidence >= wanted.confidence_from)
    if wanted.confidence_to is not None:
        conditions.append(facts.confidence <= wanted.confidence_to)
    if wanted.reviewed is not None:
        conditions.append(facts.person_id.is_not(None) if wanted.reviewed else facts.person_id.is_(None))
    for column, yes in ((facts.disputed, wanted.disputed), (facts.flagged, wanted.flagged)):
        if yes is not None:
            conditions.append(column.is_(yes))
    if wanted.tells:
        id_, split = facts.pair_id.expression, facts.split.expression
        conditions.append(sa.not_(is_concealed(criterion, pair_id=id_, split=split)))
    fields: tuple[tuple[str, tuple[Field, ...]], ...] = (
        (wanted.text, FIELDS),
        (wanted.query, ("query",)),
        (wanted.passage, ("passage",)),
        (wanted.reason, ("reason",)),
    )
    for text, within in fields:
        if text.strip():
            pair_id = facts.pair_id.expression
            conditions.append(in_list(session, text, pair_id=pair_id, criterion=criterion, within=within))
    return sa.select(facts.pair_id).where(*conditions)


def get_split(session: Session, pair_id: int) -> Split | None:
    """The split of a pair's query."""
    return session.scalar(_SPLIT, {"pair": pair_id})


_SPLIT = (
    sa.select(QueryCluster.split)
    .join(Query, Query.cluster_id == QueryCluster.id)
    .join(Pair, Pair.query_id == Query.id)
    .where(Pair.id == sa.bindparam("pair"))
)


def list_hits(session: Session, pair_id: int) -> list[CandidateHit]:
    """Where each retrieving system ranked the pair."""
    return list(session.scalars(_HITS, {"pair": pair_id}))


_HITS = sa.select(CandidateHit).where(CandidateHit.pair_id == sa.bindparam("pair")).order_by(CandidateHit.system)


def get_definition(session: Session, query_id: int) -> Definition | None:
    """The definition that holds for a query: its highest version."""
    return session.scalar(_DEFINITION, {"query": query_id})


_DEFINITION = (
    sa.select(Definition)
    .where(Definition.query_id == sa.bindparam("query"))
    .order_by(Definition.version.desc())
    .limit(1)
)


def list_pair_suggestions(session: Session, *, pair_id: int, criterion: Criterion) -> list[tuple[Suggestion, JudgeRow]]:
    """Every suggestion made for a pair, oldest first."""
    rows = session.execute(_SUGGESTIONS, {"pair": pair_id, "criterion": criterion})
    return [(row[0], row[1]) for row in rows]


_SUGGESTIONS = (
    sa.select(Suggestion, JudgeRow)
    .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
    .where(Suggestion.pair_id == sa.bindparam("pair"), Suggestion.criterion == sa.bindparam("criterion"))
    .order_by(Suggestion.id)
)


def list_pair_decisions(session: Session, *, pair_id: int, criterion: Criterion) -> list[tuple[Decision, Policy]]:
    """Every decision about a pair, oldest first."""
    rows = session.execute(_DECISIONS, {"pair": pair_id, "criterion": criterion})
    return [(row[0], row[1]) for row in rows]


_DECISIONS = (
    sa.select(Decision, Policy)
    .join(Policy, Policy.id == Decision.policy_id)
    .where(Decision.pair_id == sa.bindparam("pair"), Decision.criterion == sa.bindparam("criterion"))
    .order_by(Decision.id)
)


def list_pair_reviews(session: Session, *, pair_id: int, criterion: Criterion) -> list[tuple[Review, Person]]:
    """Everything people did with a pair, undone or not, oldest first."""
    rows = session.execute(_REVIEWS, {"pair": pair_id, "criterion": criterion})
    return [(row[0], row[1]) for row in rows]


_REVIEWS = (
    sa.select(Review, Person)
    .join(Person, Person.id == Review.person_id)
    .where(Review.pair_id == sa.bindparam("pair"), Review.criterion == sa.bindparam("criterion"))
    .order_by(Review.id)
)
