"""Candidates: pairs put up for judging, and what a judge needs to know of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, JudgeKind
from db.enums import Outcome, Split
from db.models import (
    Candidate,
    CandidateHit,
    Certificate,
    Decision,
    Definition,
    JudgeRow,
    Pair,
    PairState,
    Passage,
    Query,
    QueryCluster,
    Suggestion,
)
from db.queries.audits import is_suspended, open_batch_pairs
from db.queries.definitions import still_holds

LABELLED = (Split.TRAIN, Split.CALIBRATE)
"""Splits for whose questions judges propose; held-out ones are people's alone."""


def list_queries_to_pool(session: Session, splits: Collection[Split]) -> list[tuple[int, str, str]]:
    """(id, external id, text) of the train queries and, of the other splits, of those nobody judged; in id order."""
    judged = sa.exists().where(
        Pair.query_id == Query.id, PairState.pair_id == Pair.id, PairState.review_id.is_not(None)
    )
    rows = session.execute(
        sa.select(Query.id, Query.external_id, Query.text)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(QueryCluster.split.in_(splits), sa.or_(QueryCluster.split == Split.TRAIN, ~judged))
        .order_by(Query.id)
    )
    return [(row.id, row.external_id, row.text) for row in rows]


def list_unsplit_clusters(session: Session) -> list[int]:
    """Ids of the query clusters that belong to no split yet."""
    return list(
        session.scalars(
            sa.select(QueryCluster.id)
            .where(QueryCluster.split.is_(None), sa.exists().where(Query.cluster_id == QueryCluster.id))
            .order_by(QueryCluster.id)
        )
    )


def passage_ids(session: Session, external_ids: Collection[str]) -> dict[str, int]:
    """Database ids by external id, of those that exist."""
    wanted = sorted(set(external_ids))
    found: dict[str, int] = {}
    for start in range(0, len(wanted), 500):
        rows = session.execute(
            sa.select(Passage.external_id, Passage.id).where(Passage.external_id.in_(wanted[start : start + 500]))
        )
        found.update((external_id, id_) for external_id, id_ in rows)
    return found


def ensure_pairs(session: Session, *, query_id: int, passages: Collection[int]) -> dict[int, int]:
    """Pair ids by passage id for one query, made where missing."""
    rows = session.execute(sa.select(Pair.passage_id, Pair.id).where(Pair.query_id == query_id))
    known: dict[int, int] = {row.passage_id: row.id for row in rows}
    missing = [Pair(query_id=query_id, passage_id=passage_id) for passage_id in passages if passage_id not in known]
    session.add_all(missing)
    session.flush()
    known.update((pair.passage_id, pair.id) for pair in missing)
    return {passage_id: known[passage_id] for passage_id in passages}


@dataclass(frozen=True, slots=True)
class PooledPair:
    """One candidate to store: fused rank (from 1) and score, and (system, rank, score) of each system."""

    pair_id: int
    rank: int
    score: float
    hits: tuple[tuple[str, int, float], ...]


def store_candidates(session: Session, pooled: Sequence[PooledPair], *, now: datetime) -> int:
    """Stores one query's candidates and counts the new; earlier ones stay, those found again get their new ranks."""
    new = 0
    for item in pooled:
        candidate = session.get(Candidate, item.pair_id)
        if candidate is None:
            new += 1
            candidate = Candidate(pair_id=item.pair_id)
            session.add(candidate)
        candidate.rank, candidate.score, candidate.pool_size = item.rank, item.score, len(pooled)
        candidate.pooled_at = now
        for system, rank, score in item.hits:
            hit = session.get(CandidateHit, (item.pair_id, system))
            if hit is None:
                session.add(CandidateHit(pair_id=item.pair_id, system=system, rank=rank, score=score))
            else:
                hit.rank, hit.score = rank, score
    session.flush()
    return new


def count_unlabelled(
    session: Session, *, judge_id: int, criterion: Criterion, only: Sequence[sa.ColumnElement[bool]] = ()
) -> int:
    """How many candidates are left for this judge to label, as in `list_unlabelled`."""
    return session.scalar(_unlabelled(judge_id, criterion).where(*only).with_only_columns(sa.func.count())) or 0


