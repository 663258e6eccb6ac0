"""Audited pairs that a judge may be shown as examples, and the blind reviews on which that is measured."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import Split, Visibility
from db.models import Definition, Pair, Passage, Query, QueryCluster, Review
from db.queries.audits import locked_pairs
from db.queries.definitions import latest_definition
from db.queries.standing import GRADING, standing_reviews


def list_example_reviews(session: Session, *, criterion: Criterion, limit: int) -> list[int]:
    """Ids of the reviews that may be examples: the newest of each pair, of train questions, the newest first.

    Never one of a pair in the sample of an open batch, whose audits feed nothing else, and none of calibrate or
    held-out questions, which measure.
    """
    rows = session.execute(
        standing_reviews(criterion)
        .with_only_columns(Review.id, Review.pair_id)
        .join(Pair, Pair.id == Review.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(
            Review.action.in_(GRADING),
            QueryCluster.split == Split.TRAIN,
            Review.pair_id.not_in(locked_pairs(criterion)),
        )
        .order_by(Review.id.desc())
    )
    newest: dict[int, int] = {}
    for review_id, pair_id in rows:
        newest.setdefault(pair_id, review_id)
        if len(newest) == limit:
            break
    return list(newest.values())


@dataclass(frozen=True, slots=True)
class BlindPair:
    """One pair graded blind, with the texts that a judge is shown."""

    pair_id: int
    query_id: int
    query: str
    definition: str | None
    title: str
    passage: str
    grade: int


def list_blind_pairs(session: Session, *, criterion: Criterion) -> list[BlindPair]:
    """The latest standing blind grade of each pair of calibrate questions, in pair order."""
    rows = session.execute(
        standing_reviews(criterion)
        .with_only_columns(
            Review.id,
            Review.pair_id,
            Review.grade,
            Query.id.label("query_id"),
            Query.text.label("query"),
            Passage.title,
            Passage.text,
            Definition.text.label("definition"),
        )
        .join(Pair, Pair.id == Review.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .outerjoin(Definition, Definition.id == latest_definition())
        .where(
            Review.action.in_(GRADING),
            Review.visibility == Visibility.BLIND,
            QueryCluster.split == Split.CALIBRATE,
        )
        .order_by(Review.pair_id, Review.id)
    )
    latest = {
        row.pair_id: BlindPair(
            row.pair_id, row.query_id, row.query, row.definition, row.title, row.text, int(row.grade)
        )
        for row in rows
    }
    return list(latest.values())
