"""Which case an adjudicator may decide, and how a case's card is read.

A card names the pair, the newest review of it and the adjudicator. Cases are served in `opening_cases`, answered in
`deciding_cases`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict, NotAllowed
from db.models import Person
from db.queries import disputes
from db.queries.roles import list_adjudicators

CARD = re.compile(rf"{re.escape(disputes.CASE)}(?P<criterion>[a-z]+)\.(?P<pair>\d+)\.(?P<last>\d+)\.(?P<person>\d+)")
"""How the card of a case reads; `last`: the pair's newest review when it was drawn."""


def pair_of(card: str) -> int | None:
    """The pair of the case that a card names, or None if it names none."""
    named = CARD.fullmatch(card)
    return None if named is None else int(named["pair"])


def others_than(workspace: Workspace, session: Session, person_id: int) -> set[int]:
    """Ids of everybody else who may adjudicate."""
    return {one.id for one in list_adjudicators(session, own_person=workspace.settings.person)} - {person_id}


def left_to(session: Session, *, pair_id: int, criterion: Criterion, person_id: int, others: Collection[int]) -> bool:
    """Whether this person graded the pair and somebody else, who did not, could decide it."""
    graders = disputes.list_graders(session, pair_id=pair_id, criterion=criterion)
    return person_id in graders and not set(others) <= graders


def refuse_own(
    session: Session, *, pair_id: int, criterion: Criterion, someone: Person, others: Collection[int]
) -> None:
    """Refuses whoever graded the pair while one of `others`, who did not, could decide it.

    Raises:
        NotAllowed: so it is.
    """
    if left_to(session, pair_id=pair_id, criterion=criterion, person_id=someone.id, others=others):
        raise NotAllowed(
            f"{someone.name!r} graded pair {pair_id} and others could decide it",
            user_message="You graded this pair yourself, so another adjudicator decides it.",
        )


def settled_already(pair_id: int) -> Conflict:
    """The refusal of a pair that waits for nobody."""
    return Conflict(f"pair {pair_id} waits for no adjudicator", user_message="This pair is settled already.")
