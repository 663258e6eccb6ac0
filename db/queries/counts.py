"""How many of everything: the funnel, the splits, what it cost."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from db.enums import LabelSource, Outcome, Split
from db.models import (
    Candidate,
    Decision,
    JudgeRow,
    Pair,
    PairState,
    Passage,
    Person,
    Query,
    QueryCluster,
    Review,
    Suggestion,
)
from db.queries.audits import PEOPLE_ONLY, locked_pairs


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Train pairs by what happened to them: put up for judging, and what became of those a judge proposed for.

    Train: neither calibrate nor held-out; pairs of questions without a split count, pooling gives them one.
    """

    candidates: int
    proposed: int
    unreadable: int
    accepted: int
    rejected: int
    audited: int
    curated: int


@dataclass(frozen=True, slots=True)
class GradedCandidates:
    """Of the candidates of one split that people judge blind: how many they graded."""

    graded: int
    candidates: int


def count_pairs(session: Session, *, criterion: Criterion) -> PairCounts:
    """The funnel's numbers. What judges propose for calibrate and held-out queries is never routed, and not counted."""
    train = sa.or_(QueryCluster.split.is_(None), QueryCluster.split.not_in(PEOPLE_ONLY))
    proposed = PairState.suggestion_id.is_not(None)

    def of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

    row = session.execute(
        sa.select(
            of(proposed),
            of(Suggestion.status == SuggestionStatus.UNREADABLE),
            of(PairState.outcome == Outcome.ACCEPTED),
            of(PairState.outcome == Outcome.REJECTED),
            of(sa.and_(proposed, PairState.review_id.is_not(None))),
            of(sa.and_(proposed, PairState.curated_grade.is_not(None))),
        )
        .select_from(PairState)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Suggestion, Suggestion.id == PairState.suggestion_id)
        .where(PairState.criterion == criterion, train)
    ).one()
    candidates = session.scalar(
        sa.select(sa.func.count())
        .select_from(Candidate)
        .join(Pair, Pair.id == Candidate.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(train)
    )
    return PairCounts(candidates or 0, *(int(value) for value in row))


def count_graded_candidates(session: Session, *, criterion: Criterion) -> dict[Split, GradedCandidates]:
    """Of the calibrate and of the held-out questions: how many candidates there are, and how many people graded."""
    graded = PairState.review_id.is_not(None)
    found = {
        split: GradedCandidates(int(number or 0), int(candidates))
        for split, number, candidates in session.execute(
            sa.select(QueryCluster.split, sa.func.sum(sa.case((graded, 1), else_=0)), sa.func.count())
            .select_from(Candidate)
            .join(Pair, Pair.id == Candidate.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(QueryCluster, QueryCluster.id == Query.cluster_id)
            .outerjoin(PairState, sa.and_(PairState.pair_id == Pair.id, PairState.criterion == criterion))
            .where(QueryCluster.split.in_(PEOPLE_ONLY))
            .group_by(QueryCluster.split)
        )
    }
    return {split: found.get(split, GradedCandidates(0, 0)) for split in PEOPLE_ONLY}


def has_relevant_judgement(session: Session, *, split: Split, criterion: Criterion, relevant_from: int) -> bool:
    """Whether people graded any passage of this split's questions as relevant, without which nothing is measured."""
    return bool(
        session.scalar(
            sa.select(
                sa.exists().where(
                    PairState.criterion == criterion,
                    PairState.review_id.is_not(None),
                    PairState.curated_grade >= relevant_from,
                    Pair.id == PairState.pair_id,
                    Query.id == Pair.query_id,
                    QueryCluster.id == Query.cluster_id,
                    QueryCluster.split == split,
                )
            )
        )
    )


def count_uncertified(session: Session, *, criterion: Criterion) -> int:
    """Accepted suggestions that no certificate stands behind."""
    return (
        session.scalar(
            sa.select(sa.func.count())
            .select_from(PairState)
            .join(Decision, Decision.id == PairState.decision_id)
            .where(
                PairState.criterion == criterion,
                PairState.outcome == Outcome.ACCEPTED,
                Decision.certificate_id.is_(None),
            )
        )
        or 0
    )


def count_uncertified_curated(session: Session, *, criterion: Criterion, split: Split | None = None) -> int:
    """Curated grades that rest on an accepted suggestion behind which no certificate stands."""
    found = (
        sa.select(sa.func.count())
        .select_from(PairState)
        .join(Decision, Decision.id == PairState.decision_id)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(
            PairState.criterion == criterion,
            PairState.curated_source == LabelSource.ACCEPTED,
            Decision.certificate_id.is_(None),
            PairState.pair_id.not_in(locked_pairs(criterion)),
        )
    )
    return session.scalar(found if split is None else found.where(QueryCluster.split == split)) or 0


def count_standing_by_person(session: Session, *, criterion: Criterion) -> dict[str, int]:
    """Pairs by the person whose grade stands, most first."""
    number = sa.func.count()
    rows = session.execute(
        sa.select(Person.name, number)
        .join(Review, Review.person_id == Person.id)
        .join(PairState, PairState.review_id == Review.id)
        .where(PairState.criterion == criterion)
        .group_by(Person.name)
        .order_by(number.desc(), Person.name)
    )
    return {name: count for name, count in rows}


def count_queries(session: Session) -> dict[str, int]:
    """Queries by split; those without one under "none"."""
    rows = session.execute(
        sa.select(QueryCluster.split, sa.func.count(Query.id))
        .join(Query, Query.cluster_id == QueryCluster.id)
        .group_by(QueryCluster.split)
    )
    return {"none" if split is None else str(split): count for split, count in rows}


def count_passages(session: Session) -> int:
    """How many passages the workspace holds."""
    return session.scalar(sa.select(sa.func.count()).select_from(Passage)) or 0


def sum_usage(session: Session, *, criterion: Criterion) -> tuple[int, int, float, int]:
    """Prompt tokens, completion tokens, US dollars known, and suggestions with tokens but no known price."""
    unpriced = sa.case(
        (sa.and_(Suggestion.cost_usd.is_(None), Suggestion.prompt_tokens + Suggestion.completion_tokens > 0), 1),
        else_=0,
    )
    row = session.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(Suggestion.prompt_tokens), 0),
            sa.func.coalesce(sa.func.sum(Suggestion.completion_tokens), 0),
            sa.func.coalesce(sa.func.sum(Suggestion.cost_usd), 0.0),
            sa.func.coalesce(sa.func.sum(unpriced), 0),
        ).where(Suggestion.criterion == criterion)
    ).one()
    return int(row[0]), int(row[1]), float(row[2]), int(row[3])


def list_active_judges(session: Session, *, criterion: Criterion) -> list[JudgeRow]:
    """The judges behind the current suggestions."""
    return list(
        session.scalars(
            sa.select(JudgeRow)
            .where(
                JudgeRow.id.in_(
                    sa.select(Suggestion.judge_id)
                    .join(PairState, PairState.suggestion_id == Suggestion.id)
                    .where(PairState.criterion == criterion)
                    .distinct()
                )
            )
            .order_by(JudgeRow.name)
        )
    )
