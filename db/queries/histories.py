"""What happened to pairs, in order: what judges proposed, what was decided, what people did, what models it trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import ConfidenceKind, Criterion, SuggestionStatus
from db.enums import ReviewAction, Split, Visibility
from db.models import (
    Decision,
    JudgeRow,
    LabelSet,
    LabelSetItem,
    ModelVersion,
    Pair,
    Passage,
    Person,
    Policy,
    Query,
    QueryCluster,
    Review,
    Suggestion,
    TrainingRun,
)
from db.queries.audits import PEOPLE_ONLY, locked_pairs
from db.queries.training import made_by_run

Actor = Literal["judge", "policy", "person", "model"]

_PAIRS = 500
_KINDS: tuple[Actor, ...] = ("judge", "policy", "person", "model")
"""Of events at one moment, what comes first: nobody decides before it was proposed."""


@dataclass(frozen=True, slots=True)
class PairEvent:
    """One thing that happened to a pair.

    did: proposed, unreadable, accepted, rejected, graded, kept, revised, skipped, flagged, adjudicated, undone, sent
    back (a flag, by an adjudicator) or trained. grade: proposed or given; of a trained model the target, which may lie
    between grades. confidence: in [0, 1]. seconds: on the card. event_id: of the row in the table of its kind.
    """

    query_id: str
    passage_id: str
    split: Split | None
    at: datetime
    actor: Actor
    who: str
    did: str
    event_id: int
    grade: float | None = None
    confidence: float | None = None
    confidence_kind: ConfidenceKind | None = None
    visibility: Visibility | None = None
    seconds: float | None = None
    hidden_check: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    query_id: str
    passage_id: str
    split: Split | None


def stream_events(session: Session, *, criterion: Criterion) -> Iterator[PairEvent]:
    """Every event of every pair, pair by pair, oldest first; a few hundred pairs are held at a time.

    Left out are the samples of open batches and, of calibrate and held-out questions, what judges proposed: people
    judge those blind, and a file would tell.
    """
    last = 0
    locked = set(session.scalars(locked_pairs(criterion)))
    while True:
        rows = session.execute(
            sa.select(Pair.id, Query.external_id, Passage.external_id, QueryCluster.split)
            .join(Query, Query.id == Pair.query_id)
            .join(Passage, Passage.id == Pair.passage_id)
            .join(QueryCluster, QueryCluster.id == Query.cluster_id)
            .where(Pair.id > last)
            .order_by(Pair.id)
            .limit(_PAIRS)
        ).all()
        if not rows:
            return
        first, last = rows[0][0], rows[-1][0]
        places = {row[0]: _Place(*row[1:]) for row in rows if row[0] not in locked}
        found: dict[int, list[PairEvent]] = defaultdict(list)
        for pair_id, event in _events(session, places, criterion=criterion, first=first, last=last):
            found[pair_id].append(event)
        for pair_id in sorted(found):
            yield from sorted(found[pair_id], key=lambda one: (one.at, _KINDS.index(one.actor), one.event_id))


def _events(
    session: Session, places: dict[int, _Place], *, criterion: Criterion, first: int, last: int
) -> Iterator[tuple[int, PairEvent]]:
    said = (_proposed, _decided, _reviewed, _trained)
    for ask in said:
        for pair_id, about in ask(session, criterion, first, last):
            place = places.get(pair_id)
            if place is None or (place.split in PEOPLE_ONLY and about["actor"] in ("judge", "policy")):
                continue
            yield pair_id, PairEvent(place.query_id, place.passage_id, place.split, **about)  # type: ignore[arg-type]


_About = Iterator[tuple[int, dict[str, object]]]


def _proposed(session: Session, criterion: Criterion, first: int, last: int) -> _About:
    rows = session.execute(
        sa.select(Suggestion, JudgeRow.name)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(Suggestion.pair_id.between(first, last), Suggestion.criterion == criterion)
    )
    for suggestion, judge in rows:
        yield (
            suggestion.pair_id,
            {
                "at": suggestion.created_at,
                "actor": "judge",
                "who": judge,
                "did": "proposed" if suggestion.status is SuggestionStatus.OK else "unreadable",
                "event_id": suggestion.id,
                "grade": suggestion.grade,
                "confidence": suggestion.confidence,
                "confidence_kind": suggestion.confidence_kind,
                "note": suggestion.reason,
            },
        )
        session.expunge(suggestion)


def _decided(session: Session, criterion: Criterion, first: int, last: int) -> _About:
    rows = session.execute(
        sa.select(Decision.pair_id, Decision.id, Decision.created_at, Policy.version, Decision.outcome, Decision.why)
        .join(Policy, Policy.id == Decision.policy_id)
        .where(Decision.pair_id.between(first, last), Decision.criterion == criterion)
    )
    for pair_id, id_, at, version, outcome, why in rows:
        yield (
            pair_id,
            {"at": at, "actor": "policy", "who": version, "did": str(outcome), "event_id": id_, "note": why},
        )


def _reviewed(session: Session, criterion: Criterion, first: int, last: int) -> _About:
    rows = session.execute(
        sa.select(Review, Person.name)
        .join(Person, Person.id == Review.person_id)
        .where(Review.pair_id.between(first, last), Review.criterion == criterion)
        .order_by(Review.id)
    ).all()
    known = {review.id: review for review, _ in rows}
    for review, person in rows:
        yield (
            review.pair_id,
            {
                "at": review.created_at,
                "actor": "person",
                "who": person,
                "did": what_done(review, known.get(review.revises_id or review.undoes_id or 0)),
                "event_id": review.id,
                "grade": review.grade,
                "visibility": review.visibility,
                "seconds": review.seconds,
                "hidden_check": review.hidden_check,
                "note": review.note,
            },
        )
        session.expunge(review)


def what_done(review: Review, about: Review | None) -> str:
    """What a person did, in a word; about: the review that this one revises or takes back, None for any other."""
    if review.revises_id is not None:
        return "kept" if about is not None and about.grade == review.grade else "revised"
    if review.action is ReviewAction.UNDO:
        others = about is not None and about.action is ReviewAction.FLAG and about.person_id != review.person_id
        return "sent back" if others else "undone"
    return {
        ReviewAction.GRADE: "graded",
        ReviewAction.ADJUDICATE: "adjudicated",
        ReviewAction.SKIP: "skipped",
        ReviewAction.FLAG: "flagged",
    }[review.action]


def _trained(session: Session, criterion: Criterion, first: int, last: int) -> _About:
    rows = session.execute(
        sa.select(
            LabelSetItem.pair_id, ModelVersion.id, ModelVersion.created_at, ModelVersion.name, ModelVersion.hash,
            LabelSetItem.grade, LabelSetItem.source,
        )
        .join(LabelSet, LabelSet.id == LabelSetItem.label_set_id)
        .join(TrainingRun, TrainingRun.label_set_id == LabelSet.id)
        .join(ModelVersion, made_by_run())
        .where(LabelSetItem.pair_id.between(first, last), LabelSet.criterion == criterion)
        .distinct()
    )  # fmt: skip
    for pair_id, id_, at, name, hash_, grade, source in rows:
        yield (
            pair_id,
            {
                "at": at,
                "actor": "model",
                "who": f"{name} {hash_[:8]}",
                "did": "trained",
                "event_id": id_,
                "grade": grade,
                "note": f"as {source}",
            },
        )


def list_trained(session: Session, *, pair_id: int, criterion: Criterion) -> list[tuple[datetime, str, float]]:
    """The models that a pair's label trained: when each was made, its name, and the grade it was taught."""
    return [
        (about["at"], str(about["who"]), float(about["grade"]))  # type: ignore[misc, arg-type]
        for _, about in _trained(session, criterion, pair_id, pair_id)
    ]
