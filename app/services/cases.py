"""A case as it is read: before the decision without names and proposals, after it with both.

Which case is whose and what a decision does is in `adjudicating.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.services.adjudication_views import Act, Case, Settled, Voice
from app.services.labels import concealed, pair_view
from app.services.views import PairView
from db.enums import ReviewAction, Visibility
from db.models import PairState, Person, Review
from db.queries import disputes

_ACTS: dict[ReviewAction, Act] = {
    ReviewAction.GRADE: "graded",
    ReviewAction.FLAG: "flagged",
    ReviewAction.ADJUDICATE: "adjudicated",
}


def case_of(session: Session, pair_id: int, *, criterion: Criterion, someone: Person, others: Collection[int]) -> Case:
    """The case of a pair for this adjudicator. others: ids of everybody else who may adjudicate."""
    state = session.get_one(PairState, (pair_id, criterion))
    last = disputes.last_review_id(session, pair_id=pair_id, criterion=criterion)
    card = f"{disputes.CASE}{criterion}.{pair_id}.{last}.{someone.id}"
    own = ""
    if someone.id in disputes.list_graders(session, pair_id=pair_id, criterion=criterion):
        who = "nobody else here is an adjudicator" if not others else "every other adjudicator graded it too"
        own = f"One of these grades is yours; you may decide because {who}."
    return Case(
        card=card,
        pair=concealed(pair_view(session, pair_id=pair_id, criterion=criterion)),
        voices=_hidden(disputes.list_voices(session, pair_id=pair_id, criterion=criterion), card=card),
        disputed=state.disputed,
        flagged=state.flagged,
        own=own,
    )


def _hidden(said: Sequence[tuple[Review, Person]], *, card: str) -> tuple[Voice, ...]:
    """What was said under letters: each person's last grade, in an order that neither time nor name decides."""

    def drawn(person_id: int) -> str:
        return hashlib.sha256(f"{card} {person_id}".encode()).hexdigest()

    people = sorted({person.id for _, person in said}, key=drawn)
    letters = {person_id: f"Reviewer {_letters(number)}" for number, person_id in enumerate(people)}
    voices: dict[tuple[int, Act, int], Voice] = {}
    for review, person in said:
        act = _ACTS[review.action]
        each = review.id if act == "flagged" else 0
        voices[person.id, act, each] = Voice(letters[person.id], act, review.grade, review.note)
    return tuple(sorted(voices.values(), key=lambda one: (len(one.who), one.who, one.act != "graded")))


def _letters(number: int) -> str:
    """A, B … Z, AA, AB …"""
    higher, letter = divmod(number, 26)
    return (_letters(higher - 1) if higher else "") + chr(ord("A") + letter)


def settled_by(session: Session, review: Review) -> Settled:
    """What was hidden before that decision: an adjudication, or the undo that sent flags back."""
    session.flush()
    pair = _may_be_read(pair_view(session, pair_id=review.pair_id, criterion=review.criterion))
    if review.grade is None:  # people may be asked for it again, so nothing is told of what was proposed
        pair = concealed(pair)
    said = disputes.list_voices(session, pair_id=review.pair_id, criterion=review.criterion)
    said += disputes.list_sent_back(session, review)
    voices = tuple(
        Voice(person.name, _ACTS[one.action], one.grade, one.note, _how(one))
        for one, person in said
        if one is not review
    )
    return Settled(pair=pair, grade=review.grade, note=review.note, at=review.created_at, voices=voices)


def _may_be_read(pair: PairView) -> PairView:
    """The pair without its history, and without what was proposed where people judge it blind."""
    return concealed(pair) if pair.concealed else replace(pair, history=())


def _how(review: Review) -> str:
    if review.revises_id is not None:
        return "after seeing the proposal, having graded blind before"
    return "blind" if review.visibility is Visibility.BLIND else "saw the proposal"
