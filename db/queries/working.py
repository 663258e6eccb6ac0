"""What people did at the review desk, counted for each of them in the database.

Imported judgements are nobody's work here. Whose figures may be read by whom is decided in `app/services/my_work.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import ReviewAction, Visibility
from db.models import Pair, Person, Query, Review
from db.queries.disputes import CASE
from db.queries.standing import GRADING


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """One person's work. A label is a grade or an adjudication that stands and is no answer to a reveal.

    n_timed labels took no longer than the pause and have a time; n_long were open for longer, n_untimed have none.
    seconds: of everything that person did, labels or not, but for pauses. kept and revised: answers to a reveal.
    undos: what they took back of their own; to send somebody's flag back is none.
    """

    person_id: int
    labels: int
    today: int
    this_week: int
    blind: int
    adjudications: int
    n_timed: int
    n_long: int
    n_untimed: int
    seconds: float
    kept: int
    revised: int
    undos: int
    skips: int


@dataclass(frozen=True, slots=True)
class Hits:
    """Of n grades, how many were the very grade that was decided on, and how many on its side of the threshold."""

    n: int
    same: int
    same_side: int


@dataclass(frozen=True, slots=True)
class RaisedFlag:
    """A flag that its author did not take back. adjudicated, graded: whether somebody did that to the pair after it.

    sent_back: an adjudicator settled it without a grade; answer: what the adjudicator wrote then, or empty.
    """

    pair_id: int
    query: str
    note: str
    created_at: datetime
    adjudicated: bool
    sent_back: bool
    graded: bool
    answer: str


@dataclass(frozen=True, slots=True)
class FlagCounts:
    """What came of somebody's flags, each counted once: adjudicated since, else sent back, else graded, else open."""

    open: int
    graded: int
    sent_back: int
    adjudicated: int


NO_FLAGS = FlagCounts(0, 0, 0, 0)
NOTHING = Hits(0, 0, 0)


def count_work(
    session: Session,
    *,
    criterion: Criterion,
    today: datetime,
    this_week: datetime,
    pause: float,
    person_id: int | None = None,
) -> dict[int, WorkCounts]:
    """What each person did, or one of them, by id. today, this_week: when these began; pause: seconds."""
    undo, original, taken = aliased(Review), aliased(Review), aliased(Review)
    stands = undo.id.is_(None)
    label = sa.and_(Review.action.in_(GRADING), Review.revises_id.is_(None), stands)
    answer = sa.and_(Review.revises_id.is_not(None), stands)
    count = sa.func.count
    statement = (
        sa.select(
            Review.person_id,
            count().filter(label).label("labels"),
            count().filter(label, Review.created_at >= today).label("today"),
            count().filter(label, Review.created_at >= this_week).label("this_week"),
            count().filter(label, Review.visibility == Visibility.BLIND).label("blind"),
            count().filter(label, Review.action == ReviewAction.ADJUDICATE).label("adjudications"),
            count().filter(label, Review.seconds <= pause).label("n_timed"),
            count().filter(label, Review.seconds > pause).label("n_long"),
            count().filter(label, Review.seconds.is_(None)).label("n_untimed"),
            sa.func.coalesce(sa.func.sum(Review.seconds).filter(Review.seconds <= pause), 0.0).label("seconds"),
            count().filter(answer, Review.grade == original.grade).label("kept"),
            count().filter(answer, Review.grade != original.grade).label("revised"),
            count().filter(taken.person_id == Review.person_id, ~_settles(Review)).label("undos"),
            count().filter(Review.action == ReviewAction.SKIP, stands).label("skips"),
        )
        .outerjoin(undo, undo.undoes_id == Review.id)
        .outerjoin(original, original.id == Review.revises_id)
        .outerjoin(taken, taken.id == Review.undoes_id)
        .where(Review.criterion == criterion, Review.source_id.is_(None))
        .group_by(Review.person_id)
    )
    if person_id is not None:
        statement = statement.where(Review.person_id == person_id)
    return {
        row.person_id: WorkCounts(**{**row._mapping, "seconds": float(row.seconds)})
        for row in session.execute(statement)
    }


