"""The review desk: one pair served to one person at a time, a grade stored before the next is served.

Every card has an id of its own (`Card.card`). A grade names it, so that a late or repeated key press can only meet the
card it was meant for, or be refused with `Conflict`; it never reaches the next one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid
from app.services.labels import check_grade, concealed, pair_view
from app.services.refusals import refuse_revoked_person
from app.services.spot_checks import watch
from app.services.views import Card, ReviewProgress, ScaleView, UndoneView
from db.enums import ReviewAction, Visibility
from db.models import Lease, Pair, PairState, Passage, Person, Query, QueueEntry, Review
from db.queries import queue
from db.queries.audits import PEOPLE_ONLY, BlindPair, get_blind_pair
from db.queries.draws import hold_draws
from db.queries.judge_first import is_first
from db.queries.pairs import get_record_or_raise, get_split
from db.queries.people import list_reviewers, person_named, take_turn
from db.queries.states import GRADING, refresh_state, standing_reviews

_TRIES = 20


class _Taken(Exception):
    """Another person answered the pair between our look at the queue and our lease."""


def get_scale(workspace: Workspace) -> ScaleView:
    """The workspace's grades and their words."""
    scale = workspace.scale
    return ScaleView(max_grade=scale.max_grade, relevant_from=scale.relevant_from, labels=tuple(scale.labels))


def list_people(workspace: Workspace) -> tuple[str, ...]:
    """The names of those who review here."""
    with workspace.sessions.read() as session:
        return tuple(list_reviewers(session))


def ensure_person(workspace: Workspace, *, name: str) -> str:
    """The name as it is stored, made known to the workspace if new.

    Raises:
        InputInvalid: the name is empty or longer than 200 characters.
    """
    cleaned = " ".join(name.split())
    if not 1 <= len(cleaned) <= 200:
        raise InputInvalid("a name needs 1 to 200 characters")
    with workspace.sessions.begin() as session:
        return person_named(session, cleaned, now=workspace.now()).name


@dataclass(frozen=True, slots=True)
class WaitingPair:
    """A pair in the queue; query and passage by their ids outside the database."""

    pair_id: int
    query_id: str
    passage_id: str


