"""Rounds of retraining, and the counts that a round is told by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion
from db.enums import ReviewAction, RoundStatus, Split
from db.errors import NotFound
from db.models import Candidate, Pair, Query, QueryCluster, Review, Suggestion, TrainingRound

OPEN = (RoundStatus.RUNNING, RoundStatus.WAITING, RoundStatus.FAILED)
"""A round that failed is not over: it goes on from the part that failed."""
GRADED = (ReviewAction.GRADE, ReviewAction.ADJUDICATE)


def get_open_round(session: Session, *, criterion: Criterion, hold: bool = False) -> TrainingRound | None:
    """The round of that criterion that is not over, one at most; `hold` keeps it until the transaction ends."""
    statement = (
        sa.select(TrainingRound)
        .where(TrainingRound.criterion == criterion, TrainingRound.status.in_(OPEN))
        .order_by(TrainingRound.number.desc())
        .limit(1)
    )
    return session.scalar(statement.with_for_update() if hold else statement)


def get_round_or_raise(session: Session, round_id: int, *, hold: bool = False) -> TrainingRound:
    """The round of that id.

    Raises:
        NotFound: there is none.
    """
    found = session.get(TrainingRound, round_id, with_for_update=hold)
    if found is None:
        raise NotFound(f"there is no round {round_id}")
    return found


def list_rounds(session: Session, *, criterion: Criterion, limit: int) -> list[TrainingRound]:
    """Rounds of one criterion, newest first."""
    return list(
        session.scalars(
            sa.select(TrainingRound)
            .where(TrainingRound.criterion == criterion)
            .order_by(TrainingRound.number.desc())
            .limit(limit)
        )
    )


def list_running(session: Session) -> list[TrainingRound]:
    """Rounds of any criterion that something is to be done for without waiting for people."""
    return list(session.scalars(sa.select(TrainingRound).where(TrainingRound.status == RoundStatus.RUNNING)))


def last_done(session: Session, *, criterion: Criterion, before: int) -> TrainingRound | None:
    """The newest finished round of a number below `before`."""
    return session.scalar(
        sa.select(TrainingRound)
        .where(
            TrainingRound.criterion == criterion,
            TrainingRound.status == RoundStatus.DONE,
            TrainingRound.number < before,
        )
        .order_by(TrainingRound.number.desc())
        .limit(1)
    )


def next_number(session: Session, *, criterion: Criterion) -> int:
    """The number of the next round; those cancelled count."""
    most = sa.select(sa.func.max(TrainingRound.number)).where(TrainingRound.criterion == criterion)
    return (session.scalar(most) or 0) + 1


def count_candidates(session: Session) -> int:
    """How many pairs were ever put up for judging."""
    return session.scalar(sa.select(sa.func.count()).select_from(Candidate)) or 0


def last_suggestion(session: Session) -> int:
    """The newest suggestion's id, 0 before the first."""
    return session.scalar(sa.select(sa.func.max(Suggestion.id))) or 0


def last_review(session: Session, *, until: datetime | None = None) -> int:
    """The newest review's id, 0 before the first; with `until`, of those made up to then."""
    statement = sa.select(sa.func.max(Review.id))
    return session.scalar(statement if until is None else statement.where(Review.created_at <= until)) or 0


@dataclass(frozen=True, slots=True)
class Bought:
    """What judges gave since some moment: suggestions, their tokens, and dollars, None where a price is unknown."""

    suggestions: int
    tokens: int
    cost_usd: float | None


def count_bought(session: Session, *, job_ids: Collection[int], after: int) -> Bought:
    """The suggestions of these label jobs with an id above `after`."""
    row = session.execute(
        sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(Suggestion.prompt_tokens + Suggestion.completion_tokens), 0),
            sa.func.coalesce(sa.func.sum(Suggestion.cost_usd), 0.0),
            sa.func.count(Suggestion.cost_usd),
        ).where(Suggestion.job_id.in_(list(job_ids)), Suggestion.id > after)
    ).one()
    return Bought(int(row[0]), int(row[1]), float(row[2] or 0.0) if row[0] == row[3] else None)


def count_audits(session: Session, *, criterion: Criterion, after: int, until: int) -> int:
    """Pairs of the train split that people graded by reviews of an id above `after` and not above `until`.

    A grade that was taken back does not count, nor does a second one of the same pair, nor one that came in a file:
    nobody was asked for it because of a round.
    """
    undo = aliased(Review)
    return (
        session.scalar(
            sa.select(sa.func.count(sa.distinct(Review.pair_id)))
            .join(Pair, Pair.id == Review.pair_id)
            .join(Query, Query.id == Pair.query_id)
            .join(QueryCluster, QueryCluster.id == Query.cluster_id)
            .where(
                Review.criterion == criterion,
                Review.action.in_(GRADED),
                Review.source_id.is_(None),
                Review.id > after,
                Review.id <= until,
                QueryCluster.split == Split.TRAIN,
                ~sa.exists().where(undo.undoes_id == Review.id),
            )
        )
        or 0
    )