def count_against_adjudications(
    session: Session, *, criterion: Criterion, relevant_from: int, person_id: int | None = None
) -> dict[int, Hits]:
    """How often each person's grade was what somebody else then decided on, by id.

    The person's last grade of the pair before it was first adjudicated counts, beside the adjudication that holds now;
    hidden checks do not count.
    """
    decided = _adjudicated(criterion)
    given = _grades(criterion, person_id).where(~Review.hidden_check).subquery()
    last = (
        sa.select(sa.func.max(given.c.id).label("id"))
        .join(decided, decided.c.pair_id == given.c.pair_id)
        .where(given.c.id < decided.c.first_id)
        .group_by(given.c.pair_id, given.c.person_id)
        .subquery()
    )
    rows = session.execute(
        sa.select(Review.person_id, *_hit_counts(decided.c.grade, relevant_from=relevant_from))
        .join(last, last.c.id == Review.id)
        .join(decided, decided.c.pair_id == Review.pair_id)
        .where(decided.c.person_id != Review.person_id)
        .group_by(Review.person_id)
    )
    return {row[0]: Hits(int(row[1]), int(row[2]), int(row[3])) for row in rows}


def count_hidden_checks(
    session: Session, *, criterion: Criterion, relevant_from: int, before: datetime, person_id: int | None = None
) -> dict[int, Hits]:
    """How often each person's answer to a hidden check, given before a moment, was the adjudicated grade, by id."""
    holds, later, undo = aliased(Review), aliased(Review), aliased(Review)
    # Asked for each check by its pair: there are few checks, and a join may read every review for each adjudication.
    newest = (
        sa.select(later.id)
        .where(
            later.pair_id == Review.pair_id,
            later.criterion == Review.criterion,
            later.action == ReviewAction.ADJUDICATE,
            ~sa.exists().where(undo.undoes_id == later.id),
        )
        .order_by(later.id.desc())
        .limit(1)
        .correlate(Review)
        .scalar_subquery()
    )
    statement = (
        sa.select(Review.person_id, *_hit_counts(holds.grade, relevant_from=relevant_from))
        .join(holds, holds.id == newest)
        .where(
            Review.criterion == criterion,
            Review.action == ReviewAction.GRADE,
            Review.hidden_check,
            Review.revises_id.is_(None),
            Review.created_at < before,
            Review.source_id.is_(None),
            _stands(),
            holds.person_id != Review.person_id,
        )
        .group_by(Review.person_id)
    )
    if person_id is not None:
        statement = statement.where(Review.person_id == person_id)
    return {row[0]: Hits(int(row[1]), int(row[2]), int(row[3])) for row in session.execute(statement)}


