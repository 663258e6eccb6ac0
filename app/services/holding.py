"""Holding a pair for a person: whether they may have it, and the lease that gives it to them."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict
from app.services.desk_choice import DEFAULT, DeskChoice
from app.services.desk_turns import Taken
from db.enums import Visibility
from db.errors import NotFound
from db.models import Lease
from db.queries import leases
from db.queries.desk_pairs import DeskPair, hold_pair


def pair_for(session: Session, *, pair_id: int, criterion: Criterion, person_id: int, now: datetime) -> DeskPair:
    """A pair that a person asks for and may have, its place in the queue held.

    Raises:
        Conflict: as many others as are wanted have it open, or it is judged blind and this person has seen what was
            proposed for it.
        NotFound: there is no such pair.
    """
    pair = hold_pair(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now)
    if pair is None:
        raise NotFound(f"there is no pair {pair_id}", user_message="This pair is not in the workspace any more.")
    if not pair.has_room:
        raise Conflict(
            f"pair {pair_id} is leased to others than person {person_id}",
            user_message="Somebody else has this pair open.",
        )
    if pair.spoilt:
        raise Conflict(
            f"person {person_id} has seen what was proposed for pair {pair_id}, which is judged blind",
            user_message="You have seen what was proposed for this pair, so somebody else has to judge it blind.",
        )
    return pair


def hold(
    workspace: Workspace,
    session: Session,
    pair: DeskPair,
    *,
    criterion: Criterion,
    person_id: int,
    desk: DeskChoice = DEFAULT,
    check: bool = False,
    blind: bool = False,
) -> Lease:
    """A new lease of the pair, in place of what the person held; blind where the pair, the choice or `blind` says so.

    What is judged blind shows the proposal afterwards, except on questions that only people judge.

    Raises:
        Taken: somebody renewed their lease of the pair since it was looked at; to be tried again from the start.
    """
    chosen = (desk.blind or blind or check) and not pair.seen
    blind = pair.drawn is not None or pair.people_only or chosen
    lease = Lease(
        pair_id=pair.pair_id,
        criterion=criterion,
        person_id=person_id,
        card=new_card(),
        visibility=Visibility.BLIND if blind or pair.suggestion_id is None else Visibility.SHOWN,
        reveals=blind and not pair.people_only and pair.readable,
        hidden_check=check,
        suggestion_id=None if blind else pair.suggestion_id,
        batch_id=None if pair.drawn is None else pair.drawn.batch_id,
        opened_at=workspace.now(),
    )
    others = leases.lease_pair(session, lease, minutes=workspace.settings.review_minutes, seen=pair.seen)
    if others > pair.others:
        raise Taken
    return lease


def new_card() -> str:
    """An id that names one card in one phase, and that nobody guesses."""
    return secrets.token_urlsafe(18)
