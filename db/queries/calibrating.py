"""Judges, what they proposed with which confidence, and the blind reviews that calibrators are fitted on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import ConfidenceKind, Criterion, Scale
from db.enums import RevocationAct, Split, Visibility
from db.errors import NotFound
from db.models import (
    Calibrator,
    Candidate,
    JudgeRow,
    Pair,
    Query,
    QueryCluster,
    Review,
    Revocation,
    Suggestion,
)
from db.queries.audits import locked_pairs
from db.queries.counters import list_groups
from db.queries.standing import GRADING, revoked_people, standing_reviews


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """One readable suggestion with all that a calibrator may look at, but for the retrieval hits."""

    pair_id: int
    query_id: int
    suggestion_id: int
    grade: int
    confidence: float | None
    kind: ConfidenceKind | None
    distribution: tuple[float, ...] | None
    context: dict[str, Any] | None
    rank: int | None
    pool_size: int | None


JUDGED_COLUMNS = (
    Suggestion.pair_id,
    Pair.query_id,
    Suggestion.id.label("suggestion_id"),
    Suggestion.grade,
    Suggestion.confidence,
    Suggestion.confidence_kind,
    Suggestion.grade_distribution,
    Suggestion.context,
    Candidate.rank,
    Candidate.pool_size,
)


def judged_row(row: Any) -> JudgedRow:
    """A row of `JUDGED_COLUMNS` as a value."""
    distribution = row.grade_distribution
    return JudgedRow(
        pair_id=row.pair_id,
        query_id=row.query_id,
        suggestion_id=row.suggestion_id,
        grade=row.grade,
        confidence=row.confidence,
        kind=row.confidence_kind,
        distribution=None if distribution is None else tuple(float(p) for p in distribution),
        context=row.context,
        rank=row.rank,
        pool_size=row.pool_size,
    )


def list_reviewed(
    session: Session, *, judge_id: int, kind: ConfidenceKind, criterion: Criterion, splits: Collection[Split]
) -> list[tuple[JudgedRow, int]]:
    """What a judge proposed with one kind of confidence, each with the grade a person gave blind, in pair order.

    The latest proposal of the judge, whether current or not, and the latest blind review that stands. Reviews given
    after the suggestion was shown, those in the sample of an open batch and those of held-out questions never count.
    """
    statement = _reviewed(judge_id=judge_id, kind=kind, criterion=criterion, splits=splits)
    return [(judged_row(row), int(row.human)) for row in session.execute(statement.order_by(Pair.id))]


def count_reviewed(
    session: Session, *, judge_id: int, kind: ConfidenceKind, criterion: Criterion, splits: Collection[Split]
) -> tuple[int, int]:
    """How many there are in `list_reviewed`, and of how many queries."""
    statement = _reviewed(judge_id=judge_id, kind=kind, criterion=criterion, splits=splits)
    n, n_queries = session.execute(
        statement.with_only_columns(sa.func.count(), sa.func.count(sa.distinct(Pair.query_id)))
    ).one()
    return int(n), int(n_queries)


def _reviewed(
    *, judge_id: int, kind: ConfidenceKind, criterion: Criterion, splits: Collection[Split]
) -> sa.Select[*tuple[Any, ...]]:
    said = aliased(Suggestion)
    latest = (  # asked pair by pair: few are reviewed blind, and a judge may have proposed for a million
        sa.select(sa.func.max(said.id))
        .where(
            said.pair_id == Pair.id,
            said.judge_id == judge_id,
            said.criterion == criterion,
            said.grade.is_not(None),
        )
        .correlate(Pair)
        .scalar_subquery()
    )
    blind = (
        standing_reviews(criterion)
        .where(Review.visibility == Visibility.BLIND, Review.action.in_(GRADING))
        .with_only_columns(Review.pair_id, sa.func.max(Review.id).label("id"))
        .group_by(Review.pair_id)
        .subquery()
    )
    return (
        sa.select(*JUDGED_COLUMNS, Review.grade.label("human"))
        .select_from(Suggestion)
        .join(Pair, Pair.id == Suggestion.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .join(blind, blind.c.pair_id == Pair.id)
        .join(Review, Review.id == blind.c.id)
        .outerjoin(Candidate, Candidate.pair_id == Pair.id)
        .where(
            Suggestion.id == latest,
            Suggestion.confidence_kind == kind,
            QueryCluster.split.in_([split for split in splits if split is not Split.HELD_OUT]),
            Pair.id.not_in(locked_pairs(criterion)),
        )
    )


def get_judge_or_raise(session: Session, judge_id: int) -> JudgeRow:
    """The judge of that id.

    Raises:
        NotFound: there is none.
    """
    judge = session.get(JudgeRow, judge_id)
    if judge is None:
        raise NotFound(f"there is no judge {judge_id}", user_message="This judge is not in the workspace.")
    return judge


def list_judges(session: Session, *, criterion: Criterion) -> list[tuple[JudgeRow, int]]:
    """Every judge that ever proposed, and on how many train pairs its suggestion is the current one; most first."""
    current: Counter[int] = Counter()
    for group in list_groups(session, criterion=criterion):
        if group.judge_id is not None and group.split is Split.TRAIN:
            current[group.judge_id] += group.n
    judges = session.scalars(
        sa.select(JudgeRow).where(
            JudgeRow.criterion == criterion,
            sa.exists().where(Suggestion.judge_id == JudgeRow.id, Suggestion.criterion == criterion),
        )
    )
    return sorted(((judge, current[judge.id]) for judge in judges), key=lambda found: (-found[1], -found[0].id))


_LAST = 10_000


def main_kind(session: Session, judge_id: int) -> ConfidenceKind | None:
    """The kind of most of a judge's confidences, on the last 10,000 pairs with one; None when it gave none."""
    newest = (
        sa.select(Suggestion.confidence_kind)
        .where(Suggestion.judge_id == judge_id, Suggestion.confidence_kind.is_not(None))
        .order_by(Suggestion.pair_id.desc())  # as its index goes: a million need not be counted for one word
        .limit(_LAST)
        .subquery()
    )
    kind = newest.c.confidence_kind
    return session.scalar(sa.select(kind).group_by(kind).order_by(sa.func.count().desc(), kind).limit(1))


