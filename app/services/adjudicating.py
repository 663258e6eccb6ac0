"""Settling what reviewers differ about, and what they flagged: one case at a time, by an adjudicator or an owner.

Until a case is decided nobody is named and no proposal is shown; what was said is in an order drawn anew for each case.
A decision is an `adjudicate` review, which stands above every grade. A flag is settled by a decision, or sent back: an
`undo` that names the flag, by the adjudicator, with the adjudicator's note. Nothing is changed or deleted.

A case's card names the pair, the newest review of it and the adjudicator. Whatever anybody does with the pair makes
another card of it, so that a decision meets what was on screen or is refused with `Conflict`; a second press finds the
card used. While somebody has a case open, nobody else is served it.

Whoever graded a pair does not decide it as long as somebody else could.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict, NotAllowed
from app.services.adjudication_views import Case, CasePage, CaseRow, Settled
from app.services.cases import case_of, settled_by
from app.services.labels import check_grade
from app.services.refusals import is_adjudicator, refuse_revoked_person, require_adjudicator
from app.services.spot_checks import watch
from app.services.views import UndoneView
from db.enums import ReviewAction, Visibility
from db.models import PairState, Person, Review
from db.queries import disputes
from db.queries.draws import hold_draws
from db.queries.leases import has_seen, mark_seen
from db.queries.pairs import get_record_or_raise
from db.queries.people import person_named, take_turn
from db.queries.queue_building import put_back
from db.queries.roles import list_adjudicators
from db.queries.states import locked_states, refresh_state

_CARD = re.compile(rf"{re.escape(disputes.CASE)}(?P<criterion>[a-z]+)\.(?P<pair>\d+)\.(?P<last>\d+)\.(?P<person>\d+)")


def may_adjudicate(workspace: Workspace, *, person: str) -> bool:
    """Whether this person is an adjudicator or an owner."""
    with workspace.sessions.read() as session:
        return is_adjudicator(workspace, session, person)


def pair_of(card: str) -> int | None:
    """The pair of the case that a card names, or None if it names none."""
    named = _CARD.fullmatch(card)
    return None if named is None else int(named["pair"])


def list_adjudicator_names(workspace: Workspace) -> tuple[str, ...]:
    """Those who may settle cases, by name."""
    with workspace.sessions.read() as session:
        return tuple(one.name for one in list_adjudicators(session, own_person=workspace.settings.person))


def list_cases(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    offset: int = 0,
    limit: int = 50,
) -> CasePage:
    """A page of what waits, a query's pairs together, the query that waited longest first."""
    with workspace.sessions.read() as session:
        counts = disputes.count_cases(session, criterion=criterion)
        person_id = session.scalar(sa.select(Person.id).where(Person.name == person)) or 0
        taken = disputes.read_desk(session, criterion=criterion, now=workspace.now()).taken(person_id)
        rows = disputes.list_cases(session, criterion=criterion, person_id=person_id, offset=offset, limit=limit)
        return CasePage(
            rows=tuple(
                CaseRow(
                    pair_id=one.pair_id,
                    query=one.query,
                    passage_title=one.passage_title,
                    disputed=one.disputed,
                    flagged=one.flagged,
                    graders=one.graders,
                    since=one.since,
                    mine=one.mine,
                    held=one.pair_id in taken,
                )
                for one in rows
            ),
            offset=offset,
            total=counts.pairs,
            disputed=counts.disputed,
            flagged=counts.flagged,
            queries=counts.queries,
        )


