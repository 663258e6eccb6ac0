"""The other candidates of a card's question, graded in place or many at once, without taking the open card away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import AppError, Conflict, InputInvalid
from app.services.answering import seconds_of
from app.services.desk_turns import begin_turn, in_turn
from app.services.desk_views import BulkResult, Refused, SidePair, SideState
from app.services.holding import new_card, pair_for
from app.services.labels import check_grade
from app.services.spot_checks import watch
from db.enums import ReviewAction, Visibility
from db.errors import NotFound
from db.models import Lease, Pair, PairState, Review
from db.queries import leases
from db.queries.audits import get_blind_pair
from db.queries.side_pairs import SideRow, list_side_pairs
from db.queries.standing import locked_states
from db.queries.states import refresh_state
from db.queries.turns import Turn, look_at_turn

START = 240
"""Characters of a passage that stand in the list."""
MOST = 500
"""Pairs graded at once in bulk."""


def list_query(
    workspace: Workspace,
    *,
    pair_id: int,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    blind: bool = False,
) -> tuple[SidePair, ...]:
    """The candidates of the pair's question, this pair among them, in the order of the pool.

    What was proposed is shown only where it may be seen, and whoever is shown it is never asked about that pair blind
    again. `blind`: nothing is shown that this person has not seen before. Questions that only people judge come in an
    order that tells nothing, without proposals and without what others said.

    Raises:
        NotFound: there is no such pair.
    """

    with workspace.sessions.read() as session:  # mostly everything was seen before, and nobody has to wait
        turn = look_at_turn(session, person, criterion=criterion)
        if turn is not None and not turn.revoked:
            read = _read(workspace, session, pair_id=pair_id, turn=turn, criterion=criterion, blind=blind)
            if not read.new:
                return read.side

    def listed(session: Session) -> tuple[SidePair, ...]:
        turn = begin_turn(workspace, session, person=person, criterion=criterion)
        read = _read(workspace, session, pair_id=pair_id, turn=turn, criterion=criterion, blind=blind)
        leases.mark_seen(session, pair_ids=read.new, criterion=criterion, person_id=turn.person_id, now=workspace.now())
        return read.side

    return in_turn(workspace, listed)


@dataclass(frozen=True, slots=True)
class _Read:
    """A side list, and the pairs whose proposals it is the first to show to this person."""

    side: tuple[SidePair, ...]
    new: tuple[int, ...]


def _read(
    workspace: Workspace, session: Session, *, pair_id: int, turn: Turn, criterion: Criterion, blind: bool
) -> _Read:
    rows = list_side_pairs(session, pair_id=pair_id, person_id=turn.person_id, criterion=criterion, now=workspace.now())
    if not rows:
        raise NotFound(f"there is no pair {pair_id}", user_message="This pair is not in the workspace any more.")
    shown = {row.pair_id for row in rows if _may_show(row, blind=blind)}
    return _Read(
        side=tuple(_side_pair(row, shows=row.pair_id in shown, current=row.pair_id == pair_id) for row in rows),
        new=tuple(
            row.pair_id for row in rows if row.pair_id in shown and not row.seen and row.proposed_grade is not None
        ),
    )


def _may_show(row: SideRow, *, blind: bool) -> bool:
    if row.people_only:
        return False
    if row.drawn or row.held_blind:
        return row.seen and not row.drawn
    return row.seen or not blind


def _side_pair(row: SideRow, *, shows: bool, current: bool) -> SidePair:
    return SidePair(
        pair_id=row.pair_id,
        passage_id=row.passage_id,
        title=row.title,
        start=row.start[:START],
        own_grade=row.own_grade,
        curated_grade=row.curated_grade if shows and not (row.wanted > 1 and row.own_grade is None) else None,
        proposed_grade=row.proposed_grade if shows else None,
        confidence=row.confidence if shows else None,
        state=_state(row),
        current=current,
    )


def _state(row: SideRow) -> SideState:
    if row.own_grade is not None:
        return "yours"
    if row.flagged or (row.drawn and row.seen):
        return "elsewhere"
    if row.done:
        return "done"
    return "elsewhere" if row.full else "open"


def grade_in_place(
    workspace: Workspace,
    *,
    pair_id: int,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    grade: int,
    seconds: float | None = None,
) -> None:
    """Grades a candidate of the side list; the card this person has open stays theirs.

    A grade of one's own is replaced by the new one; both stay on record. It counts as blind where this person never saw
    what was proposed.

    Raises:
        InputInvalid: the grade is not on the scale.
        Conflict: others have the pair open, it is this person's own open card, it was graded by as many as are wanted,
            it waits for an adjudicator, or it is judged blind and this person has seen the proposal.
        NotFound: there is no such pair.
        NotAllowed: this person is revoked.
    """
    check_grade(workspace, grade)

    def graded(session: Session) -> None:
        person_id = begin_turn(workspace, session, person=person, criterion=criterion).person_id
        _grade(
            workspace,
            session,
            pair_id=pair_id,
            person_id=person_id,
            criterion=criterion,
            grade=grade,
            seconds=seconds,
            many=False,
        )

    in_turn(workspace, graded)


def grade_many(
    workspace: Workspace,
    *,
    pair_ids: Sequence[int],
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    grade: int,
) -> BulkResult:
    """Gives the same grade to many pairs in one transaction; what must not be graded so is left and said.

    Samples and spot checks of certificates are never graded in bulk: each of them stands for many others.

    Raises:
        InputInvalid: the grade is not on the scale, or there are more than `MOST` pairs.
        NotAllowed: this person is revoked.
    """
    check_grade(workspace, grade)
    wanted = sorted(set(pair_ids))
    if len(wanted) > MOST:
        raise InputInvalid(f"{len(wanted)} pairs are more than {MOST} at once")

    def graded(session: Session) -> BulkResult:
        person_id = begin_turn(workspace, session, person=person, criterion=criterion).person_id
        known = set(session.scalars(sa.select(Pair.id).where(Pair.id.in_(wanted))))
        locked_states(session, pair_ids=known, criterion=criterion, now=workspace.now())  # in id order, all at once
        done, refused = [], []
        for pair_id in wanted:
            try:
                _grade(
                    workspace,
                    session,
                    pair_id=pair_id,
                    person_id=person_id,
                    criterion=criterion,
                    grade=grade,
                    seconds=None,
                    many=True,
                )
            except (AppError, NotFound) as exc:
                refused.append(Refused(pair_id, exc.user_message or str(exc)))
            else:
                done.append(pair_id)
        return BulkResult(tuple(done), tuple(refused))

    return in_turn(workspace, graded)


def _grade(
    workspace: Workspace,
    session: Session,
    *,
    pair_id: int,
    person_id: int,
    criterion: Criterion,
    grade: int,
    seconds: float | None,
    many: bool,
) -> None:
    now = workspace.now()
    if session.get(Pair, pair_id) is None:
        raise NotFound(f"there is no pair {pair_id}", user_message="This pair is not in the workspace any more.")
    state = locked_states(session, pair_ids=[pair_id], criterion=criterion, now=now)[pair_id]
    session.flush()
    if many and get_blind_pair(session, pair_id=pair_id, criterion=criterion) is not None:
        raise Conflict(
            f"pair {pair_id} is drawn", user_message="This pair was drawn at random for a check and is judged alone."
        )
    pair = pair_for(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now)
    drawn = pair.drawn
    _refuse_settled(session, state, person_id=person_id, drawn=drawn is not None, now=now)
    blind = pair.people_only or drawn is not None or not pair.seen
    session.add(
        Review(
            pair_id=pair_id,
            criterion=criterion,
            person_id=person_id,
            action=ReviewAction.GRADE,
            grade=grade,
            visibility=Visibility.BLIND if blind else Visibility.SHOWN,
            suggestion_id=None if blind else state.suggestion_id,
            card=new_card(),
            seconds=seconds_of(seconds),
            created_at=now,
        )
    )
    refresh_state(session, pair_id=pair_id, criterion=criterion, now=now, held=state)
    if drawn is not None and drawn.certificate_id is not None:
        watch(session, certificate_id=drawn.certificate_id, now=now)


def _refuse_settled(session: Session, state: PairState, *, person_id: int, drawn: bool, now: object) -> None:
    mine = sa.select(Lease).where(
        Lease.pair_id == state.pair_id,
        Lease.criterion == state.criterion,
        Lease.person_id == person_id,
        Lease.expires_at > now,
    )
    if session.scalar(mine) is not None:
        raise Conflict(f"pair {state.pair_id} is on this person's card", user_message="This is the card you have open.")
    if state.flagged and not drawn:
        raise Conflict(f"pair {state.pair_id} is flagged", user_message="This pair is flagged; an adjudicator decides.")
