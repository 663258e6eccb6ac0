"""The regression set: passages that must stay near the top of a query's results, pinned and retired by people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.models import Passage, Person, Query, RegressionCheck


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """A check with the words behind its ids; `query_key` and `passage_key` are the ids outside the database."""

    id: int
    query_key: str
    query: str
    passage_key: str
    title: str
    deepest_rank: int
    note: str
    person: str
    created_at: datetime
    retired_at: datetime | None


def list_checks(session: Session, *, with_retired: bool = False) -> list[CheckRecord]:
    """The checks that hold, oldest first; with the retired ones on demand."""
    statement = (
        sa.select(
            RegressionCheck.id,
            Query.external_id.label("query_key"),
            Query.text.label("query"),
            Passage.external_id.label("passage_key"),
            Passage.title,
            RegressionCheck.deepest_rank,
            RegressionCheck.note,
            Person.name.label("person"),
            RegressionCheck.created_at,
            RegressionCheck.retired_at,
        )
        .join(Query, Query.id == RegressionCheck.query_id)
        .join(Passage, Passage.id == RegressionCheck.passage_id)
        .join(Person, Person.id == RegressionCheck.person_id)
        .order_by(RegressionCheck.id)
    )
    if not with_retired:
        statement = statement.where(RegressionCheck.retired_at.is_(None))
    return [CheckRecord(**row) for row in session.execute(statement).mappings()]


def get_standing_check(session: Session, *, query_id: int, passage_id: int) -> RegressionCheck | None:
    """The check of this pair that holds."""
    return session.scalar(
        sa.select(RegressionCheck).where(
            RegressionCheck.query_id == query_id,
            RegressionCheck.passage_id == passage_id,
            RegressionCheck.retired_at.is_(None),
        )
    )


def get_check_or_raise(session: Session, check_id: int) -> RegressionCheck:
    """The check of that id, held until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    check = session.get(RegressionCheck, check_id, with_for_update=True)
    if check is None:
        raise NotFound(f"there is no regression check {check_id}")
    return check


def find_query(session: Session, *, named: str) -> Query | None:
    """The query of that id from outside, else the oldest one of exactly these words."""
    found = session.scalar(sa.select(Query).where(Query.external_id == named))
    if found is not None:
        return found
    return session.scalar(sa.select(Query).where(Query.text == named).order_by(Query.id).limit(1))


def find_passage(session: Session, *, named: str) -> Passage | None:
    """The passage of that id from outside."""
    return session.scalar(sa.select(Passage).where(Passage.external_id == named))
