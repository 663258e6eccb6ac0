"""Answering cards: a grade, a kept or revised one, a skip, a flag, and taking any of them back; append-only.

Every card has an id of its own, and another one in each phase. An answer names it, so that a late or repeated key press
can only meet the card it was meant for, or be refused with `Conflict`; it never reaches the next one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid
from app.services.card_making import card_of
from app.services.desk_memory import memory_of
from app.services.desk_turns import begin_turn, in_turn
from app.services.desk_views import Revealed
from app.services.holding import hold, new_card
from app.services.labels import check_grade
from app.services.refusals import refuse_revoked_person
from app.services.spot_checks import watch
from app.services.views import UndoneView
from db.enums import ReviewAction, Visibility
from db.models import Lease, Pair, Passage, Query, Review
from db.queries import leases, queue
from db.queries.audits import get_blind_pair
from db.queries.desk_pairs import DeskPair, hold_pair, look_at_pair
from db.queries.people import person_named
from db.queries.row_locks import locks_rows
from db.queries.standing import GRADING, locked_states, standing_answers
from db.queries.states import refresh_state


def grade(
    workspace: Workspace, *, card: str, person: str, grade: int, seconds: float | None = None, note: str = ""
) -> Revealed | None:
    """Stores this person's grade of the pair on that card; when it returns, the grade is on disk.

    None: the card is done. `Revealed`: the grade was blind, and the same pair now shows what was proposed on a card
    with another id; grading that one keeps or revises, and both grades stay on record.

    Raises:
        InputInvalid: the grade is not on the scale.
        Conflict: the card was answered before, is another person's, or its lease passed to somebody else.
        NotAllowed: this person is revoked.
    """
    check_grade(workspace, grade)
    return in_turn(
        workspace,
        lambda session: _answer(workspace, session, card, person, _Said(ReviewAction.GRADE, grade, seconds, note)),
    )


def keep(workspace: Workspace, *, card: str, person: str, seconds: float | None = None) -> None:
    """Keeps the blind grade of a card that shows its proposal by now; stored as a review of its own.

    Raises:
        Conflict: as for `grade`, or nothing was graded blind on that card yet.
        NotAllowed: this person is revoked.
    """
    in_turn(
        workspace,
        lambda session: _answer(workspace, session, card, person, _Said(ReviewAction.GRADE, None, seconds, "")),
    )


def skip(workspace: Workspace, *, card: str, person: str, seconds: float | None = None) -> None:
    """Puts the pair on that card behind the rest of the queue for this person.

    Raises:
        Conflict: as for `grade`, or the pair was graded blind and is to be kept or revised.
        NotAllowed: this person is revoked.
    """
    in_turn(
        workspace,
        lambda session: _answer(workspace, session, card, person, _Said(ReviewAction.SKIP, None, seconds, "")),
    )


def flag(workspace: Workspace, *, card: str, person: str, note: str, seconds: float | None = None) -> None:
    """Takes the pair on that card out of the queue for everybody until an adjudicator settles it.

    A pair of a sample or a spot check stays there for others: nobody's flag changes what a certificate rests on.

    Raises:
        InputInvalid: the note is empty; an adjudicator has to know what is wrong.
        Conflict: as for `grade`.
        NotAllowed: this person is revoked.
    """
    if not note.strip():
        raise InputInvalid("a flag needs a note", user_message="Say in a few words what is wrong with this pair.")
    in_turn(
        workspace,
        lambda session: _answer(
            workspace, session, card, person, _Said(ReviewAction.FLAG, None, seconds, note.strip())
        ),
    )


class _Said:
    """What a person answers; a GRADE without a grade keeps the blind one."""

    def __init__(self, action: ReviewAction, grade: int | None, seconds: float | None, note: str) -> None:
        self.action, self.grade, self.seconds, self.note = action, grade, seconds, note


def _answer(workspace: Workspace, session: Session, card: str, person: str, said: _Said) -> Revealed | None:
    now = workspace.now()
    found = leases.find_lease(session, card=card)
    if found is None:
        refuse_revoked_person(session, person_named(session, person, now=now).id)  # revoking took the card away
        raise _not_open(session, card, person)
    pair_id, criterion = found.pair_id, found.criterion
    person_id = begin_turn(workspace, session, person=person, criterion=criterion).person_id
    state = None
    if said.action is not ReviewAction.SKIP and not found.hidden_check:
        state = locked_states(session, pair_ids=[pair_id], criterion=criterion, now=now)[pair_id]
        session.flush()
    lease: Lease | None = found
    if locks_rows(session):
        leases.lock_entry(session, pair_id=pair_id, criterion=criterion)
        lease = leases.get_lease(session, card=card)
    if lease is None or lease.person_id != person_id:
        raise _not_open(session, card, person)
    revised = None if lease.review_id is None else session.get_one(Review, lease.review_id)
    _check_phase(said, revised, card)
    blind_grade = said.action in GRADING and lease.visibility is Visibility.BLIND
    checks = blind_grade and not lease.hidden_check  # asked before the grade is there: then it is no waiting check
    drawn = get_blind_pair(session, pair_id=pair_id, criterion=criterion) if checks else None
    review = Review(
        pair_id=pair_id,
        criterion=criterion,
        person_id=person_id,
        action=said.action,
        grade=revised.grade if said.grade is None and revised and said.action in GRADING else said.grade,
        visibility=lease.visibility,
        suggestion_id=lease.suggestion_id,
        revises_id=revised.id if revised and said.action in GRADING else None,
        hidden_check=lease.hidden_check,
        card=card,
        seconds=seconds_of(said.seconds),
        note=said.note,
        created_at=now,
    )
    session.add(review)
    session.flush()
    if state is not None:
        refresh_state(session, pair_id=pair_id, criterion=criterion, now=now, held=state)
    if drawn is not None and drawn.certificate_id is not None:
        watch(session, certificate_id=drawn.certificate_id, now=now)
    if blind_grade and lease.reveals:
        return _reveal(workspace, session, lease, review)
    session.delete(lease)
    return None


def seconds_of(seconds: float | None) -> float | None:
    """Seconds on a card as they are stored; a clock set back makes none."""
    return None if seconds is None or not seconds >= 0 else seconds


def _not_open(session: Session, card: str, person: str) -> Conflict:
    answered = session.scalar(sa.select(Review.id).where(Review.card == card)) is not None
    what = "This card was already graded." if answered else "This card is no longer yours; it was given on."
    return Conflict(f"card {card} of {person} cannot be answered", user_message=what)


def _check_phase(said: _Said, revised: Review | None, card: str) -> None:
    if revised is None and said.action is ReviewAction.GRADE and said.grade is None:
        raise Conflict(f"card {card} was not graded yet", user_message="Grade this pair first; then keep or revise it.")
    if revised is not None and said.action is ReviewAction.SKIP:
        raise Conflict(
            f"card {card} was graded blind", user_message="Your grade is stored. Keep it, or give another one."
        )


def _reveal(workspace: Workspace, session: Session, lease: Lease, review: Review) -> Revealed | None:
    """Turns the lease of a pair that was graded blind into one that shows what was proposed for it."""
    now = workspace.now()
    pair = look_at_pair(session, pair_id=lease.pair_id, criterion=lease.criterion, person_id=lease.person_id, now=now)
    if pair is None or pair.people_only or pair.suggestion_id is None:  # changed while the card was open
        session.delete(lease)
        return None
    lease.card = new_card()
    lease.visibility, lease.suggestion_id, lease.review_id = Visibility.SHOWN, pair.suggestion_id, review.id
    lease.opened_at, lease.expires_at = now, now + timedelta(minutes=workspace.settings.review_minutes)
    if not pair.seen:
        leases.mark_seen(
            session, pair_ids=[lease.pair_id], criterion=lease.criterion, person_id=lease.person_id, now=now
        )
    session.flush()
    return Revealed(card_of(workspace, session, lease, pair))


def undo(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> UndoneView | None:
    """Takes back this person's last review that stands and serves that pair next; None when there is none.

    The review stays on record with the undo beside it. If others have the pair open now, or it was skipped and others
    graded it since, only the review is taken back. A blind grade of a sample or a spot check still counts there once
    its proposal was shown; its pair is served to be revised. Adjudications are taken back where they are made.

    Raises:
        NotAllowed: this person is revoked.
    """
    return in_turn(workspace, lambda session: _undo(workspace, session, person=person, criterion=criterion))


def _undo(workspace: Workspace, session: Session, *, person: str, criterion: Criterion) -> UndoneView | None:
    now = workspace.now()
    person_id = begin_turn(workspace, session, person=person, criterion=criterion).person_id
    last = session.scalar(
        standing_answers(criterion)
        .where(Review.person_id == person_id, Review.action != ReviewAction.ADJUDICATE)
        .order_by(Review.created_at.desc(), Review.id.desc())
        .limit(1)
    )
    if last is None:
        return None
    session.add(
        Review(
            pair_id=last.pair_id,
            criterion=criterion,
            person_id=person_id,
            action=ReviewAction.UNDO,
            visibility=last.visibility,
            undoes_id=last.id,
            hidden_check=last.hidden_check,
            created_at=now,
        )
    )
    if not last.hidden_check:
        refresh_state(session, pair_id=last.pair_id, criterion=criterion, now=now)
        queue.put_back(session, pair_id=last.pair_id, criterion=criterion, now=now)
    memory_of(workspace).forget_starts()
    _serve_again(workspace, session, last, now=now)
    query, title = session.execute(
        sa.select(Query.text, Passage.title)
        .join(Pair, Pair.query_id == Query.id)
        .join(Passage, Passage.id == Pair.passage_id)
        .where(Pair.id == last.pair_id)
    ).one()
    return UndoneView(pair_id=last.pair_id, query=query, passage_title=title, grade=last.grade, action=str(last.action))


def _serve_again(workspace: Workspace, session: Session, last: Review, *, now: datetime) -> None:
    pair_id, criterion, person_id = last.pair_id, last.criterion, last.person_id
    pair = hold_pair(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now)
    if pair is None:
        return
    blind_grade = last.id if last.revises_id is None else last.revises_id
    if last.revises_id is not None or (pair.spoilt and last.visibility is Visibility.BLIND and last.action in GRADING):
        lease = Lease(
            pair_id=pair_id,
            criterion=criterion,
            person_id=person_id,
            card=new_card(),
            visibility=Visibility.SHOWN,
            reveals=True,
            review_id=blind_grade,
            hidden_check=last.hidden_check,
            suggestion_id=pair.suggestion_id,
            opened_at=now,
        )
        leases.lease_pair(session, lease, minutes=workspace.settings.review_minutes, seen=pair.seen)
    elif pair.has_room and not pair.spoilt and (last.action in GRADING or _is_wanted(pair)):
        hold(
            workspace,
            session,
            pair,
            criterion=criterion,
            person_id=person_id,
            check=last.hidden_check,
            blind=last.visibility is Visibility.BLIND,
        )


def _is_wanted(pair: DeskPair) -> bool:
    """Whether a pair that was skipped or flagged still waits for somebody, others having gone on meanwhile."""
    if pair.first or pair.drawn is not None:
        return True
    return pair.entry.open > 0 if pair.entry is not None else not pair.graders and not pair.settled
