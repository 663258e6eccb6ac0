"""What a comparison of two models needs to know of their training, and reading stored evaluations in part."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.errors import NotFound
from db.models import Evaluation, LabelSetItem, Pair, Passage


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
