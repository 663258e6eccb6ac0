"""Kept facts and counts: read, compared with what they are derived from, and made anew.

Triggers keep them (migration 0010). They can be wrong only where a trigger was switched off, or where on PostgreSQL a
pair became a candidate in the same moment in which another transaction gave it its first state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from db.enums import LabelSource, Outcome, Split
from db.models import (
    Candidate,
    CandidateCount,
    Decision,
    Pair,
    PairCount,
    PairFacts,
    PairState,
    Query,
    QueryCluster,
    Review,
    Suggestion,
    UsageCount,
)

_KEY = (
    PairCount.criterion,
    PairCount.split,
    PairCount.status,
    PairCount.outcome,
    PairCount.curated_source,
    PairCount.judge_id,
    PairCount.person_id,
    PairCount.curated_grade,
    PairCount.certified,
    PairCount.candidate,
)
_FACTS = [column.name for column in PairFacts.__table__.columns]
_LOCKED = ("query_cluster", "candidate", "suggestion", "pair_state", "pair_facts", "pair_count")


@dataclass(frozen=True, slots=True)
class PairGroup:
    """`n` pairs with a state that share all of this; None where there is none.

    status and judge_id: of the current suggestion, None without one; person_id: whose grade stands.
    """

    criterion: Criterion
    split: Split | None
    status: SuggestionStatus | None
    outcome: Outcome | None
    curated_source: LabelSource | None
    judge_id: int | None
    person_id: int | None
    curated_grade: int | None
    certified: bool
    candidate: bool
    n: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What suggestions used; `unpriced` counts those that used tokens at no known price."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unpriced: int


def list_groups(session: Session, *, criterion: Criterion) -> list[PairGroup]:
    """All pairs with a state, by what they share: some hundred rows, however many pairs there are."""
    number = sa.func.sum(PairCount.n)
    rows = session.execute(
        sa.select(*_KEY[1:], number)
        .where(PairCount.criterion == str(criterion))
        .group_by(*_KEY[1:])
        .having(number != 0)
    )
    return [
        PairGroup(
            criterion=criterion,
            split=Split(row[0]) if row[0] else None,
            status=SuggestionStatus(row[1]) if row[1] else None,
            outcome=Outcome(row[2]) if row[2] else None,
            curated_source=LabelSource(row[3]) if row[3] else None,
            judge_id=row[4] or None,
            person_id=row[5] or None,
            curated_grade=None if row[6] < 0 else row[6],
            certified=bool(row[7]),
            candidate=bool(row[8]),
            n=int(row[9]),
        )
        for row in rows
    ]


def count_where(groups: list[PairGroup], wanted: Callable[[PairGroup], bool]) -> int:
    """How many pairs are in the groups that are wanted."""
    return sum(group.n for group in groups if wanted(group))


def count_candidates(session: Session) -> dict[Split | None, int]:
    """Candidates by split; splits without one are left out."""
    rows = session.execute(
        sa.select(CandidateCount.split, sa.func.sum(CandidateCount.n)).group_by(CandidateCount.split)
    )
    return {Split(split) if split else None: int(n) for split, n in rows if n}


def sum_usage(session: Session, *, criterion: Criterion) -> Usage:
    """What all suggestions of a criterion used."""
    row = session.execute(
        sa.select(
            *(
                sa.func.coalesce(sa.func.sum(column), 0)
                for column in (
                    UsageCount.prompt_tokens,
                    UsageCount.completion_tokens,
                    UsageCount.nano_usd,
                    UsageCount.unpriced,
                )
            )
        ).where(UsageCount.criterion == str(criterion))
    ).one()
    return Usage(int(row[0]), int(row[1]), int(row[2]) / 1e9, int(row[3]))


def compare(session: Session) -> dict[str, int]:
    """By what is kept, how many rows of it are not what they are derived from; all are 0 as long as triggers kept them.

    Reads every pair: seconds with a million.
    """
    kept_facts = sa.select(*PairFacts.__table__.columns)
    wrong = sa.select(sa.func.count()).select_from(_derived_facts().except_(kept_facts).subquery())
    spare = sa.select(sa.func.count()).select_from(kept_facts.except_(_derived_facts()).subquery())
    return {
        "pairs": (session.scalar(wrong) or 0) + (session.scalar(spare) or 0),
        "counts": _differing(_summed(session, PairCount), _counted_pairs(session)),
        "candidates": _differing(_summed(session, CandidateCount), _counted_candidates(session)),
        "usage": _differing(_summed(session, UsageCount), _counted_usage(session)),
    }


def recount(session: Session) -> None:
    """Makes all that is kept anew from what it is derived from; nobody else writes meanwhile."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text(f"LOCK TABLE {', '.join(_LOCKED)} IN SHARE ROW EXCLUSIVE MODE"))
    session.execute(sa.delete(PairFacts))
    session.execute(sa.insert(PairFacts).from_select(_FACTS, _derived_facts(), include_defaults=False))
    for table, counted in (
        (PairCount, _counted_pairs(session)),
        (CandidateCount, _counted_candidates(session)),
        (UsageCount, _counted_usage(session)),
    ):
        session.execute(sa.delete(table))
        columns = [column.name for column in table.__table__.columns]
        rows = [dict(zip(columns, (*key, 0, *values), strict=True)) for key, values in counted.items()]
        if rows:
            session.execute(sa.insert(table.__table__), rows)  # type: ignore[arg-type]


