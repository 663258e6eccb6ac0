"""What waits for an adjudicator: pairs whose graders differ, and pairs somebody flagged.

Which pairs those are is derived in `states`; here is in which order they come and what was said of one. Who looks at
which one now is in `case_desk`. Oldest first, a query's pairs together: the query whose oldest case waited longest
comes first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import ReviewAction
from db.models import Pair, PairState, Passage, Person, Query, Review, SpotCheck
from db.queries.standing import standing_reviews

_RAISED = (ReviewAction.GRADE, ReviewAction.FLAG)
_SAID = (ReviewAction.GRADE, ReviewAction.ADJUDICATE, ReviewAction.FLAG)

CASE = "case."
"""How the cards of cases begin; an undo with such a card settles flags."""


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A pair that waits for an adjudicator. `since`: when the last grade or flag was given.

    `mine`: the one who asks graded it; `held`: another adjudicator has it open.
    """

    pair_id: int
    query: str
    passage_title: str
    disputed: bool
    flagged: bool
    graders: int
    since: datetime
    mine: bool
    held: bool


@dataclass(frozen=True, slots=True)
class CaseCounts:
    """How many pairs wait: disputed, flagged, either, and about how many queries."""

    disputed: int
    flagged: int
    pairs: int
    queries: int


def _waiting(criterion: Criterion) -> sa.Subquery:
    """(pair_id, disputed, flagged, graders) of all that waits; each half goes by its own partial index."""
    columns = (PairState.pair_id, PairState.disputed, PairState.flagged, PairState.graders)
    # The bare column, not `column = 1`: an index with a condition is used only where the same words stand.
    halves = [
        sa.select(*columns).where(PairState.criterion == criterion, sa.text(f"pair_state.{word}"))
        for word in ("disputed", "flagged")
    ]
    return sa.union(*halves).subquery("waiting")


def count_cases(session: Session, *, criterion: Criterion) -> CaseCounts:
    """How much waits for an adjudicator."""
    waiting = _waiting(criterion)
    disputed, flagged, pairs, queries = session.execute(
        sa.select(
            sa.func.coalesce(sa.func.sum(sa.case((waiting.c.disputed, 1), else_=0)), 0),
            sa.func.coalesce(sa.func.sum(sa.case((waiting.c.flagged, 1), else_=0)), 0),
            sa.func.count(),
            sa.func.count(sa.distinct(Pair.query_id)),
        ).join(Pair, Pair.id == waiting.c.pair_id)
    ).one()
    return CaseCounts(int(disputed), int(flagged), pairs, queries)


def _ordered(criterion: Criterion) -> sa.Subquery:
    """All that waits with when it was last graded or flagged, and its query's oldest such moment."""
    waiting = _waiting(criterion)
    since = (
        sa.select(sa.func.max(Review.created_at))
        .where(Review.pair_id == waiting.c.pair_id, Review.criterion == criterion, Review.action.in_(_RAISED))
        .correlate(waiting)
        .scalar_subquery()
    )
    inner = (
        sa.select(waiting, Pair.query_id, Pair.passage_id, since.label("since"))
        .join(Pair, Pair.id == waiting.c.pair_id)
        .subquery("cases")
    )
    first = sa.func.min(inner.c.since).over(partition_by=inner.c.query_id)
    return sa.select(inner, first.label("first")).subquery("ordered")


def _in_order(cases: sa.Subquery) -> tuple[sa.ColumnElement[object], ...]:
    return cases.c.first, cases.c.query_id, cases.c.since, cases.c.pair_id


def list_cases(
    session: Session, *, criterion: Criterion, person_id: int, taken: Collection[int], offset: int, limit: int
) -> list[CaseRow]:
    """A page of what waits, in the order it is served. taken: pairs that others than this person have open."""
    cases = _ordered(criterion)
    rows = session.execute(
        sa.select(
            cases.c.pair_id,
            Query.text,
            Passage.title,
            cases.c.disputed,
            cases.c.flagged,
            cases.c.graders,
            cases.c.since,
        )
        .join(Query, Query.id == cases.c.query_id)
        .join(Passage, Passage.id == cases.c.passage_id)
        .order_by(*_in_order(cases))
        .offset(offset)
        .limit(limit)
    ).all()
    mine = set(
        session.scalars(
            _grades(criterion)
            .where(Review.pair_id.in_([row.pair_id for row in rows]), Review.person_id == person_id)
            .with_only_columns(Review.pair_id)
        )
    )
    return [
        CaseRow(
            pair_id=row.pair_id,
            query=row.text,
            passage_title=row.title,
            disputed=row.disputed,
            flagged=row.flagged,
            graders=row.graders,
            since=row.since,
            mine=row.pair_id in mine,
            held=row.pair_id in taken,
        )
        for row in rows
    ]


