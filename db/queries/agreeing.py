"""What raters said of the same pairs without seeing one another: first blind grades of people, and judges' grades.

Only reading happens here; what the numbers mean is computed in `app/services/agreement_figures.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion, JudgeKind
from db.enums import PersonKind, ReviewAction, Role, Split, Visibility
from db.models import JudgeRow, Pair, Person, Query, QueryCluster, Review, Suggestion
from db.queries.audits import locked_pairs
from db.queries.standing import revoked_judges, revoked_people


@dataclass(frozen=True, slots=True)
class PersonRater:
    """Somebody who grades, or in whose name grades were imported."""

    id: int
    name: str
    kind: PersonKind
    role: Role


@dataclass(frozen=True, slots=True)
class JudgeRater:
    """A judge that proposed readable grades; names may repeat, ids do not."""

    id: int
    name: str
    kind: JudgeKind


def list_first_blind_grades(
    session: Session, *, criterion: Criterion, newest: int
) -> Sequence[sa.Row[int, int, int, int, bool, int]]:
    """(pair_id, person_id, cluster_id, grade, held_out, at) of each person's first blind grade of each pair.

    `at` is in seconds since 1970. Left out: grades that were taken back, those given after the same person had seen
    the proposal, what was kept or revised after the reveal, hidden checks, adjudications (who adjudicates has read the
    others), revoked people, and pairs in the sample of an open batch, which feed nothing else. No more than the
    `newest` grades.
    """
    first = _first_blind(criterion).order_by(sa.desc("review_id")).limit(newest).subquery()
    return (
        session.connection()
        .execute(
            sa.select(
                Review.pair_id,
                Review.person_id,
                Query.cluster_id,
                sa.cast(Review.grade, sa.Integer).label("grade"),
                (QueryCluster.split == Split.HELD_OUT).label("held_out"),
                sa.cast(sa.extract("epoch", Review.created_at), sa.Integer).label("at"),
            )
            .select_from(first)
            .join(Review, Review.id == first.c.review_id)
            .join(Pair, Pair.id == Review.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(QueryCluster, QueryCluster.id == Query.cluster_id)
            .where(Review.pair_id.not_in(locked_pairs(criterion)))
        )
        .all()
    )


def list_judge_grades(session: Session, *, criterion: Criterion, newest: int) -> Sequence[sa.Row[int, int, int]]:
    """(judge_id, pair_id, grade) of what judges said of pairs with a blind grade, in the order in which they said it.

    The last row of a judge and pair is its latest readable grade. Revoked judges are left out. Pairs are those of the
    `newest` blind grades, be they first ones or not: whoever lays both lists beside one another drops the others.
    """
    newest_grades = (
        sa.select(Review.pair_id)
        .where(
            Review.criterion == criterion,
            Review.action == ReviewAction.GRADE,
            Review.visibility == Visibility.BLIND,
        )
        .order_by(Review.id.desc())
        .limit(newest)
        .subquery()
    )
    graded = sa.select(newest_grades.c.pair_id).distinct().subquery()
    return (
        session.connection()
        .execute(
            sa.select(
                Suggestion.judge_id,
                Suggestion.pair_id,
                sa.cast(Suggestion.grade, sa.Integer).label("grade"),
            )
            .select_from(graded)
            .join(Suggestion, Suggestion.pair_id == graded.c.pair_id)
            .where(
                Suggestion.criterion == criterion,
                Suggestion.grade.is_not(None),
                Suggestion.judge_id.not_in(revoked_judges()),
            )
            .order_by(Suggestion.id)
        )
        .all()
    )


def list_person_raters(session: Session) -> dict[int, PersonRater]:
    """Everybody who may have graded, by id."""
    rows = session.execute(sa.select(Person.id, Person.name, Person.kind, Person.role).order_by(Person.id))
    return {row.id: PersonRater(row.id, row.name, row.kind, row.role) for row in rows}


def list_judge_raters(session: Session, *, criterion: Criterion) -> dict[int, JudgeRater]:
    """The judges of that criterion, by id."""
    rows = session.execute(
        sa.select(JudgeRow.id, JudgeRow.name, JudgeRow.kind)
        .where(JudgeRow.criterion == criterion)
        .order_by(JudgeRow.id)
    )
    return {row.id: JudgeRater(row.id, row.name, row.kind) for row in rows}


def _first_blind(criterion: Criterion) -> sa.Select[int, int]:
    undo = aliased(Review)
    counts = sa.and_(
        Review.action == ReviewAction.GRADE,
        Review.visibility == Visibility.BLIND,
        ~Review.hidden_check,
        Review.revises_id.is_(None),
        undo.id.is_(None),
    )
    first = sa.func.min(Review.id).filter(counts)
    seen = sa.func.min(Review.id).filter(Review.visibility == Visibility.SHOWN)
    return (
        sa.select(Review.pair_id, first.label("review_id"))
        .outerjoin(undo, undo.undoes_id == Review.id)
        .where(
            Review.criterion == criterion,
            Review.action != ReviewAction.UNDO,
            Review.person_id.not_in(revoked_people()),
        )
        .group_by(Review.pair_id, Review.person_id)
        .having(first.is_not(None), sa.or_(seen.is_(None), first < seen))
    )
