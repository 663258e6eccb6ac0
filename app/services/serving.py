"""Serving cards: which pair a person is given next, the lease that holds it for them, and what the card shows."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from app.bootstrap import Workspace
from app.errors import Conflict
from app.services.desk_choice import DEFAULT, DeskChoice
from app.services.desk_memory import memory_of
from app.services.desk_progress import count_waiting
from app.services.desk_turns import Taken, in_turn
from app.services.desk_views import CardReview, ReviewWord
from app.services.labels import concealed, pair_view
from app.services.refusals import refuse_revoked_person
from app.services.views import Card, PairView
from db.enums import LabelSource, QueueCause, ReviewAction, Visibility
from db.models import Lease, PairState, Person, QueueEntry, Review, Suggestion
from db.queries import leases, queue
from db.queries.audits import PEOPLE_ONLY, BlindPair, get_blind_pair
from db.queries.desk_filters import COLUMNS, filter_of
from db.queries.draws import hold_draws
from db.queries.hidden_checks import is_check_turn, next_check
from db.queries.judge_first import is_first
from db.queries.pairs import get_record_or_raise, get_split, list_pair_reviews
from db.queries.people import person_named, take_turn
from db.queries.queue_words import blind_reason

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
    return in_turn(
        workspace,
        lambda session: _claim(workspace, session, person=person, criterion=criterion, pair_id=pair_id, desk=desk),
    )


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


def _claim(
    workspace: Workspace,
    session: Session,
    *,
    person: str,
    criterion: Criterion,
    pair_id: int | None,
    desk: DeskChoice,
) -> Card | None:
    now = workspace.now()
    person_id = begin_turn(workspace, session, person=person, criterion=criterion)
    lease = leases.get_open_lease(session, person_id=person_id, criterion=criterion, now=now)
    if lease is not None and not _stays(session, lease, pair_id=pair_id, desk=desk):
        session.delete(lease)
        session.flush()
        lease = None
    if lease is None:
        lease = (
            _next(workspace, session, person_id=person_id, criterion=criterion, desk=desk)
            if pair_id is None
            else _by_hand(workspace, session, pair_id=pair_id, person_id=person_id, criterion=criterion, desk=desk)
        )
    if lease is None:
        return None
    lease.expires_at = now + timedelta(minutes=workspace.settings.review_minutes)
    return card_of(workspace, session, lease, desk=desk)


def begin_turn(workspace: Workspace, session: Session, *, person: str, criterion: Criterion) -> int:
    """The id of the person whose turn it is, once no sample is being drawn and none of their other tabs is at work.

    Raises:
        NotAllowed: this person is revoked.
    """
    hold_draws(session, criterion=criterion, shared=True)
    person_id = person_named(session, person, now=workspace.now()).id
    take_turn(session, person_id)
    refuse_revoked_person(session, person_id)
    queue.hold_version(session, criterion=criterion)
    return person_id


def _stays(session: Session, lease: Lease, *, pair_id: int | None, desk: DeskChoice) -> bool:
    """Whether the card a person has open is shown again: not when another pair or another part is asked for, nor when
    it shows a proposal that must not be seen any more, because its pair was drawn while it was being opened.
    """
    revising = lease.review_id is not None
    if pair_id not in (None, lease.pair_id):
        return False
    drawn = get_blind_pair(session, pair_id=lease.pair_id, criterion=lease.criterion)
    if lease.visibility is Visibility.SHOWN and not revising and not lease.hidden_check and drawn is not None:
        return False
    if pair_id is not None or revising or not desk.narrowed:
        return True
    if desk.cause is QueueCause.DRAWN and drawn is not None:
        return True
    chosen = filter_of(session, desk, criterion=lease.criterion)
    return queue.is_within(session, criterion=lease.criterion, pair_id=lease.pair_id, chosen=chosen)


def _next(
    workspace: Workspace, session: Session, *, person_id: int, criterion: Criterion, desk: DeskChoice
) -> Lease | None:
    now = workspace.now()
    if not desk.narrowed and is_check_turn(
        session, person_id=person_id, criterion=criterion, share=workspace.settings.check_share
    ):
        check = next_check(session, person_id=person_id, criterion=criterion, now=now)
        if check is not None:
            return hold(
                workspace, session, pair_id=check, criterion=criterion, person_id=person_id, desk=desk, check=True
            )
    found = _next_pair(workspace, session, person_id=person_id, criterion=criterion, desk=desk)
    if found is None:
        return None
    # Looked at again now that its place is locked: what was found is as old as the beginning of the search.
    if not has_room(session, pair_id=found, criterion=criterion, person_id=person_id, now=now):
        raise Taken
    lease = hold(workspace, session, pair_id=found, criterion=criterion, person_id=person_id, desk=desk)
    if not queue.still_waits(session, criterion=criterion, pair_id=found):
        raise Taken
    return lease


def _next_pair(
    workspace: Workspace, session: Session, *, person_id: int, criterion: Criterion, desk: DeskChoice
) -> int | None:
    now, chosen = workspace.now(), filter_of(session, desk, criterion=criterion)
    drawn_only = desk.cause is QueueCause.DRAWN
    drawn_too = drawn_only or not desk.narrowed
    found = None
    if drawn_too:
        found = queue.next_drawn(session, criterion=criterion, person_id=person_id, now=now, samples_only=drawn_only)
    if found is None:
        found = _next_queued(workspace, session, person_id=person_id, criterion=criterion, desk=desk, chosen=chosen)
    if found is None:
        found = queue.next_skipped(
            session, criterion=criterion, person_id=person_id, now=now, chosen=chosen, drawn=drawn_too
        )
    return found


def _next_queued(
    workspace: Workspace,
    session: Session,
    *,
    person_id: int,
    criterion: Criterion,
    desk: DeskChoice,
    chosen: queue.QueueFilter,
) -> int | None:
    """The next of the queue. Where many people are wanted for a pair, what one did alone stays there for the others:
    how far that reaches from the first row on is remembered, and only looked through again when nothing else is left.
    """
    memory = memory_of(workspace)
    key = (person_id, criterion, queue.active_version(session, criterion), desk)
    for start in sorted({memory.starts.get(key, 0), 0}, reverse=True):
        start, found = queue.next_queued(
            session, criterion=criterion, person_id=person_id, now=workspace.now(), chosen=chosen, start=start
        )
        memory.remember_start(key, start)
        if found is not None:
            return found
    return None


def _by_hand(
    workspace: Workspace, session: Session, *, pair_id: int, person_id: int, criterion: Criterion, desk: DeskChoice
) -> Lease:
    get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
    refuse_pair(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=workspace.now())
    return hold(workspace, session, pair_id=pair_id, criterion=criterion, person_id=person_id, desk=desk)


def refuse_pair(session: Session, *, pair_id: int, criterion: Criterion, person_id: int, now: datetime) -> None:
    """Lets a person have a pair that they ask for, and holds its place in the queue.

    Raises:
        Conflict: as many others as are wanted have it open, or it is judged blind and this person has seen what was
            proposed for it.
    """
    if not has_room(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now):
        raise Conflict(
            f"pair {pair_id} is leased to others than person {person_id}",
            user_message="Somebody else has this pair open.",
        )
    if is_spoilt(session, pair_id=pair_id, criterion=criterion, person_id=person_id):
        raise Conflict(
            f"person {person_id} has seen what was proposed for pair {pair_id}, which is judged blind",
            user_message="You have seen what was proposed for this pair, so somebody else has to judge it blind.",
        )


def has_room(session: Session, *, pair_id: int, criterion: Criterion, person_id: int, now: datetime) -> bool:
    """Whether fewer others hold the pair than people are wanted for it, one where the queue wants none or is not
    asked; its place in the queue is held, so that it stays so until the transaction ends.
    """
    entry = leases.lock_entry(session, pair_id=pair_id, criterion=criterion)
    drawn = get_blind_pair(session, pair_id=pair_id, criterion=criterion) is not None
    room = 1 if entry is None or drawn else max(1, entry.open)
    others = leases.list_holders(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now)
    return len(others) < room


def is_spoilt(session: Session, *, pair_id: int, criterion: Criterion, person_id: int) -> bool:
    """Whether the pair is in a sample or a spot check, and this person has seen what was proposed for it."""
    if get_blind_pair(session, pair_id=pair_id, criterion=criterion) is None:
        return False
    return leases.has_seen(session, pair_id=pair_id, criterion=criterion, person_id=person_id)


def hold(
    workspace: Workspace,
    session: Session,
    *,
    pair_id: int,
    criterion: Criterion,
    person_id: int,
    desk: DeskChoice = DEFAULT,
    check: bool = False,
    blind: bool = False,
) -> Lease:
    """A new lease of the pair, in place of what the person held; blind where the pair, the choice or `blind` says so.

    What is judged blind shows the proposal afterwards, except on questions that only people judge.
    """
    state = session.get(PairState, (pair_id, criterion))
    suggestion_id = None if state is None else state.suggestion_id
    drawn = get_blind_pair(session, pair_id=pair_id, criterion=criterion)
    people_only = get_split(session, pair_id) in PEOPLE_ONLY
    seen = leases.has_seen(session, pair_id=pair_id, criterion=criterion, person_id=person_id)
    chosen = (desk.blind or blind or check) and not seen
    blind = drawn is not None or people_only or chosen
    return leases.lease_pair(
        session,
        Lease(
            pair_id=pair_id,
            criterion=criterion,
            person_id=person_id,
            card=new_card(),
            visibility=Visibility.BLIND if blind or suggestion_id is None else Visibility.SHOWN,
            reveals=blind and not people_only and _is_readable(session, suggestion_id),
            hidden_check=check,
            suggestion_id=None if blind else suggestion_id,
            batch_id=None if drawn is None else drawn.batch_id,
            opened_at=workspace.now(),
        ),
        minutes=workspace.settings.review_minutes,
    )


def new_card() -> str:
    """An id that names one card in one phase, and that nobody guesses."""
    return secrets.token_urlsafe(18)


def _is_readable(session: Session, suggestion_id: int | None) -> bool:
    suggestion = None if suggestion_id is None else session.get(Suggestion, suggestion_id)
    return suggestion is not None and suggestion.status is SuggestionStatus.OK


def card_of(workspace: Workspace, session: Session, lease: Lease, *, desk: DeskChoice = DEFAULT) -> Card:
    """What the person who holds the lease is shown."""
    entry = queue.get_entry(session, criterion=lease.criterion, pair_id=lease.pair_id)
    drawn = get_blind_pair(session, pair_id=lease.pair_id, criterion=lease.criterion)
    first = is_first(session, pair_id=lease.pair_id, criterion=lease.criterion)
    revising = lease.review_id is not None
    own = None if lease.review_id is None else session.get_one(Review, lease.review_id)
    pair = pair_view(session, pair_id=lease.pair_id, criterion=lease.criterion)
    alone = entry is None or entry.wanted == 1 or revising
    reviews = _reviews(session, lease) if alone else ()
    if lease.visibility is Visibility.BLIND:
        pair, reviews = concealed(pair), ()
    elif revising:
        pair = replace(pair, concealed=False)
    elif not alone:
        pair = _without_people(pair, {person.name for _, person in _said_of(session, lease)})
    before = lease.hidden_check or drawn is not None or first
    return Card(
        card=lease.card,
        pair=pair,
        queue_reason=_why_here(lease, drawn, entry, first=first),
        position=0 if entry is None or before else getattr(entry, COLUMNS[desk.order]),
        waiting=count_waiting(workspace, session, criterion=lease.criterion),
        expires_at=lease.expires_at,
        phase="revise" if revising else "grade",
        own_grade=None if own is None else own.grade,
        reveals=lease.reveals,
        reviews=reviews,
        wanted=1 if entry is None or before else entry.wanted,
        open=1 if entry is None or before else entry.open,
    )


def _without_people(pair: PairView, names: set[str]) -> PairView:
    """The pair without what people said of it: where several are asked, each is to judge alone."""
    by_people = pair.curated_source in (LabelSource.HUMAN, LabelSource.ADJUDICATED)
    return replace(
        pair,
        history=tuple(entry for entry in pair.history if entry.who not in names),
        curated_grade=None if by_people else pair.curated_grade,
        curated_source=None if by_people else pair.curated_source,
    )


def _said_of(session: Session, lease: Lease) -> list[tuple[Review, Person]]:
    return list_pair_reviews(session, pair_id=lease.pair_id, criterion=lease.criterion)


def _reviews(session: Session, lease: Lease) -> tuple[CardReview, ...]:
    rows = _said_of(session, lease)
    undone = {review.undoes_id for review, _ in rows}
    shown = [
        (review, person)
        for review, person in rows
        if review.action is not ReviewAction.UNDO and review.id not in undone and not review.hidden_check
    ]
    grades = {review.id: review.grade for review, _ in shown}
    return tuple(
        CardReview(
            person=person.name,
            grade=review.grade,
            what=_what(review, grades),
            blind=review.visibility is Visibility.BLIND,
            note=review.note,
            at=review.created_at,
        )
        for review, person in shown
    )


_DONE: Mapping[ReviewAction, ReviewWord] = {
    ReviewAction.GRADE: "graded",
    ReviewAction.ADJUDICATE: "adjudicated",
    ReviewAction.SKIP: "skipped",
    ReviewAction.FLAG: "flagged",
}


def _what(review: Review, grades: dict[int, int | None]) -> ReviewWord:
    if review.revises_id is not None:
        return "kept" if grades.get(review.revises_id) == review.grade else "revised"
    return _DONE[review.action]


def _why_here(lease: Lease, drawn: BlindPair | None, entry: QueueEntry | None, *, first: bool) -> str:
    """Why the pair is served; a blind card hints neither at what was proposed nor at a hidden check."""
    if drawn is not None and drawn.batch_id is not None:
        return f"blind audit: drawn at random from batch {drawn.batch_id}"
    if drawn is not None or lease.hidden_check:
        return "blind spot check: drawn at random from what was settled before"
    if first:  # not which model found it: nobody is to judge for or against one
        return "in the top 10 of a model that is compared, judged by nobody"
    if entry is None:
        return "opened by hand" if lease.review_id is None else "you graded it blind; now with what was proposed"
    return entry.reason if lease.visibility is Visibility.SHOWN else blind_reason(entry.cause)
