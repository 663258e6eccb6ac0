"""The other candidates of a card's question, graded in place or many at once, without taking the open card away."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import AppError, Conflict, InputInvalid
from app.services import serving
from app.services.answering import seconds_of
from app.services.desk_turns import in_turn
from app.services.desk_views import BulkResult, Refused, SidePair, SideState
from app.services.labels import check_grade
from app.services.spot_checks import watch
from db.enums import ReviewAction, Visibility
from db.errors import NotFound
from db.models import Lease, Pair, PairState, Review
from db.queries import leases
from db.queries.audits import PEOPLE_ONLY, get_blind_pair
from db.queries.pairs import get_split
from db.queries.side_pairs import SideRow, list_side_pairs
from db.queries.standing import locked_states
from db.queries.states import refresh_state

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

    def listed(session: Session) -> tuple[SidePair, ...]:
        person_id = serving.begin_turn(workspace, session, person=person, criterion=criterion)
        rows = list_side_pairs(session, pair_id=pair_id, person_id=person_id, criterion=criterion, now=workspace.now())
        if not rows:
            raise NotFound(f"there is no pair {pair_id}", user_message="This pair is not in the workspace any more.")
        shown = [row for row in rows if _may_show(row, blind=blind)]
        leases.mark_seen(
            session,
            pair_ids=[row.pair_id for row in shown if not row.seen and row.proposed_grade is not None],
            criterion=criterion,
            person_id=person_id,
            now=workspace.now(),
        )
        open_ids = {row.pair_id for row in shown}
        return tuple(_side_pair(row, shows=row.pair_id in open_ids, current=row.pair_id == pair_id) for row in rows)

    return in_turn(workspace, listed)


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
        person_id = serving.begin_turn(workspace, session, person=person, criterion=criterion)
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
        person_id = serving.begin_turn(workspace, session, person=person, criterion=criterion)
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
    drawn = get_blind_pair(session, pair_id=pair_id, criterion=criterion)
    if many and drawn is not None:
        raise Conflict(
            f"pair {pair_id} is drawn", user_message="This pair was drawn at random for a check and is judged alone."
        )
    serving.refuse_pair(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now)
    _refuse_settled(session, state, person_id=person_id, drawn=drawn is not None, now=now)
    seen = leases.has_seen(session, pair_id=pair_id, criterion=criterion, person_id=person_id)
    people_only = get_split(session, pair_id) in PEOPLE_ONLY
    blind = people_only or drawn is not None or not seen
    session.add(
        Review(
            pair_id=pair_id,
            criterion=criterion,
            person_id=person_id,
            action=ReviewAction.GRADE,
            grade=grade,
            visibility=Visibility.BLIND if blind else Visibility.SHOWN,
            suggestion_id=None if blind else state.suggestion_id,
            card=serving.new_card(),
            seconds=seconds_of(seconds),
            created_at=now,
        )
    )
    refresh_state(session, pair_id=pair_id, criterion=criterion, now=now)
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