def _unlabelled(judge_id: int, criterion: Criterion) -> sa.Select[Pair]:
    return (
        sa.select(Pair)
        .join(Candidate, Candidate.pair_id == Pair.id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(
            QueryCluster.split.in_(LABELLED),
            ~sa.exists().where(
                Suggestion.pair_id == Pair.id,
                Suggestion.judge_id == judge_id,
                Suggestion.criterion == criterion,
                still_holds(judge_id),
            ),
            Pair.id.not_in(open_batch_pairs(criterion)),
            Pair.id.not_in(_self_labelled(criterion)),
        )
    )


def _self_labelled(criterion: Criterion) -> sa.Select[int]:
    """Ids of the pairs that the retriever labels by itself under a certificate in force."""
    return (
        sa.select(PairState.pair_id)
        .join(Decision, Decision.id == PairState.decision_id)
        .join(Certificate, Certificate.id == Decision.certificate_id)
        .join(JudgeRow, JudgeRow.id == Certificate.judge_id)
        .where(
            PairState.criterion == criterion,
            PairState.outcome == Outcome.ACCEPTED,
            JudgeRow.kind == JudgeKind.RETRIEVER,
            ~is_suspended(),
        )
    )


@dataclass(frozen=True, slots=True)
class UnlabelledPair:
    """One pair for a judge: texts, the definition that holds, and the hits of each system by name."""

    pair_id: int
    query_id: int
    query: str
    definition_id: int | None
    definition: str | None
    title: str
    text: str
    rank: int
    pool_size: int
    hits: dict[str, tuple[int, float]]
    best_scores: dict[str, float]


def list_unlabelled(
    session: Session,
    *,
    judge_id: int,
    criterion: Criterion,
    limit: int,
    after: tuple[int, int] = (0, 0),
    only: Sequence[sa.ColumnElement[bool]] = (),
) -> list[UnlabelledPair]:
    """The next pairs that this judge has not labelled, query by query; `only` narrows them down.

    For a walk, pass the last pair's (query id, pair id) as `after`. Candidates of train questions, and of calibrate
    questions, where proposals only serve to measure the judge. Left out are pairs of open batches, whose suggestions
    are frozen, and those that the retriever labels under a certificate.
    """
    latest = (
        sa.select(Definition.query_id, sa.func.max(Definition.version).label("version"))
        .group_by(Definition.query_id)
        .subquery()
    )
    rows = session.execute(
        _unlabelled(judge_id, criterion)
        .with_only_columns(
            Pair.id,
            Pair.query_id,
            Query.text.label("query"),
            Passage.title,
            Passage.text,
            Candidate.rank,
            Candidate.pool_size,
            Definition.id.label("definition_id"),
            Definition.text.label("definition"),
        )
        .join(Passage, Passage.id == Pair.passage_id)
        .outerjoin(latest, latest.c.query_id == Query.id)
        .outerjoin(Definition, sa.and_(Definition.query_id == Query.id, Definition.version == latest.c.version))
        .where(sa.or_(Pair.query_id > after[0], sa.and_(Pair.query_id == after[0], Pair.id > after[1])), *only)
        .order_by(Pair.query_id, Pair.id)
        .limit(limit)
    ).all()
    hits: dict[int, dict[str, tuple[int, float]]] = {}
    for hit in list_hits(session, [row.id for row in rows]):
        hits.setdefault(hit.pair_id, {})[hit.system] = (hit.rank, hit.score)
    best = best_scores(session, sorted({row.query_id for row in rows}))
    return [
        UnlabelledPair(
            pair_id=row.id,
            query_id=row.query_id,
            query=row.query,
            definition_id=row.definition_id,
            definition=row.definition,
            title=row.title,
            text=row.text,
            rank=row.rank,
            pool_size=row.pool_size,
            hits=hits.get(row.id, {}),
            best_scores=best.get(row.query_id, {}),
        )
        for row in rows
    ]


def list_hits(session: Session, pair_ids: Sequence[int]) -> Iterator[CandidateHit]:
    """The rank and score of each of these pairs by each system that found it."""
    for start in range(0, len(pair_ids), 500):
        yield from session.scalars(
            sa.select(CandidateHit).where(CandidateHit.pair_id.in_(pair_ids[start : start + 500]))
        )


def best_scores(session: Session, query_ids: Sequence[int]) -> dict[int, dict[str, float]]:
    """The highest score each system gave within each query: query id -> system -> score."""
    best: dict[int, dict[str, float]] = {}
    for start in range(0, len(query_ids), 500):
        rows = session.execute(
            sa.select(Pair.query_id, CandidateHit.system, sa.func.max(CandidateHit.score))
            .join(CandidateHit, CandidateHit.pair_id == Pair.id)
            .where(Pair.query_id.in_(query_ids[start : start + 500]))
            .group_by(Pair.query_id, CandidateHit.system)
        )
        for query_id, system, score in rows:
            best.setdefault(query_id, {})[system] = score
    return best
