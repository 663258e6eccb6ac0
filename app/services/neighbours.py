"""The passages that stand before and after one in the same document, where something tells of a document."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.services.desk_views import NeighboursView, NeighbourView
from db.errors import NotFound
from db.models import Pair, Passage

_NUMBERED = re.compile(r"(?P<document>.+)(?P<mark>[#:/])(?P<number>\d{1,12})")


def neighbours(workspace: Workspace, *, pair_id: int) -> NeighboursView:
    """The passages before and after the pair's own.

    Two things tell of a document, our choice: an id that ends in a mark (#, : or /) and a number, as in `manual#12`,
    whose neighbours have the numbers beside it; else one title over passages that came one after the other from one
    source.

    Raises:
        NotFound: there is no such pair.
    """
    with workspace.sessions.read() as session:
        passage = session.scalar(sa.select(Passage).join(Pair, Pair.passage_id == Passage.id).where(Pair.id == pair_id))
        if passage is None:
            raise NotFound(f"there is no pair {pair_id}", user_message="This pair is not in the workspace any more.")
        return NeighboursView(before=_beside(session, passage, -1), after=_beside(session, passage, 1))


def _beside(session: Session, passage: Passage, step: int) -> NeighbourView | None:
    numbered = _NUMBERED.fullmatch(passage.external_id)
    if numbered is not None:
        found = _by_number(session, passage, numbered, step)
    elif passage.title:
        found = session.scalar(
            sa.select(Passage).where(
                Passage.id == passage.id + step,
                Passage.source_id == passage.source_id,
                Passage.title == passage.title,
            )
        )
    else:
        found = None
    return None if found is None else NeighbourView(found.external_id, found.title, found.text)


def _by_number(session: Session, passage: Passage, numbered: re.Match[str], step: int) -> Passage | None:
    digits = numbered["number"]
    number = int(digits) + step
    if number < 0:
        return None
    stem = numbered["document"] + numbered["mark"]
    names = {f"{stem}{number}", f"{stem}{number:0{len(digits)}d}"}
    return session.scalar(
        sa.select(Passage)
        .where(Passage.external_id.in_(names), Passage.source_id == passage.source_id)
        .order_by(Passage.id)
        .limit(1)
    )