def open_case(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    pair_id: int | None = None,
    put_off: Collection[int] = (),
) -> Case | None:
    """The case this person is to decide, held for them while they look; None when there is none for them.

    The one they have open stays until it is decided or put off. pair_id: a certain one of the list. put_off: pairs to
    be left for later; they come again when nothing else is left.

    Raises:
        NotAllowed: this person may not adjudicate, is revoked, or graded that pair and somebody else could decide it.
        Conflict: that pair waits no more, or another adjudicator has it open.
    """
    with workspace.sessions.begin() as session:
        now = workspace.now()
        someone = person_named(session, person, now=now)
        refuse_revoked_person(session, someone.id)
        require_adjudicator(workspace, session, person)
        desk = disputes.lock_desk(session, criterion=criterion, now=now)
        taken = desk.taken(someone.id)
        others = _others(workspace, session, someone.id)
        chosen = pair_id
        if chosen is not None:
            _refuse_chosen(session, pair_id=chosen, criterion=criterion, someone=someone, taken=taken, others=others)
        elif (mine := desk.held.get(someone.id)) is not None and mine not in {*put_off, *taken}:
            fits = _waits(session, pair_id=mine, criterion=criterion)
            chosen = mine if fits and not _left_to(session, mine, criterion, someone.id, others) else None
        if chosen is None:
            last = disputes.last_act(session, person_id=someone.id, criterion=criterion)
            after = None if last is None else last.pair_id
            for without in ({*put_off, *taken}, taken):
                chosen = disputes.next_case(
                    session,
                    criterion=criterion,
                    person_id=someone.id,
                    others=others,
                    without=without,
                    after=after,
                )
                if chosen is not None:
                    break
        disputes.hold_case(
            session,
            criterion=criterion,
            person_id=someone.id,
            pair_id=chosen,
            now=now,
            minutes=workspace.settings.review_minutes,
        )
        return None if chosen is None else case_of(session, chosen, criterion=criterion, someone=someone, others=others)


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
        desk = disputes.lock_desk(session, criterion=criterion, now=now)
        last = disputes.last_act(session, person_id=someone.id, criterion=criterion)
        if last is None:
            return None
        pair_id = last.pair_id
        locked_states(session, pair_ids=[pair_id], criterion=criterion, now=now)
        session.add(_taking_back(session, last, now=now))
        session.flush()
        _wait_again(session, pair_id=pair_id, criterion=criterion, now=now)
        if pair_id not in desk.taken(someone.id):
            disputes.hold_case(
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


def get_last_settled(
    workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE
) -> Settled | None:
    """What this person decided last and did not take back, with the names; None when there is nothing."""
    with workspace.sessions.read() as session:
        person_id = session.scalar(sa.select(Person.id).where(Person.name == person))
        last = None if person_id is None else disputes.last_act(session, person_id=person_id, criterion=criterion)
        return None if last is None else settled_by(session, last)


def _others(workspace: Workspace, session: Session, person_id: int) -> set[int]:
    return {one.id for one in list_adjudicators(session, own_person=workspace.settings.person)} - {person_id}


def _waits(session: Session, *, pair_id: int, criterion: Criterion) -> bool:
    state = session.get(PairState, (pair_id, criterion))
    return state is not None and (state.disputed or state.flagged)


def _left_to(session: Session, pair_id: int, criterion: Criterion, person_id: int, others: Collection[int]) -> bool:
    """Whether this person graded the pair and somebody else, who did not, could decide it."""
    graders = disputes.list_graders(session, pair_id=pair_id, criterion=criterion)
    return person_id in graders and not set(others) <= graders


def _refuse_chosen(
    session: Session,
    *,
    pair_id: int,
    criterion: Criterion,
    someone: Person,
    taken: Collection[int],
    others: Collection[int],
) -> None:
    get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
    if not _waits(session, pair_id=pair_id, criterion=criterion):
        raise _settled_already(pair_id)
    if pair_id in taken:
        raise Conflict(f"pair {pair_id} is open at another adjudicator", user_message="Somebody else has it open.")
    _refuse_own(session, pair_id=pair_id, criterion=criterion, someone=someone, others=others)


def _refuse_own(
    session: Session, *, pair_id: int, criterion: Criterion, someone: Person, others: Collection[int]
) -> None:
    if _left_to(session, pair_id, criterion, someone.id, others):
        raise NotAllowed(
            f"{someone.name!r} graded pair {pair_id} and others could decide it",
            user_message="You graded this pair yourself, so another adjudicator decides it.",
        )


def _settled_already(pair_id: int) -> Conflict:
    return Conflict(f"pair {pair_id} waits for no adjudicator", user_message="This pair is settled already.")


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
    named = _CARD.fullmatch(card)
    if named is None or named["criterion"] not in tuple(Criterion):
        raise Conflict(f"{card!r} is no card of a case", user_message="This card is no longer open.")
    criterion, pair_id = Criterion(named["criterion"]), int(named["pair"])
    hold_draws(session, criterion=criterion, shared=True)
    someone = person_named(session, person, now=now)
    take_turn(session, someone.id)
    refuse_revoked_person(session, someone.id)
    require_adjudicator(workspace, session, person)
    disputes.lock_desk(
        session, criterion=criterion, now=now
    )  # before the pair, as everywhere: nobody waits in a circle
    get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
    state = locked_states(session, pair_ids=[pair_id], criterion=criterion, now=now)[pair_id]
    if session.scalar(sa.select(Review.id).where(Review.card == card)) is not None:
        raise Conflict(f"card {card} was answered", user_message="You decided this one already.")
    if someone.id != int(named["person"]):
        raise Conflict(f"card {card} is not {person}'s", user_message="This card is somebody else's.")
    if not (state.disputed or state.flagged):
        raise _settled_already(pair_id)
    last = disputes.last_review_id(session, pair_id=pair_id, criterion=criterion)
    if last != int(named["last"]):
        raise Conflict(
            f"pair {pair_id} has review {last} since card {card} was drawn",
            user_message="Somebody judged this pair meanwhile. Look again: it is shown with what was said since.",
        )
    others = _others(workspace, session, someone.id)
    _refuse_own(session, pair_id=pair_id, criterion=criterion, someone=someone, others=others)
    said = disputes.list_voices(session, pair_id=pair_id, criterion=criterion)
    seen = has_seen(session, pair_id=pair_id, criterion=criterion, person_id=someone.id)
    shown = seen or any(review.visibility is Visibility.SHOWN for review, _ in said)
    disputes.hold_case(session, criterion=criterion, person_id=someone.id, pair_id=None, now=now, minutes=0)
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