def list_flags(session: Session, *, criterion: Criterion, person_id: int, newest: int) -> list[RaisedFlag]:
    """The newest flags that one person raised and did not take back, newest first."""
    undo = aliased(Review)
    rows = session.execute(
        _flags(criterion)
        .join(Pair, Pair.id == Review.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .outerjoin(undo, undo.undoes_id == Review.id)
        .where(Review.person_id == person_id)
        .with_only_columns(
            Review.pair_id,
            Query.text.label("query"),
            Review.note,
            Review.created_at,
            _followed(ReviewAction.ADJUDICATE).label("adjudicated"),
            _sent_back().label("sent_back"),
            _followed(ReviewAction.GRADE).label("graded"),
            sa.func.coalesce(undo.note, "").label("answer"),
        )
        .order_by(Review.id.desc())
        .limit(newest)
    )
    return [RaisedFlag(**row._mapping) for row in rows]


def count_flags(session: Session, *, criterion: Criterion, person_id: int | None = None) -> dict[int, FlagCounts]:
    """What came of each person's flags, or of one person's, by id."""
    statement = _flags(criterion).with_only_columns(
        Review.person_id,
        _followed(ReviewAction.ADJUDICATE).label("adjudicated"),
        _sent_back().label("sent_back"),
        _followed(ReviewAction.GRADE).label("graded"),
    )
    if person_id is not None:
        statement = statement.where(Review.person_id == person_id)
    flags = statement.subquery()
    count, came = sa.func.count, flags.c
    rows = session.execute(
        sa.select(
            came.person_id,
            count().filter(~came.adjudicated, ~came.sent_back, ~came.graded).label("open"),
            count().filter(~came.adjudicated, ~came.sent_back, came.graded).label("graded"),
            count().filter(~came.adjudicated, came.sent_back).label("sent_back"),
            count().filter(came.adjudicated).label("adjudicated"),
        ).group_by(came.person_id)
    )
    return {row[0]: FlagCounts(*row[1:]) for row in rows}


def list_workers(session: Session) -> dict[int, Person]:
    """Everybody of the workspace, by id."""
    return {person.id: person for person in session.scalars(sa.select(Person).order_by(Person.name))}


def _stands() -> sa.ColumnElement[bool]:
    undo = aliased(Review)
    return ~sa.exists().where(undo.undoes_id == Review.id)


def _grades(criterion: Criterion, person_id: int | None) -> sa.Select[int, int, int, int | None]:
    """Grades given here that stand, of one person or of all."""
    found = sa.select(Review.id, Review.pair_id, Review.person_id, Review.grade).where(
        Review.criterion == criterion,
        Review.action == ReviewAction.GRADE,
        Review.source_id.is_(None),
        _stands(),
    )
    return found if person_id is None else found.where(Review.person_id == person_id)


def _flags(criterion: Criterion) -> sa.Select[Any]:
    """Flags that stand, and those that an adjudicator settled without a grade."""
    undo = aliased(Review)
    settled = sa.exists().where(undo.undoes_id == Review.id, _settles(undo))
    return sa.select(Review).where(
        Review.criterion == criterion, Review.action == ReviewAction.FLAG, sa.or_(_stands(), settled)
    )


def _settles(undo: Any) -> sa.ColumnElement[bool]:
    """Whether that undo is an adjudicator's who settled flags without a grade.

    One act settles all flags of a pair at the same moment; only its first undo has the card of the case.
    """
    first = aliased(Review)
    return sa.exists().where(
        first.pair_id == undo.pair_id,
        first.criterion == undo.criterion,
        first.person_id == undo.person_id,
        first.created_at == undo.created_at,
        first.action == ReviewAction.UNDO,
        first.card.startswith(CASE, autoescape=True),
    )


def _sent_back() -> sa.ColumnElement[bool]:
    """Whether the flag `Review` was settled without a grade; no more where the adjudicator raised it again."""
    undo, again, settled = aliased(Review), aliased(Review), aliased(Review)
    raised = sa.exists().where(
        undo.undoes_id == Review.id,
        again.pair_id == Review.pair_id,
        again.criterion == Review.criterion,
        again.person_id == undo.person_id,
        again.action == ReviewAction.FLAG,
        again.id > undo.id,
        ~sa.exists().where(settled.undoes_id == again.id),
    )
    return sa.and_(~_stands(), ~raised)


def _followed(action: ReviewAction) -> sa.ColumnElement[bool]:
    """Whether the pair of `Review` got such a review after it, by anybody, that stands."""
    later, undo = aliased(Review), aliased(Review)
    return sa.exists().where(
        later.pair_id == Review.pair_id,
        later.criterion == Review.criterion,
        later.action == action,
        later.id > Review.id,
        ~sa.exists().where(undo.undoes_id == later.id),
    )


def _adjudicated(criterion: Criterion) -> sa.Subquery:
    """Each adjudicated pair with its first adjudication and the grade and author of the one that holds."""
    ids = (
        sa.select(sa.func.min(Review.id).label("first_id"), sa.func.max(Review.id).label("last_id"))
        .where(Review.criterion == criterion, Review.action == ReviewAction.ADJUDICATE, _stands())
        .group_by(Review.pair_id)
        .subquery()
    )
    holds = aliased(Review)
    return (
        sa.select(holds.pair_id, holds.grade, holds.person_id, ids.c.first_id)
        .join(ids, ids.c.last_id == holds.id)
        .subquery()
    )


def _hit_counts(decided: Any, *, relevant_from: int) -> tuple[sa.ColumnElement[int], ...]:
    """How many rows there are, how many have the very grade decided on, and how many its side of the threshold."""
    same_side = (Review.grade >= relevant_from) == (decided >= relevant_from)
    count = sa.func.count
    return count(), count().filter(Review.grade == decided), count().filter(same_side)
