"""The texts of many pairs' passages, for a query that is read on one screen."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from app.bootstrap import Workspace
from db.models import Pair, Passage


def list_texts(workspace: Workspace, *, pair_ids: Collection[int], characters: int) -> Mapping[int, str]:
    """The beginning of each pair's passage, at most that many characters, by pair id."""
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(Pair.id, sa.func.substr(Passage.text, 1, characters))
            .join(Passage, Passage.id == Pair.passage_id)
            .where(Pair.id.in_(pair_ids))
        )
        return {pair_id: text for pair_id, text in rows}
