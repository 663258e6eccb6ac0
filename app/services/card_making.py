"""What a card shows to the person who holds its pair, and why the pair is in front of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.services.desk_choice import DEFAULT, DeskChoice
from app.services.desk_progress import count_waiting
from app.services.desk_views import CardReview, ReviewWord
from app.services.labels import concealed, pair_view
from app.services.views import Card, PairView
from db.enums import LabelSource, ReviewAction, Visibility
from db.models import Lease, Review
from db.queries.desk_filters import COLUMNS
from db.queries.desk_pairs import DeskPair
from db.queries.pairs import list_pair_reviews
from db.queries.queue_words import blind_reason


def card_of(
    workspace: Workspace, session: Session, lease: Lease, pair: DeskPair, *, desk: DeskChoice = DEFAULT
) -> Card:
    """What the person who holds the lease is shown; `pair`: as it stood when it was looked at for them."""
    entry, revising = pair.entry, lease.review_id is not None
    own = None if lease.review_id is None else session.get_one(Review, lease.review_id)
    shown = pair_view(session, pair_id=lease.pair_id, criterion=lease.criterion, whole=False)
    alone = entry is None or entry.wanted == 1 or revising
    if lease.visibility is Visibility.BLIND:
        shown = concealed(shown)
    elif revising:
        shown = replace(shown, concealed=False)
    elif not alone:
        shown = _without_people(shown)
    before = lease.hidden_check or pair.drawn is not None or pair.first
    return Card(
        card=lease.card,
        pair=shown,
        queue_reason=_why_here(lease, pair),
        position=0 if entry is None or before else getattr(entry, COLUMNS[desk.order]),
        waiting=count_waiting(workspace, session, criterion=lease.criterion),
        expires_at=lease.expires_at,
        phase="revise" if revising else "grade",
        own_grade=None if own is None else own.grade,
        reveals=lease.reveals,
        reviews=_reviews(session, lease) if alone and lease.visibility is not Visibility.BLIND else (),
        wanted=1 if entry is None or before else entry.wanted,
        open=1 if entry is None or before else entry.open,
    )


def _without_people(pair: PairView) -> PairView:
    """The pair without what people said of it: where several are asked, each is to judge alone."""
    by_people = pair.curated_source in (LabelSource.HUMAN, LabelSource.ADJUDICATED)
    return replace(pair, curated_grade=None, curated_source=None) if by_people else pair


def _reviews(session: Session, lease: Lease) -> tuple[CardReview, ...]:
    rows = list_pair_reviews(session, pair_id=lease.pair_id, criterion=lease.criterion)
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


def _why_here(lease: Lease, pair: DeskPair) -> str:
    """Why the pair is served; a blind card hints neither at what was proposed nor at a hidden check."""
    if pair.drawn is not None and pair.drawn.batch_id is not None:
        return f"blind audit: drawn at random from batch {pair.drawn.batch_id}"
    if pair.drawn is not None or lease.hidden_check:
        return "blind spot check: drawn at random from what was settled before"
    if pair.first:  # not which model found it: nobody is to judge for or against one
        return "in the top 10 of a model that is compared, judged by nobody"
    if pair.entry is None:
        return "opened by hand" if lease.review_id is None else "you graded it blind; now with what was proposed"
    return pair.entry.reason if lease.visibility is Visibility.SHOWN else blind_reason(pair.entry.cause)