_Counted = dict[tuple[object, ...], tuple[int, ...]]
"""Numbers by key, both in the order of the table's columns; `slot` stands between them there."""


def _derived_facts() -> sa.Select[*tuple[Any, ...]]:
    """What `pair_facts` must hold, column by column."""

    def word(column: sa.orm.InstrumentedAttribute[object]) -> sa.ColumnElement[str]:
        return sa.type_coerce(column, sa.String)

    return (
        sa.select(
            word(PairState.criterion),
            PairState.pair_id,
            word(QueryCluster.split),
            word(Suggestion.status),
            Suggestion.judge_id,
            Suggestion.grade,
            Suggestion.confidence,
            word(PairState.outcome),
            Decision.certificate_id.is_not(None),
            Review.person_id,
            PairState.curated_grade,
            word(PairState.curated_source),
            Candidate.pair_id.is_not(None),
            PairState.disputed,
            PairState.flagged,
        )
        .select_from(PairState)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Suggestion, Suggestion.id == PairState.suggestion_id)
        .outerjoin(Decision, Decision.id == PairState.decision_id)
        .outerjoin(Review, Review.id == PairState.review_id)
        .outerjoin(Candidate, Candidate.pair_id == PairState.pair_id)
    )


def _counted_pairs(session: Session) -> _Counted:
    facts = _derived_facts().subquery()
    columns = dict(zip(_FACTS, facts.c, strict=True))
    keys = [columns[column.key] for column in _KEY]
    none: dict[str, object] = {
        "judge_id": 0,
        "person_id": 0,
        "curated_grade": -1,
        "certified": False,
        "candidate": False,
    }
    found: dict[tuple[object, ...], int] = defaultdict(int)
    for row in session.execute(sa.select(*keys, sa.func.count()).group_by(*keys)):
        key = tuple(
            none.get(column.key, "") if value is None else value for column, value in zip(_KEY, row[:-1], strict=True)
        )
        found[key] += row[-1]
    return {key: (n,) for key, n in found.items()}


def _counted_candidates(session: Session) -> _Counted:
    rows = session.execute(
        sa.select(sa.type_coerce(QueryCluster.split, sa.String), sa.func.count())
        .select_from(Candidate)
        .join(Pair, Pair.id == Candidate.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .group_by(QueryCluster.split)
    )
    return {(split or "",): (n,) for split, n in rows}


def _counted_usage(session: Session) -> _Counted:
    nano = sa.cast(sa.func.round(sa.cast(sa.func.coalesce(Suggestion.cost_usd, 0) * 1e9, sa.Numeric)), sa.BigInteger)
    used = Suggestion.prompt_tokens + Suggestion.completion_tokens > 0
    rows = session.execute(
        sa.select(
            sa.type_coerce(Suggestion.criterion, sa.String),
            sa.func.sum(Suggestion.prompt_tokens),
            sa.func.sum(Suggestion.completion_tokens),
            sa.func.sum(nano),
            sa.func.sum(sa.case((sa.and_(Suggestion.cost_usd.is_(None), used), 1), else_=0)),
        ).group_by(Suggestion.criterion)
    )
    return {(criterion,): tuple(int(value) for value in sums) for criterion, *sums in rows}


def _summed(session: Session, table: type[PairCount | CandidateCount | UsageCount]) -> _Counted:
    columns = list(table.__table__.columns)
    place = [column.name for column in columns].index("slot")
    keys, values = columns[:place], columns[place + 1 :]
    rows = session.execute(sa.select(*keys, *(sa.func.sum(value) for value in values)).group_by(*keys))
    return {tuple(row[:place]): tuple(int(value) for value in row[place:]) for row in rows}


def _differing(kept: _Counted, counted: _Counted) -> int:
    def some(values: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return values if values is not None and any(values) else None

    return sum(some(kept.get(key)) != some(counted.get(key)) for key in kept.keys() | counted.keys())
