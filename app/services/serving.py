"""Serving cards: the card a person has open or is given next, and holding it while they look at it.

Which pair is next is in `next_cards`, the lease in `holding`, what the card shows in `card_making`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.card_making import card_of
from app.services.desk_choice import DEFAULT, DeskChoice
from app.services.desk_memory import memory_of
from app.services.desk_turns import begin_turn, in_turn
from app.services.holding import hold, pair_for
from app.services.next_cards import take_next
from app.services.views import Card
from db.enums import QueueCause, Visibility
from db.models import Lease
from db.queries import leases, queue_search
from db.queries.desk_filters import filter_of
from db.queries.desk_pairs import DeskPair, look_at_pair
from db.queries.people import person_named
from db.queries.queue_next import is_within
from db.queries.turns import Turn

RENEWALS = 12
"""A card that lies open untouched is held for at most this many times `review_minutes`; then others get the pair."""


def claim(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    pair_id: int | None = None,
    desk: DeskChoice = DEFAULT,
) -> Card | None:
    """The card this person has open, else the next of the queue (or the pair asked for); None when none is left.

    Serving a card leases its pair to the person; being served the same card again renews the lease. Samples and spot
    checks of certificates and pairs to judge first come before the queue, unless only a part of it is asked for; what
    this person skipped comes last.

    Raises:
        Conflict: the pair asked for is open at somebody else's, or is judged blind and this person has seen the
            proposal.
        NotFound: the pair asked for does not exist.
        NotAllowed: this person is revoked.
    """

    def claimed(session: Session) -> Card | None:
        turn = begin_turn(workspace, session, person=person, criterion=criterion)
        return serve(workspace, session, turn=turn, criterion=criterion, pair_id=pair_id, desk=desk)

    return in_turn(workspace, claimed)


def renew(workspace: Workspace, *, card: str, person: str) -> datetime | None:
    """Holds the pair on that card for this person for longer; returns until when, None when it is lost.

    A card that nobody touches is not held for ever: after `RENEWALS` times the minutes of a lease it is let go.
    """
    return in_turn(workspace, lambda session: _renew(workspace, session, card=card, person=person))


def _renew(workspace: Workspace, session: Session, *, card: str, person: str) -> datetime | None:
    now, minutes = workspace.now(), timedelta(minutes=workspace.settings.review_minutes)
    lease = leases.get_lease(session, card=card)
    if lease is None or lease.person_id != person_named(session, person, now=now).id:
        return None
    until = min(now + minutes, lease.opened_at + RENEWALS * minutes)
    lease.expires_at = max(lease.expires_at, until)
    return lease.expires_at if lease.expires_at > now else None


def serve(
    workspace: Workspace, session: Session, *, turn: Turn, criterion: Criterion, pair_id: int | None, desk: DeskChoice
) -> Card | None:
    """The same as `claim`, within a turn that was begun."""
    now = workspace.now()
    lease = leases.get_open_lease(session, person_id=turn.person_id, criterion=criterion, now=now)
    held = None if lease is None else _still_held(workspace, session, lease, pair_id=pair_id, desk=desk)
    if lease is not None and held is not None:
        lease.expires_at = now + timedelta(minutes=workspace.settings.review_minutes)
        return card_of(workspace, session, lease, held, desk=desk)
    if lease is not None:
        session.delete(lease)
        session.flush()
    if pair_id is None:
        taken = take_next(workspace, session, turn=turn, criterion=criterion, desk=desk)
    else:
        pair = pair_for(session, pair_id=pair_id, criterion=criterion, person_id=turn.person_id, now=now)
        taken = hold(workspace, session, pair, criterion=criterion, person_id=turn.person_id, desk=desk), pair
    if taken is None:
        return None
    memory_of(workspace).remember_served(taken[0].card, desk)
    return card_of(workspace, session, *taken, desk=desk)


def _still_held(
    workspace: Workspace, session: Session, lease: Lease, *, pair_id: int | None, desk: DeskChoice
) -> DeskPair | None:
    """The pair of the card a person has open, if it is shown again: not when another pair or another part is asked for,
    nor when it shows a proposal that must not be seen any more, because its pair was drawn while it was being opened.
    """
    if pair_id not in (None, lease.pair_id):
        return None
    pair = look_at_pair(
        session,
        pair_id=lease.pair_id,
        criterion=lease.criterion,
        person_id=lease.person_id,
        now=workspace.now(),
    )
    if pair is None:
        return None
    revising, drawn = lease.review_id is not None, pair.drawn is not None
    if lease.visibility is Visibility.SHOWN and not revising and not lease.hidden_check and drawn:
        return None
    if pair_id is not None or revising or not desk.narrowed:
        return pair
    if desk.cause is QueueCause.DRAWN and drawn:
        return pair
    return pair if _fits(workspace, session, lease, desk=desk) else None


def _fits(workspace: Workspace, session: Session, lease: Lease, *, desk: DeskChoice) -> bool:
    """Whether the pair stands in the part of the queue that was chosen; its words are not looked for again where this
    very card was found by them.
    """
    chosen = filter_of(desk, criterion=lease.criterion)
    if not is_within(session, criterion=lease.criterion, pair_id=lease.pair_id, chosen=chosen):
        return False
    if not chosen.words or memory_of(workspace).was_served(lease.card, desk):
        return True
    return queue_search.holds_words(session, chosen, pair_id=lease.pair_id, criterion=lease.criterion)