def get_calibrator(
    session: Session, *, judge_id: int, kind: ConfidenceKind, criterion: Criterion, scale: Scale
) -> Calibrator | None:
    """The newest calibrator of a judge and kind, which is the one that holds; None: uncalibrated.

    One that was fitted on another scale counts as none, and so does one that rests on somebody who is revoked.
    """
    newest = session.scalar(
        sa.select(Calibrator)
        .where(Calibrator.judge_id == judge_id, Calibrator.confidence_kind == kind, Calibrator.criterion == criterion)
        .order_by(Calibrator.id.desc())
        .limit(1)
    )
    holds = newest is not None and is_of_scale(newest, scale) and not rests_on_revoked(session, newest)
    return newest if holds else None


def rests_on_revoked(session: Session, stored: Calibrator) -> bool:
    """Whether a calibrator was fitted on blind reviews of somebody who was revoked after it; fitting again mends it."""
    held = aliased(Revocation)
    rows = session.execute(
        sa.select(Pair.query_id)
        .join(Review, Review.pair_id == Pair.id)
        .join(held, held.reviewer_id == Review.person_id)
        .where(
            Review.person_id.in_(revoked_people()),
            Review.criterion == stored.criterion,
            Review.visibility == Visibility.BLIND,
            Review.action.in_(GRADING),
            Review.created_at <= stored.created_at,
            held.act == RevocationAct.REVOKE,
            held.created_at >= stored.created_at,
        )
        .distinct()
    )
    return not {int(query) for query in stored.parameters["queries"]}.isdisjoint(query for (query,) in rows)


def is_of_scale(stored: Calibrator, scale: Scale) -> bool:
    """Whether a calibrator was fitted on that scale; one that cannot be read is left to whoever reads it."""
    try:
        fitted = json.loads(str(stored.parameters.get("calibrator", "")))
    except ValueError:
        return True
    return (fitted.get("max_grade"), fitted.get("relevant_from")) == (scale.max_grade, scale.relevant_from)


def list_calibrators(session: Session, *, criterion: Criterion, scale: Scale) -> list[Calibrator]:
    """The calibrator that holds for each judge and kind, as `get_calibrator` says."""
    newest = (
        sa.select(sa.func.max(Calibrator.id))
        .where(Calibrator.criterion == criterion)
        .group_by(Calibrator.judge_id, Calibrator.confidence_kind)
    )
    found = session.scalars(sa.select(Calibrator).where(Calibrator.id.in_(newest)).order_by(Calibrator.id))
    return [stored for stored in found if is_of_scale(stored, scale) and not rests_on_revoked(session, stored)]


def median_seconds(session: Session, *, criterion: Criterion, at_most: float) -> tuple[float | None, int]:
    """The median time of the blind reviews that stand, in seconds, and of how many; longer ones are pauses."""
    found = session.scalars(
        standing_reviews(criterion)
        .where(
            Review.visibility == Visibility.BLIND,
            Review.action.in_(GRADING),
            Review.seconds.is_not(None),
            Review.seconds > 0,
            Review.seconds <= at_most,
        )
        .with_only_columns(Review.seconds)
    )
    seconds = sorted(value for value in found if value is not None)
    if not seconds:
        return None, 0
    middle = len(seconds) // 2
    return (seconds[middle] if len(seconds) % 2 else (seconds[middle - 1] + seconds[middle]) / 2), len(seconds)