def list_waiting(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> list[WaitingPair]:
    """The audit queue in the order it is served, leased or not."""
    with workspace.sessions.read() as session:
        return [WaitingPair(*row) for row in queue.list_waiting(session, criterion=criterion)]


def claim(
    workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE, pair_id: int | None = None
) -> Card | None:
    """The card this person has open, else the next of the queue (or the pair asked for); None when none is left.

    Serving a card leases its pair to the person; being served the same card again renews the lease.

    Raises:
        Conflict: the pair asked for is open at somebody else's, or is judged blind and this person has seen the
            proposal.
        NotFound: the pair asked for does not exist.
        NotAllowed: this person is revoked.
    """
    for _ in range(_TRIES):
        try:
            with workspace.sessions.begin() as session:
                return _claim(workspace, session, person=person, criterion=criterion, pair_id=pair_id)
        except (IntegrityError, _Taken):
            continue  # another person took the pair between our look and our lease
    raise _busy()


def _busy() -> Conflict:
    return Conflict("many people ask for cards at once", user_message="The queue is busy. Try again in a moment.")


def _claim(
    workspace: Workspace, session: Session, *, person: str, criterion: Criterion, pair_id: int | None
) -> Card | None:
    now = workspace.now()
    hold_draws(session, criterion=criterion, shared=True)
    person_id = person_named(session, person, now=now).id
    take_turn(session, person_id)
    refuse_revoked_person(session, person_id)
    lease = queue.get_open_lease(session, person_id=person_id, criterion=criterion, now=now)
    if lease is not None and _seen(session, lease):
        session.delete(lease)  # drawn for an audit while it was being opened; who saw the proposal is not asked blind
        session.flush()
        lease = None
    if lease is not None and pair_id in (None, lease.pair_id):
        lease.expires_at = now + timedelta(minutes=workspace.settings.review_minutes)
        return _card(session, lease)
    if pair_id is None:
        next_id = queue.next_pair(session, criterion=criterion, person_id=person_id, now=now)
        if next_id is None:
            return None
        lease = _lease(workspace, session, pair_id=next_id, criterion=criterion, person_id=person_id, now=now)
        if not queue.is_waiting(session, criterion=criterion, pair_id=next_id):
            raise _Taken
        return _card(session, lease)
    get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
    if (holder := queue.get_holder(session, pair_id=pair_id, criterion=criterion, now=now)) is not None:
        raise Conflict(
            f"pair {pair_id} is leased to person {holder.person_id} until {holder.expires_at}",
            user_message="Somebody else has this pair open.",
        )
    if _spoilt(session, pair_id=pair_id, criterion=criterion, person_id=person_id):
        raise Conflict(
            f"person {person_id} has seen what was proposed for pair {pair_id}, which is judged blind",
            user_message="You have seen what was proposed for this pair, so somebody else has to judge it blind.",
        )
    lease = _lease(workspace, session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now)
    return _card(session, lease)


def _seen(session: Session, lease: Lease) -> bool:
    """Whether a card shows a suggestion that must not be shown any more."""
    if lease.visibility is Visibility.BLIND:
        return False
    return get_blind_pair(session, pair_id=lease.pair_id, criterion=lease.criterion) is not None


def _spoilt(session: Session, *, pair_id: int, criterion: Criterion, person_id: int) -> bool:
    """Whether the pair is in a sample or a spot check, and this person has seen what was proposed for it."""
    if get_blind_pair(session, pair_id=pair_id, criterion=criterion) is None:
        return False
    return queue.has_seen(session, pair_id=pair_id, criterion=criterion, person_id=person_id)


def _lease(
    workspace: Workspace, session: Session, *, pair_id: int, criterion: Criterion, person_id: int, now: datetime
) -> Lease:
    state = session.get(PairState, (pair_id, criterion))
    audited = get_blind_pair(session, pair_id=pair_id, criterion=criterion)
    blind = audited is not None or get_split(session, pair_id) in PEOPLE_ONLY
    return queue.lease_pair(
        session,
        pair_id=pair_id,
        criterion=criterion,
        person_id=person_id,
        card=secrets.token_urlsafe(18),
        suggestion_id=None if blind or state is None else state.suggestion_id,
        batch_id=None if audited is None else audited.batch_id,
        now=now,
        minutes=workspace.settings.review_minutes,
    )


def _card(session: Session, lease: Lease) -> Card:
    entry = queue.get_entry(session, criterion=lease.criterion, pair_id=lease.pair_id)
    audited = get_blind_pair(session, pair_id=lease.pair_id, criterion=lease.criterion)
    first = is_first(session, pair_id=lease.pair_id, criterion=lease.criterion)
    pair = pair_view(session, pair_id=lease.pair_id, criterion=lease.criterion)
    if lease.visibility is Visibility.BLIND:
        pair = concealed(pair)
    return Card(
        card=lease.card,
        pair=pair,
        queue_reason=_why_here(audited, entry, first=first),
        position=0 if entry is None or audited is not None or first else entry.position,
        waiting=queue.count_waiting(session, criterion=lease.criterion),
        expires_at=lease.expires_at,
    )


def _why_here(audited: BlindPair | None, entry: QueueEntry | None, *, first: bool) -> str:
    if audited is not None and audited.batch_id is not None:
        return f"blind audit: drawn at random from batch {audited.batch_id}"
    if audited is not None:
        return f"blind spot check: drawn at random from what certificate {audited.certificate_id} accepted"
    if first:  # not which model found it: nobody is to judge for or against one
        return "in the top 10 of a model that is compared, judged by nobody"
    return "opened by hand" if entry is None else entry.reason


def grade(
    workspace: Workspace, *, card: str, person: str, grade: int, seconds: float | None = None, note: str = ""
) -> None:
    """Stores this person's grade of the pair on that card; when it returns, the grade is on disk.

    Raises:
        InputInvalid: the grade is not on the scale.
        Conflict: the card was answered before, is another person's, or its lease passed to somebody else.
        NotAllowed: this person is revoked.
    """
    check_grade(workspace, grade)
    _answer(workspace, card=card, person=person, action=ReviewAction.GRADE, grade=grade, seconds=seconds, note=note)


def skip(workspace: Workspace, *, card: str, person: str, seconds: float | None = None) -> None:
    """Puts the pair on that card behind the rest of the queue for this person.

    Raises:
        Conflict: as for `grade`.
    """
    _answer(workspace, card=card, person=person, action=ReviewAction.SKIP, grade=None, seconds=seconds, note="")


def _answer(
    workspace: Workspace,
    *,
    card: str,
    person: str,
    action: ReviewAction,
    grade: int | None,
    seconds: float | None,
    note: str,
) -> None:
    with workspace.sessions.begin() as session:
        now = workspace.now()
        person_id = person_named(session, person, now=now).id
        refuse_revoked_person(session, person_id)
        lease = queue.get_lease(session, card=card)
        if lease is None or lease.person_id != person_id:
            answered = session.scalar(sa.select(Review.id).where(Review.card == card)) is not None
            what = "This card was already graded." if answered else "This card is no longer yours; it was given on."
            raise Conflict(f"card {card} of {person} cannot be answered", user_message=what)
        audited = get_blind_pair(session, pair_id=lease.pair_id, criterion=lease.criterion)
        session.add(
            Review(
                pair_id=lease.pair_id,
                criterion=lease.criterion,
                person_id=person_id,
                action=action,
                grade=grade,
                visibility=lease.visibility,
                suggestion_id=lease.suggestion_id,
                card=card,
                seconds=seconds,
                note=note,
                created_at=now,
            )
        )
        session.flush()
        if action in GRADING:
            refresh_state(session, pair_id=lease.pair_id, criterion=lease.criterion, now=now)
            if audited is not None and audited.certificate_id is not None and lease.visibility is Visibility.BLIND:
                watch(session, certificate_id=audited.certificate_id, now=now)
        session.delete(lease)


def undo(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> UndoneView | None:
    """Takes back this person's last review that stands and serves that pair next; None when there is none.

    The review stays on record with the undo beside it. If somebody else has the pair open now, only the grade is taken
    back.
    """
    for _ in range(_TRIES):
        try:
            with workspace.sessions.begin() as session:
                return _undo(workspace, session, person=person, criterion=criterion)
        except IntegrityError:
            continue  # another person was served the pair while we took the grade back
    raise _busy()


def _undo(workspace: Workspace, session: Session, *, person: str, criterion: Criterion) -> UndoneView | None:
    now = workspace.now()
    hold_draws(session, criterion=criterion, shared=True)
    person_id = person_named(session, person, now=now).id
    take_turn(session, person_id)
    refuse_revoked_person(session, person_id)
    last = session.scalar(
        standing_reviews(criterion).where(Review.person_id == person_id).order_by(Review.id.desc()).limit(1)
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
            created_at=now,
        )
    )
    refresh_state(session, pair_id=last.pair_id, criterion=criterion, now=now)
    queue.put_back(session, pair_id=last.pair_id, criterion=criterion, now=now)
    holder = queue.get_holder(session, pair_id=last.pair_id, criterion=criterion, now=now)
    mine = holder is None or holder.person_id == person_id
    if mine and not _spoilt(session, pair_id=last.pair_id, criterion=criterion, person_id=person_id):
        _lease(workspace, session, pair_id=last.pair_id, criterion=criterion, person_id=person_id, now=now)
    query, title = session.execute(
        sa.select(Query.text, Passage.title)
        .join(Pair, Pair.query_id == Query.id)
        .join(Passage, Passage.id == Pair.passage_id)
        .where(Pair.id == last.pair_id)
    ).one()
    return UndoneView(pair_id=last.pair_id, query=query, passage_title=title, grade=last.grade, action=str(last.action))


def get_progress(workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE) -> ReviewProgress:
    """How much of this person's work stands, how much of it is from today (UTC), and how much waits."""
    with workspace.sessions.read() as session:
        midnight = workspace.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        mine = standing_reviews(criterion).join(Person, Person.id == Review.person_id).where(Person.name == person)
        count = sa.func.count()
        graded = mine.where(Review.action.in_(GRADING))
        return ReviewProgress(
            person=person,
            graded=session.scalar(graded.with_only_columns(count)) or 0,
            skipped=session.scalar(mine.where(Review.action == ReviewAction.SKIP).with_only_columns(count)) or 0,
            graded_today=session.scalar(graded.where(Review.created_at >= midnight).with_only_columns(count)) or 0,
            waiting=queue.count_waiting(session, criterion=criterion),
        )
