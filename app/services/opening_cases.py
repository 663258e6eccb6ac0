"""Serving cases to adjudicators: the next one, or a certain one, held for them while they look.

Nobody else is served a case that somebody has open. How it is answered is in `deciding_cases`.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict
from app.services.adjudication_views import Case
from app.services.case_rules import left_to, others_than, refuse_own, settled_already
from app.services.cases import case_of
from app.services.refusals import refuse_revoked_person, require_adjudicator
from db.models import PairState, Person
from db.queries import case_desk, disputes
from db.queries.pairs import get_record_or_raise
from db.queries.people import person_named


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
        desk = case_desk.lock_desk(session, criterion=criterion, now=now)
        taken = desk.taken(someone.id)
        others = others_than(workspace, session, someone.id)
        chosen = pair_id
        if chosen is not None:
            _refuse_chosen(session, pair_id=chosen, criterion=criterion, someone=someone, taken=taken, others=others)
        elif (mine := desk.held.get(someone.id)) is not None and mine not in {*put_off, *taken}:
            fits = _waits(session, pair_id=mine, criterion=criterion)
            chosen = (
                mine
                if fits and not left_to(session, pair_id=mine, criterion=criterion, person_id=someone.id, others=others)
                else None
            )
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
        case_desk.hold_case(
            session,
            criterion=criterion,
            person_id=someone.id,
            pair_id=chosen,
            now=now,
            minutes=workspace.settings.review_minutes,
        )
        return None if chosen is None else case_of(session, chosen, criterion=criterion, someone=someone, others=others)


def _waits(session: Session, *, pair_id: int, criterion: Criterion) -> bool:
    state = session.get(PairState, (pair_id, criterion))
    return state is not None and (state.disputed or state.flagged)


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
        raise settled_already(pair_id)
    if pair_id in taken:
        raise Conflict(f"pair {pair_id} is open at another adjudicator", user_message="Somebody else has it open.")
    refuse_own(session, pair_id=pair_id, criterion=criterion, someone=someone, others=others)
