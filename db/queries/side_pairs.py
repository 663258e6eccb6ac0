"""The candidates of one question as one person may find them: graded, held, drawn, seen; in a few queries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import Visibility
from db.models import (
    Candidate,
    Lease,
    Pair,
    PairState,
    Passage,
    Query,
    QueryCluster,
    QueueEntry,
    Review,
    SeenPair,
    Suggestion,
)
from db.queries.audits import PEOPLE_ONLY, is_drawn
from db.queries.queue_places import active_version
from db.queries.standing import GRADING, standing_reviews

MOST = 300
"""Candidates of one question that are listed."""


@dataclass(frozen=True, slots=True)
class SideRow:
    """One candidate. `drawn`: in an open sample or a waiting spot check; `held_blind`: this person has it open on a
    card that shows no proposal; `full`: as many others as are wanted have it open; `done`: nobody more is wanted.
    """

    pair_id: int
    passage_id: str
    title: str
    start: str
    people_only: bool
    drawn: bool
    seen: bool
    held_blind: bool
    own_grade: int | None
    curated_grade: int | None
    proposed_grade: int | None
    confidence: float | None
    wanted: int
    flagged: bool
    done: bool
    full: bool


def list_side_pairs(
    session: Session, *, pair_id: int, person_id: int, criterion: Criterion, now: datetime
) -> list[SideRow]:
    """The candidates of the pair's question and the pair itself, in the order of the pool; none for an unknown pair.

    On questions that only people judge the order tells nothing: a rank is an opinion of the retriever.
    """
    asked = {"pair": pair_id, "person": person_id, "version": active_version(session, criterion)}
    rows = session.execute(_candidates(criterion), asked).all()
    pair_ids = [row.id for row in rows]
    own = _own_grades(session, pair_ids, person_id=person_id, criterion=criterion)
    held = _held(session, pair_ids, criterion=criterion, now=now)
    found = [
        SideRow(
            pair_id=row.id,
            passage_id=row.external_id,
            title=row.title,
            start=row.start,
            people_only=row.split in PEOPLE_ONLY,
            drawn=row.drawn,
            seen=row.seen,
            held_blind=_holds_blind(held.get(row.id, ()), person_id),
            own_grade=own.get(row.id),
            curated_grade=row.curated_grade,
            proposed_grade=row.grade,
            confidence=row.confidence,
            wanted=row.wanted or 1,
            flagged=bool(row.flagged),
            # That a hidden check was settled long ago would tell that it is one.
            done=not _holds_blind(held.get(row.id, ()), person_id) and _is_done(row.open, row.graders, drawn=row.drawn),
            full=_others(held.get(row.id, ()), person_id) >= max(1, row.open or 1),
        )
        for row in rows
    ]
    if any(row.people_only for row in found):
        found.sort(key=lambda row: hashlib.sha256(str(row.pair_id).encode()).digest())
    return found


@cache
def _candidates(criterion: Criterion) -> sa.Select[Any]:
    """The candidates of the question of the pair :pair and that pair itself, as the person :person may find them."""
    asked = aliased(Pair)
    question = sa.select(asked.query_id).where(asked.id == sa.bindparam("pair")).scalar_subquery()
    seen = sa.exists().where(
        SeenPair.pair_id == Pair.id, SeenPair.criterion == criterion, SeenPair.person_id == sa.bindparam("person")
    )
    entry = sa.and_(
        QueueEntry.pair_id == Pair.id,
        QueueEntry.criterion == criterion,
        QueueEntry.version == sa.bindparam("version"),
    )
    return (
        sa.select(
            Pair.id,
            Passage.external_id,
            Passage.title,
            sa.func.substr(Passage.text, 1, 400).label("start"),
            QueryCluster.split,
            is_drawn(Pair.id, criterion).label("drawn"),
            seen.label("seen"),
            PairState.curated_grade,
            PairState.graders,
            PairState.flagged,
            Suggestion.grade,
            Suggestion.confidence,
            QueueEntry.wanted,
            QueueEntry.open,
        )
        .join(Passage, Passage.id == Pair.passage_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Candidate, Candidate.pair_id == Pair.id)
        .outerjoin(PairState, sa.and_(PairState.pair_id == Pair.id, PairState.criterion == criterion))
        .outerjoin(Suggestion, Suggestion.id == PairState.suggestion_id)
        .outerjoin(QueueEntry, entry)
        .where(Pair.query_id == question, sa.or_(Candidate.pair_id.is_not(None), Pair.id == sa.bindparam("pair")))
        .order_by(sa.func.coalesce(Candidate.rank, 1_000_000), Pair.id)
        .limit(MOST)
    )


def _own_grades(
    session: Session, pair_ids: Sequence[int], *, person_id: int, criterion: Criterion
) -> dict[int, int | None]:
    rows = session.execute(_graded(criterion), {"pairs": pair_ids, "person": person_id})
    return {pair_id: grade for pair_id, grade in rows}


@cache
def _graded(criterion: Criterion) -> sa.Select[int, int | None]:
    return (
        standing_reviews(criterion)
        .where(
            Review.pair_id.in_(sa.bindparam("pairs", expanding=True)),
            Review.person_id == sa.bindparam("person"),
            Review.action.in_(GRADING),
        )
        .with_only_columns(Review.pair_id, Review.grade)
        .order_by(Review.id)
    )


def _held(session: Session, pair_ids: Sequence[int], *, criterion: Criterion, now: datetime) -> dict[int, list[Lease]]:
    held: dict[int, list[Lease]] = {}
    for lease in session.scalars(_LEASES, {"pairs": pair_ids, "criterion": criterion, "now": now}):
        held.setdefault(lease.pair_id, []).append(lease)
    return held


_LEASES = sa.select(Lease).where(
    Lease.pair_id.in_(sa.bindparam("pairs", expanding=True)),
    Lease.criterion == sa.bindparam("criterion"),
    Lease.expires_at > sa.bindparam("now"),
)


def _others(held: Sequence[Lease], person_id: int) -> int:
    return sum(lease.person_id != person_id and lease.review_id is None and not lease.hidden_check for lease in held)


def _holds_blind(held: Sequence[Lease], person_id: int) -> bool:
    return any(lease.person_id == person_id and lease.visibility is Visibility.BLIND for lease in held)


def _is_done(open_: int | None, graders: int | None, *, drawn: bool) -> bool:
    if drawn:
        return False
    return open_ == 0 if open_ is not None else bool(graders)
