"""What a judge has said that still holds, for an ensemble that it is a member of."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import JudgeIdentity
from db.models import Pair, Suggestion
from db.queries.definitions import still_holds
from db.queries.labelling import find_judge


def list_holding_suggestions(session: Session, identity: JudgeIdentity, pair_ids: Sequence[int]) -> list[Suggestion]:
    """The judge's latest suggestion for each of these pairs, where it was made under the definition that holds now."""
    judge = find_judge(session, identity)
    if judge is None:
        return []
    latest: dict[int, Suggestion] = {}
    wanted = sorted(set(pair_ids))
    for start in range(0, len(wanted), 500):
        found = session.scalars(
            sa.select(Suggestion)
            .join(Pair, Pair.id == Suggestion.pair_id)
            .where(
                Suggestion.judge_id == judge.id,
                Suggestion.criterion == identity.criterion,
                Suggestion.pair_id.in_(wanted[start : start + 500]),
                still_holds(judge.id),
            )
            .order_by(Suggestion.id)
        )
        latest.update((suggestion.pair_id, suggestion) for suggestion in found)
    return list(latest.values())
