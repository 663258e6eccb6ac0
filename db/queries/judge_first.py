"""Pairs near the top of two models under comparison that nobody judged: put before the queue, and read from there.

Rows stay when their pair is graded: what waits is decided by the reviews that stand, so an undo brings a pair back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.models import Candidate, CandidateHit, JudgeFirst, Pair, PairState, Passage, Query
from db.queries.audits import locked_pairs

_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class TopPair:
    """An unjudged pair in the top of some system; ids from outside. hits: system -> (rank from 1, score)."""

    query_key: str
    passage_key: str
    hits: Mapping[str, tuple[int, float]]

    @property
    def rank(self) -> int:
        return min(rank for rank, _ in self.hits.values())


@cache
def waiting_first(criterion: Criterion) -> sa.Select[JudgeFirst]:
    """The pairs that are to be judged first and wait."""
    return (
        sa.select(JudgeFirst)
        .outerjoin(PairState, sa.and_(PairState.pair_id == JudgeFirst.pair_id, PairState.criterion == criterion))
        .where(
            JudgeFirst.criterion == criterion,
            PairState.review_id.is_(None),
            sa.func.coalesce(PairState.flagged, sa.false()).is_(sa.false()),
            JudgeFirst.pair_id.not_in(locked_pairs(criterion)),
        )
    )


def put_first(
    session: Session, pairs: Sequence[TopPair], *, evaluation_id: int, criterion: Criterion, now: datetime
) -> int:
    """Puts those pairs first that nobody has judged meanwhile, as candidates where they were none; returns how many.

    Pairs and passages that were there keep what they have; those put first before go with the newer comparison.
    """
    query_ids = _ids(session, Query, [pair.query_key for pair in pairs])
    passages = _ids(session, Passage, [pair.passage_key for pair in pairs])
    wanted = {
        (query_ids[pair.query_key], passages[pair.passage_key]): pair
        for pair in pairs
        if pair.query_key in query_ids and pair.passage_key in passages
    }
    found = _pair_ids(session, {query_id for query_id, _ in wanted})
    missing = [{"query_id": query, "passage_id": passage} for query, passage in wanted if (query, passage) not in found]
    if missing:
        session.execute(sa.insert(Pair), missing)
        found = _pair_ids(session, {query_id for query_id, _ in wanted})
    by_id = {found[key]: pair for key, pair in wanted.items()}
    judged = _among(
        session,
        sa.select(PairState.pair_id).where(PairState.criterion == criterion, PairState.review_id.is_not(None)),
        PairState.pair_id,
        list(by_id),
    )
    open_ids = [pair_id for pair_id in by_id if pair_id not in judged]
    _make_candidates(session, {pair_id: by_id[pair_id] for pair_id in open_ids}, now=now)
    for some in _chunks(open_ids):
        session.execute(sa.delete(JudgeFirst).where(JudgeFirst.criterion == criterion, JudgeFirst.pair_id.in_(some)))
    rows = [
        {
            "pair_id": pair_id,
            "criterion": criterion,
            "evaluation_id": evaluation_id,
            "rank": by_id[pair_id].rank,
            "created_at": now,
        }
        for pair_id in open_ids
    ]
    if rows:
        session.execute(sa.insert(JudgeFirst), rows)
    return len(rows)


def count_first(session: Session, *, evaluation_id: int) -> tuple[int, int]:
    """(pairs put first for that comparison, those of them that wait)."""
    put = sa.select(sa.func.count()).select_from(JudgeFirst).where(JudgeFirst.evaluation_id == evaluation_id)
    open_ = put.outerjoin(
        PairState, sa.and_(PairState.pair_id == JudgeFirst.pair_id, PairState.criterion == JudgeFirst.criterion)
    ).where(PairState.review_id.is_(None))
    return session.scalar(put) or 0, session.scalar(open_) or 0


def is_first(session: Session, *, pair_id: int, criterion: Criterion) -> bool:
    """Whether the pair waits among those to be judged first."""
    return session.scalar(_asks_first(criterion), {"pair": pair_id}) or False


@cache
def _asks_first(criterion: Criterion) -> sa.Select[bool]:
    return sa.select(waiting_first(criterion).where(JudgeFirst.pair_id == sa.bindparam("pair")).exists())


def _chunks(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(ids), _AT_A_TIME):
        yield ids[start : start + _AT_A_TIME]


def _ids(session: Session, table: type[Query] | type[Passage], external_ids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in _chunks(sorted(set(external_ids))):
        rows = session.execute(sa.select(table.external_id, table.id).where(table.external_id.in_(some)))
        found.update((external_id, id_) for external_id, id_ in rows)
    return found


def _pair_ids(session: Session, query_ids: set[int]) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for some in _chunks(sorted(query_ids)):
        rows = session.execute(sa.select(Pair.query_id, Pair.passage_id, Pair.id).where(Pair.query_id.in_(some)))
        found.update(((query_id, passage_id), id_) for query_id, passage_id, id_ in rows)
    return found


def _among(session: Session, statement: sa.Select[int], column: Any, ids: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for some in _chunks(ids):
        found.update(session.scalars(statement.where(column.in_(some))))
    return found


def _make_candidates(session: Session, pairs: Mapping[int, TopPair], *, now: datetime) -> None:
    known = _among(session, sa.select(Candidate.pair_id), Candidate.pair_id, list(pairs))
    new = {pair_id: pair for pair_id, pair in pairs.items() if pair_id not in known}
    if not new:
        return
    pools: dict[str, int] = {}
    for pair in new.values():
        pools[pair.query_key] = pools.get(pair.query_key, 0) + 1
    session.execute(
        sa.insert(Candidate),
        [
            {
                "pair_id": pair_id,
                "rank": pair.rank,
                "score": sum(1.0 / (60 + rank) for rank, _ in pair.hits.values()),
                "pool_size": pools[pair.query_key],
                "pooled_at": now,
            }
            for pair_id, pair in new.items()
        ],
    )
    session.execute(
        sa.insert(CandidateHit),
        [
            {"pair_id": pair_id, "system": system, "rank": rank, "score": score}
            for pair_id, pair in new.items()
            for system, (rank, score) in pair.hits.items()
        ],
    )
