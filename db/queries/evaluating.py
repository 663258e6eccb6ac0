"""What a comparison of two models needs to know of their training, and reading stored evaluations in part."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import RevocationAct, Split
from db.errors import NotFound
from db.models import Evaluation, LabelSetItem, Pair, Passage, Person, Query, QueryCluster, Review, Revocation
from db.queries.standing import GRADING


def count_trained_labels(session: Session, *, label_set_ids: Collection[int]) -> dict[str, int]:
    """How many labels of any grade, by passage id from outside; a pair in several of these label sets counts once."""
    rows = session.execute(
        sa.select(Passage.external_id, sa.func.count(sa.distinct(Pair.id)))
        .join(Pair, Pair.passage_id == Passage.id)
        .join(LabelSetItem, LabelSetItem.pair_id == Pair.id)
        .where(LabelSetItem.label_set_id.in_(label_set_ids))
        .group_by(Passage.external_id)
    )
    return {row[0]: row[1] for row in rows}


def get_evaluation_or_raise(session: Session, evaluation_id: int) -> Evaluation:
    """The evaluation of that id.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Evaluation, evaluation_id)
    if row is None:
        raise NotFound(
            f"there is no evaluation {evaluation_id}", user_message="This comparison is not in the workspace any more."
        )
    return row


def get_per_query(session: Session, evaluation_id: int) -> list[Any]:
    """What an evaluation found query by query; it can be a million characters, so it is read only when asked for."""
    return session.scalar(sa.select(Evaluation.per_query).where(Evaluation.id == evaluation_id)) or []


def last_revocation(session: Session, *, until: datetime | None = None) -> int:
    """The newest revocation's id, 0 before the first; with `until`, of those recorded up to then."""
    newest = sa.select(sa.func.max(Revocation.id))
    return session.scalar(newest if until is None else newest.where(Revocation.created_at <= until)) or 0


@dataclass(frozen=True, slots=True)
class ChangedReviewer:
    """A person whose judgements counted once and do not now (`revoked`), or the other way round."""

    name: str
    revoked: bool


def list_changed_reviewers(
    session: Session, *, split: Split, criterion: Criterion, since: int, judged_until: datetime
) -> list[ChangedReviewer]:
    """People revoked or given back by an act of an id above `since`, where the newest act says other than before.

    Only those count who had graded a pair of that split by that criterion until then, by name.
    """
    rows = session.execute(
        sa.select(Revocation.id, Revocation.act, Person.name)
        .join(Person, Person.id == Revocation.reviewer_id)
        .where(
            sa.exists()
            .where(
                Review.person_id == Revocation.reviewer_id,
                Review.criterion == criterion,
                Review.action.in_(GRADING),
                Review.created_at <= judged_until,
                Pair.id == Review.pair_id,
                Query.id == Pair.query_id,
                QueryCluster.id == Query.cluster_id,
                QueryCluster.split == split,
            )
            .correlate(Revocation)
        )
        .order_by(Revocation.id)
    )
    before: dict[str, bool] = {}
    now: dict[str, bool] = {}
    for act_id, act, name in rows:
        now[name] = act is RevocationAct.REVOKE
        if act_id <= since:
            before[name] = now[name]
    return [ChangedReviewer(name, now[name]) for name in sorted(now) if now[name] != before.get(name, False)]