def next_case(
    session: Session,
    *,
    criterion: Criterion,
    person_id: int,
    others: Collection[int],
    without: Collection[int],
    after: int | None,
) -> int | None:
    """The pair this person is to decide next: none of `without`, and none they graded that one of `others` could
    decide, who did not. after: the pair decided last; what else waits of its query comes first.
    """
    cases = _ordered(criterion)
    same = sa.select(Pair.query_id).where(Pair.id == after).scalar_subquery()
    in_order = session.scalars(
        sa.select(cases.c.pair_id)
        .where(cases.c.pair_id.not_in(sorted(without)))
        .order_by(sa.case((cases.c.query_id == same, 0), else_=1), *_in_order(cases))
    ).all()
    for pair_id in in_order:
        graders = list_graders(session, pair_id=pair_id, criterion=criterion)
        if person_id not in graders or set(others) <= graders:
            return int(pair_id)
    return None


def _grades(criterion: Criterion) -> sa.Select[Review]:
    """Grades that stand; hidden checks and adjudications are left out."""
    return standing_reviews(criterion).where(Review.action == ReviewAction.GRADE)


def list_graders(session: Session, *, pair_id: int, criterion: Criterion) -> set[int]:
    """Ids of the people whose grade of a pair stands; hidden checks and adjudications are left out."""
    of_pair = _grades(criterion).where(Review.pair_id == pair_id)
    return set(session.scalars(of_pair.with_only_columns(Review.person_id)))


def list_voices(session: Session, *, pair_id: int, criterion: Criterion) -> list[tuple[Review, Person]]:
    """What stands of what people said of a pair, in the order they said it: grades, adjudications, flags."""
    rows = session.execute(
        standing_reviews(criterion)
        .where(Review.pair_id == pair_id, Review.action.in_(_SAID))
        .with_only_columns(Review, Person)
        .join(Person, Person.id == Review.person_id)
        .order_by(Review.id)
    )
    return [(review, person) for review, person in rows]


def last_review_id(session: Session, *, pair_id: int, criterion: Criterion) -> int:
    """The id of the newest review of a pair, of any kind; 0 when there is none. Whatever people do changes it."""
    found = sa.select(sa.func.max(Review.id)).where(Review.pair_id == pair_id, Review.criterion == criterion)
    return session.scalar(found) or 0


def open_flags(session: Session, *, pair_id: int, criterion: Criterion) -> list[Review]:
    """The flags of a pair that nobody took back or settled."""
    return list(
        session.scalars(
            standing_reviews(criterion)
            .where(Review.pair_id == pair_id, Review.action == ReviewAction.FLAG)
            .order_by(Review.id)
        )
    )


def last_act(session: Session, *, person_id: int, criterion: Criterion) -> Review | None:
    """This person's newest decision that stands: an adjudication, or an undo that settled flags.

    Settled flags stand again where the same person raised one on that pair since.
    """
    adjudication = session.scalar(
        standing_reviews(criterion)
        .where(Review.person_id == person_id, Review.action == ReviewAction.ADJUDICATE)
        .order_by(Review.created_at.desc(), Review.id.desc())  # the person's own index
        .limit(1)
    )
    raised = aliased(Review)
    again = sa.exists().where(
        raised.pair_id == Review.pair_id,
        raised.criterion == criterion,
        raised.person_id == person_id,
        raised.action == ReviewAction.FLAG,
        raised.id > Review.id,
    )
    returned = session.scalar(
        sa.select(Review)
        .where(
            Review.criterion == criterion,
            Review.person_id == person_id,
            Review.action == ReviewAction.UNDO,
            Review.card.startswith(CASE, autoescape=True),
            ~again,
        )
        .order_by(Review.created_at.desc(), Review.id.desc())  # the person's own index
        .limit(1)
    )
    return max((one for one in (adjudication, returned) if one is not None), key=lambda one: one.id, default=None)


def list_sent_back(session: Session, act: Review) -> list[tuple[Review, Person]]:
    """The flags that one act of sending back settled, with who raised them; none for a decision."""
    if act.action is not ReviewAction.UNDO:
        return []
    undo = aliased(Review)
    rows = session.execute(
        sa.select(Review, Person)
        .join(undo, undo.undoes_id == Review.id)
        .join(Person, Person.id == Review.person_id)
        .where(
            undo.pair_id == act.pair_id,
            undo.person_id == act.person_id,
            undo.created_at == act.created_at,
            undo.id >= act.id,
            Review.action == ReviewAction.FLAG,
        )
        .order_by(Review.id)
    )
    return [(review, person) for review, person in rows]


def list_checking(session: Session, *, pair_id: int) -> list[int]:
    """Ids of the certificates that drew a pair for a spot check."""
    return list(session.scalars(sa.select(SpotCheck.certificate_id).where(SpotCheck.pair_id == pair_id)))
