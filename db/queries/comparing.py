"""What judges proposed and what people said blind about the same pairs, and what each judge used."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import ReviewAction, Split, Visibility
from db.models import JudgeRow, Pair, Query, QueryCluster, Review, Suggestion
from db.queries.audits import locked_pairs
from db.queries.standing import GRADING, standing_reviews


@dataclass(frozen=True, slots=True)
class BlindReview:
    """The blind grade that stands for a pair. `query_id`: its query, near-duplicates counting as one."""

    pair_id: int
    query_id: int
    grade: int


@dataclass(frozen=True, slots=True)
class JudgeUsage:
    """What one judge's suggestions used: tokens of all, and cost and tokens of those paid for when they were made."""

    judge_id: int
    n: int
    prompt_tokens: int
    completion_tokens: int
    paid_usd: float
    paid_tokens: int


def list_blind_reviews(session: Session, *, criterion: Criterion, split: Split) -> list[BlindReview]:
    """One blind grade a pair of that split, in the order of the pairs: the latest adjudication, else the latest grade.

    Reviews that a suggestion was shown for are left out, as are those taken back and those of a certificate's open
    sample, which feeds nothing else.
    """
    rows = session.execute(
        _blind_reviews(criterion, split)
        .with_only_columns(Review.pair_id, Query.cluster_id, Review.grade)
        .order_by(Review.pair_id, Review.action == ReviewAction.ADJUDICATE, Review.id)
    )
    standing = {
        pair_id: BlindReview(pair_id, query_id, grade) for pair_id, query_id, grade in rows if grade is not None
    }
    return list(standing.values())


def list_latest_suggestions(
    session: Session, *, criterion: Criterion, split: Split
) -> list[tuple[JudgeRow, Suggestion]]:
    """Each judge's latest suggestion for each pair of that split that has a blind grade, by judge and pair."""
    latest = (
        sa.select(sa.func.max(Suggestion.id))
        .where(
            Suggestion.criterion == criterion,
            Suggestion.pair_id.in_(_blind_reviews(criterion, split).with_only_columns(Review.pair_id)),
        )
        .group_by(Suggestion.judge_id, Suggestion.pair_id)
    )
    rows = session.execute(
        sa.select(JudgeRow, Suggestion)
        .join(Suggestion, Suggestion.judge_id == JudgeRow.id)
        .where(Suggestion.id.in_(latest))
        .order_by(JudgeRow.id, Suggestion.pair_id)
    )
    return [(judge, suggestion) for judge, suggestion in rows]


def sum_usage_by_judge(session: Session, *, criterion: Criterion) -> dict[int, JudgeUsage]:
    """What each judge used, by its id, over all its suggestions: a reply from the cache has tokens but no cost."""
    tokens = Suggestion.prompt_tokens + Suggestion.completion_tokens
    paid = Suggestion.cost_usd > 0
    rows = session.execute(
        sa.select(
            Suggestion.judge_id,
            sa.func.count(),
            sa.func.sum(Suggestion.prompt_tokens),
            sa.func.sum(Suggestion.completion_tokens),
            sa.func.coalesce(sa.func.sum(sa.case((paid, Suggestion.cost_usd), else_=0.0)), 0.0),
            sa.func.coalesce(sa.func.sum(sa.case((paid, tokens), else_=0)), 0),
        )
        .where(Suggestion.criterion == criterion)
        .group_by(Suggestion.judge_id)
    )
    return {
        row[0]: JudgeUsage(row[0], int(row[1]), int(row[2]), int(row[3]), float(row[4]), int(row[5])) for row in rows
    }


def list_judges(session: Session, *, criterion: Criterion) -> list[JudgeRow]:
    """Every judge of that criterion, in the order in which they first proposed."""
    return list(session.scalars(sa.select(JudgeRow).where(JudgeRow.criterion == criterion).order_by(JudgeRow.id)))


def latest_ids(session: Session) -> tuple[int, int]:
    """The newest suggestion and the newest review: while both stay, so does every comparison."""
    suggestion = session.scalar(sa.select(sa.func.max(Suggestion.id))) or 0
    return suggestion, session.scalar(sa.select(sa.func.max(Review.id))) or 0


def _blind_reviews(criterion: Criterion, split: Split) -> sa.Select[Review]:
    return (
        standing_reviews(criterion)
        .join(Pair, Pair.id == Review.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(
            QueryCluster.split == split,
            Review.visibility == Visibility.BLIND,
            Review.action.in_(GRADING),
            Review.pair_id.not_in(locked_pairs(criterion)),
        )
    )
