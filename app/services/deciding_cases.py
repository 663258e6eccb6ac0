"""Answering cases: a decision, a flag sent back without a grade, and taking either back.

Whatever anybody does with a pair makes another card of it, so that an answer meets what was on screen or is refused
with `Conflict`; a second press finds the card used. How cases are served is in `opening_cases`.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict
from app.services.adjudication_views import Settled
from app.services.case_rules import CARD, others_than, refuse_own, settled_already
from app.services.cases import settled_by
from app.services.labels import check_grade
from app.services.refusals import refuse_revoked_person, require_adjudicator
from app.services.spot_checks import watch
from app.services.views import UndoneView
from db.enums import ReviewAction, Visibility
from db.models import Person, Review
from db.queries import case_desk, disputes
from db.queries.draws import hold_draws
from db.queries.leases import has_seen, mark_seen
from db.queries.pairs import get_record_or_raise
from db.queries.people import person_named, take_turn
from db.queries.queue_building import put_back
from db.queries.states import locked_states, refresh_state


def decide(
    workspace: Workspace, *, card: str, person: str, grade: int, note: str = "", seconds: float | None = None
) -> Settled:
    """Stores this person's decision of the case on that card; what was hidden is shown now.

    The decision counts as blind if every grade on the card was, and the person never saw the proposal; else as shown.

    Raises:
        InputInvalid: the grade is not on the scale.
        NotAllowed: as for `open_case`.
        Conflict: the card was answered, or what it shows is no longer all that was said of the pair.
    """
    check_grade(workspace, grade)
    with workspace.sessions.begin() as session:
        now = workspace.now()
        criterion, pair_id, someone, review = _answer(
            workspace, session, card=card, person=person, note=note, seconds=seconds, now=now
        )
        review.action, review.grade = ReviewAction.ADJUDICATE, grade
        session.add(review)
        refresh_state(session, pair_id=pair_id, criterion=criterion, now=now)
        if review.visibility is Visibility.BLIND:
            for certificate_id in disputes.list_checking(session, pair_id=pair_id):
                watch(session, certificate_id=certificate_id, now=now)
        settled = settled_by(session, review)
        if not settled.pair.concealed and settled.pair.judge is not None:
            mark_seen(session, pair_ids=[pair_id], criterion=criterion, person_id=someone.id, now=now)
        return settled


def send_back(workspace: Workspace, *, card: str, person: str, note: str = "", seconds: float | None = None) -> Settled:
    """Settles the flags of the case on that card without a grade: the pair waits for reviewers again if it did before.

    A pair whose graders differ stays a case.

    Raises:
        NotAllowed: as for `open_case`.
        Conflict: as for `decide`, or nobody flagged the pair.
    """
    with workspace.sessions.begin() as session:
        now = workspace.now()
        criterion, pair_id, someone, review = _answer(
            workspace, session, card=card, person=person, note=note, seconds=seconds, now=now
        )
        flags = disputes.open_flags(session, pair_id=pair_id, criterion=criterion)
        if not flags:
            raise Conflict(f"pair {pair_id} has no flag", user_message="Nobody flagged this pair, so grade it.")
        review.action, review.undoes_id = ReviewAction.UNDO, flags[0].id
        session.add(review)
        for flag in flags[1:]:
            session.add(
                Review(
                    pair_id=pair_id,
                    criterion=criterion,
                    person_id=someone.id,
                    action=ReviewAction.UNDO,
                    visibility=review.visibility,
                    undoes_id=flag.id,
                    note=note,
                    created_at=now,
                )
            )
        _wait_again(session, pair_id=pair_id, criterion=criterion, now=now)
        return settled_by(session, review)


def undo(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> UndoneView | None:
    """Takes back this person's last decision that stands, any number of times; None when there is none.

    A decision is undone by a review beside it. Flags that were sent back are raised again under this person's name,
    with what they said. The case comes next.

    Raises:
        NotAllowed: this person may not adjudicate, or is revoked.
    """
    with workspace.sessions.begin() as session:
        now = workspace.now()
        someone = person_named(session, person, now=now)
        take_turn(session, someone.id)
        refuse_revoked_person(session, someone.id)
        require_adjudicator(workspace, session, person)
        desk = case_desk.lock_desk(session, criterion=criterion, now=now)
        last = disputes.last_act(session, person_id=someone.id, criterion=criterion)
        if last is None:
            return None
        pair_id = last.pair_id
        locked_states(session, pair_ids=[pair_id], criterion=criterion, now=now)
        session.add(_taking_back(session, last, now=now))
        session.flush()
        _wait_again(session, pair_id=pair_id, criterion=criterion, now=now)
        if pair_id not in desk.taken(someone.id):
            case_desk.hold_case(
                session,
                criterion=criterion,
                person_id=someone.id,
                pair_id=pair_id,
                now=now,
                minutes=workspace.settings.review_minutes,
            )
        record = get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
        return UndoneView(
            pair_id=pair_id,
            query=record.query.text,
            passage_title=record.passage.title,
            grade=last.grade,
            action="sent back" if last.grade is None else "decision",
        )


def _answer(
    workspace: Workspace,
    session: Session,
    *,
    card: str,
    person: str,
    note: str,
    seconds: float | None,
    now: datetime,
) -> tuple[Criterion, int, Person, Review]:
    """The case that a card names, held until the transaction ends, and the review that answers it, not stored yet."""
    named = CARD.fullmatch(card)
    if named is None or named["criterion"] not in tuple(Criterion):
        raise Conflict(f"{card!r} is no card of a case", user_message="This card is no longer open.")
    criterion, pair_id = Criterion(named["criterion"]), int(named["pair"])
    hold_draws(session, criterion=criterion, shared=True)
    someone = person_named(session, person, now=now)
    take_turn(session, someone.id)
    refuse_revoked_person(session, someone.id)
    require_adjudicator(workspace, session, person)
    case_desk.lock_desk(session, criterion=criterion, now=now)  # before the pair: nobody waits in a circle
    get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
    state = locked_states(session, pair_ids=[pair_id], criterion=criterion, now=now)[pair_id]
    if session.scalar(sa.select(Review.id).where(Review.card == card)) is not None:
        raise Conflict(f"card {card} was answered", user_message="You decided this one already.")
    if someone.id != int(named["person"]):
        raise Conflict(f"card {card} is not {person}'s", user_message="This card is somebody else's.")
    if not (state.disputed or state.flagged):
        raise settled_already(pair_id)
    last = disputes.last_review_id(session, pair_id=pair_id, criterion=criterion)
    if last != int(named["last"]):
        raise Conflict(
            f"pair {pair_id} has review {last} since card {card} was drawn",
            user_message="Somebody judged this pair meanwhile. Look again: it is shown with what was said since.",
        )
    others = others_than(workspace, session, someone.id)
    refuse_own(session, pair_id=pair_id, criterion=criterion, someone=someone, others=others)
    said = disputes.list_voices(session, pair_id=pair_id, criterion=criterion)
    seen = has_seen(session, pair_id=pair_id, criterion=criterion, person_id=someone.id)
    shown = seen or any(review.visibility is Visibility.SHOWN for review, _ in said)
    case_desk.hold_case(session, criterion=criterion, person_id=someone.id, pair_id=None, now=now, minutes=0)
    answer = Review(
        pair_id=pair_id,
        criterion=criterion,
        person_id=someone.id,
        visibility=Visibility.SHOWN if shown else Visibility.BLIND,
        card=card,
        seconds=seconds,
        note=note,
        created_at=now,
    )
    return criterion, pair_id, someone, answer


def _taking_back(session: Session, last: Review, *, now: datetime) -> Review:
    base = Review(
        pair_id=last.pair_id,
        criterion=last.criterion,
        person_id=last.person_id,
        visibility=last.visibility,
        created_at=now,
    )
    if last.action is ReviewAction.ADJUDICATE:
        base.action, base.undoes_id = ReviewAction.UNDO, last.id
    else:
        flags = disputes.list_sent_back(session, last)
        base.action, base.note = ReviewAction.FLAG, "; ".join(dict.fromkeys(flag.note for flag, _ in flags))
    return base


def _wait_again(session: Session, *, pair_id: int, criterion: Criterion, now: datetime) -> None:
    """Brings the pair up to date, and puts it back into the queue if that was computed while it was settled."""
    state = refresh_state(session, pair_id=pair_id, criterion=criterion, now=now)
    if not state.flagged:
        put_back(session, pair_id=pair_id, criterion=criterion, now=now)
