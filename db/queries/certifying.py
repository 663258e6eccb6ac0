"""Batches, their audits and certificates. What is locked or must be judged blind is in `audits.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import ConfidenceKind, Criterion, SuggestionStatus
from db.enums import CertificateState, Outcome, Split
from db.errors import NotFound
from db.models import (
    Batch,
    BatchPair,
    Calibrator,
    Candidate,
    Certificate,
    CertificateEvent,
    Decision,
    Definition,
    JudgeRow,
    Lease,
    Pair,
    PairState,
    Query,
    QueryCluster,
    Review,
    SeenPair,
    SpotCheck,
    Suggestion,
)
from db.queries.audits import audit_answers, is_open, open_batch_pairs, spot_answers, waiting_samples
from db.queries.calibrating import JUDGED_COLUMNS, JudgedRow, judged_row
from db.queries.definitions import is_stale
from db.queries.draws import hold_draws
from db.queries.standing import revoked_people
from db.queries.workspace_values import lock_value

REVIEWED = "a person has judged or skipped them already"
UNREADABLE = "the reply could not be read"
OTHER_KIND = "no confidence of the calibrated kind"
STALE = "the definition of the query has changed since"
OPEN_CARD = "somebody has them open, or has seen the proposal"
CERTIFIED = "accepted under a certificate already"


@dataclass(frozen=True, slots=True)
class Batchable:
    """The current suggestions of a judge that a batch can freeze, in pair order, and why the others are left out."""

    rows: tuple[JudgedRow, ...]
    excluded: dict[str, int]


def list_batchable(session: Session, *, judge_id: int, kind: ConfidenceKind, criterion: Criterion) -> Batchable:
    """What a batch of this judge would hold now: its readable current suggestions on untouched train pairs.

    Whoever saw a suggestion cannot judge the pair blind any more, so anything a person did with a pair leaves it out.
    """
    rows = session.execute(
        sa.select(
            *JUDGED_COLUMNS,
            Suggestion.status,
            sa.exists().where(Review.pair_id == Pair.id, Review.criterion == criterion).label("reviewed"),
            sa.or_(
                sa.exists().where(Lease.pair_id == Pair.id, Lease.criterion == criterion),
                sa.exists().where(SeenPair.pair_id == Pair.id, SeenPair.criterion == criterion),
            ).label("leased"),
            sa.and_(Decision.certificate_id.is_not(None), PairState.outcome == Outcome.ACCEPTED).label("certified"),
            is_stale().label("stale"),
        )
        .select_from(PairState)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Candidate, Candidate.pair_id == Pair.id)
        .outerjoin(Decision, Decision.id == PairState.decision_id)
        .where(
            PairState.criterion == criterion,
            Suggestion.judge_id == judge_id,
            QueryCluster.split == Split.TRAIN,
        )
        .order_by(Pair.id)
    )
    kept: list[JudgedRow] = []
    excluded: dict[str, int] = {}
    for row in rows:
        reasons = (
            (row.reviewed, REVIEWED),
            (row.status is SuggestionStatus.UNREADABLE, UNREADABLE),
            (row.confidence_kind is not kind, OTHER_KIND),
            (row.stale, STALE),
            (row.certified, CERTIFIED),
            (row.leased, OPEN_CARD),
        )
        why = next((reason for applies, reason in reasons if applies), None)
        if why is None:
            kept.append(judged_row(row))
        else:
            excluded[why] = excluded.get(why, 0) + 1
    return Batchable(tuple(kept), excluded)


def latest_ids(session: Session) -> tuple[int, ...]:
    """The newest suggestion, review, decision, definition, calibrator, batch: while these stay, so does a forecast."""
    tables = (Suggestion, Review, Decision, Definition, Calibrator, Batch)
    return tuple(session.scalar(sa.select(sa.func.max(table.id))) or 0 for table in tables)


def lock_certifying(session: Session, *, criterion: Criterion, now: datetime) -> None:
    """Keeps others from freezing, issuing and being served cards until this transaction ends; to be called first."""
    hold_draws(session, criterion=criterion, shared=False)
    lock_value(session, f"certifying:{criterion}", {}, now=now)


def count_frozen(session: Session, *, pair_ids: Sequence[int], criterion: Criterion) -> int:
    """How many of these pairs are in an open batch."""
    found = 0
    for start in range(0, len(pair_ids), 500):
        some = pair_ids[start : start + 500]
        statement = open_batch_pairs(criterion).where(BatchPair.pair_id.in_(some))
        found += session.scalar(sa.select(sa.func.count()).select_from(statement.subquery())) or 0
    return found


def count_attempts(session: Session, *, judge_id: int, criterion: Criterion) -> int:
    """How many batches of this judge were frozen so far, closed ones too: whoever froze one could look at the draw."""
    earlier = sa.select(sa.func.count()).select_from(Batch)
    return session.scalar(earlier.where(Batch.judge_id == judge_id, Batch.criterion == criterion)) or 0


def list_seen(session: Session, *, pair_ids: Sequence[int], criterion: Criterion) -> set[int]:
    """Those of these pairs whose proposal somebody was shown on a card."""
    found: set[int] = set()
    for start in range(0, len(pair_ids), 500):
        some = pair_ids[start : start + 500]
        shown = sa.select(SeenPair.pair_id).where(SeenPair.criterion == criterion, SeenPair.pair_id.in_(some))
        found.update(session.scalars(shown))
    return found


def store_batch(session: Session, batch: Batch, pairs: Sequence[BatchPair]) -> None:
    """Stores a batch and its pairs, which nothing changes any more."""
    session.add(batch)
    session.flush()
    session.execute(
        sa.insert(BatchPair),
        [
            {
                "batch_id": batch.id,
                "pair_id": pair.pair_id,
                "suggestion_id": pair.suggestion_id,
                "relevant_class": pair.relevant_class,
                "confidence": pair.confidence,
                "audit_position": pair.audit_position,
            }
            for pair in pairs
        ],
    )


def get_batch_or_raise(session: Session, batch_id: int, *, lock: bool = False) -> Batch:
    """The batch of that id, held until the transaction ends when `lock` is set.

    Raises:
        NotFound: there is none.
    """
    statement = sa.select(Batch).where(Batch.id == batch_id)
    batch = session.scalar(statement.with_for_update() if lock else statement)
    if batch is None:
        raise NotFound(f"there is no batch {batch_id}", user_message="This batch is not in the workspace.")
    return batch


def list_batches(session: Session, *, criterion: Criterion) -> list[Batch]:
    """Every batch, newest first."""
    return list(session.scalars(sa.select(Batch).where(Batch.criterion == criterion).order_by(Batch.id.desc())))


def list_open_batches(session: Session, *, criterion: Criterion) -> list[Batch]:
    """Batches whose certificates are not stored yet, oldest first."""
    return list(session.scalars(sa.select(Batch).where(Batch.criterion == criterion, is_open()).order_by(Batch.id)))


def count_unanswered(session: Session, *, batch_id: int, criterion: Criterion) -> int:
    """How many audits of an open batch nobody has answered; it tells nothing of what the others answered."""
    waiting = waiting_samples(criterion).where(BatchPair.batch_id == batch_id)
    return session.scalar(waiting.with_only_columns(sa.func.count())) or 0


def list_batch_pairs(session: Session, batch_id: int) -> list[BatchPair]:
    """The pairs of a batch in their frozen order."""
    return list(session.scalars(sa.select(BatchPair).where(BatchPair.batch_id == batch_id).order_by(BatchPair.pair_id)))


def list_answers(session: Session, *, batch_id: int, criterion: Criterion) -> dict[int, int]:
    """Pair id -> grade of the answered audits of a batch. Only issuing may call this: it is the one look there is.

    Of several, the first counts: whoever gives a later one may have read the proposal meanwhile.
    """
    rows = session.execute(
        audit_answers(criterion)
        .join(BatchPair, BatchPair.pair_id == Review.pair_id)
        .where(BatchPair.batch_id == batch_id, BatchPair.audit_position.is_not(None))
        .with_only_columns(Review.pair_id, Review.grade)
        .order_by(Review.id.desc())
    )
    return {pair_id: grade for pair_id, grade in rows if grade is not None}


def list_spot_answers(session: Session, *, certificate_id: int, criterion: Criterion) -> list[int]:
    """The first blind grade of each answered spot check of a certificate, in the order they were given.

    Neither an undo nor a later grade changes it: whoever gives those may have read the proposal meanwhile. A first
    grade of somebody who is revoked counts for nothing, and no later one takes its place.
    """
    rows = session.execute(
        spot_answers(criterion)
        .where(SpotCheck.certificate_id == certificate_id)
        .with_only_columns(Review.pair_id, Review.grade, Review.person_id.in_(revoked_people()))
        .order_by(Review.id)
    )
    first: dict[int, int | None] = {}
    for pair_id, grade, revoked in rows:
        if grade is not None:
            first.setdefault(pair_id, None if revoked else grade)
    return [grade for grade in first.values() if grade is not None]


def count_spot_checks(session: Session, certificate_id: int) -> int:
    """How many spot checks were drawn from what a certificate accepted."""
    return (
        session.scalar(
            sa.select(sa.func.count()).select_from(SpotCheck).where(SpotCheck.certificate_id == certificate_id)
        )
        or 0
    )


def list_certificates(session: Session, *, criterion: Criterion, batch_id: int | None = None) -> list[Certificate]:
    """Certificates, issued, refused or suspended, the newest batch first, irrelevant before relevant."""
    statement = sa.select(Certificate).where(Certificate.criterion == criterion)
    if batch_id is not None:
        statement = statement.where(Certificate.batch_id == batch_id)
    return list(session.scalars(statement.order_by(Certificate.batch_id.desc(), Certificate.id)))


def get_certificate_or_raise(session: Session, certificate_id: int) -> Certificate:
    """The certificate of that id.

    Raises:
        NotFound: there is none.
    """
    found = session.get(Certificate, certificate_id)
    if found is None:
        raise NotFound(f"there is no certificate {certificate_id}", user_message="There is no such certificate.")
    return found


def latest_event(session: Session, certificate_id: int) -> CertificateEvent | None:
    """What last happened to a certificate; None when it was never issued."""
    return session.scalar(
        sa.select(CertificateEvent)
        .where(CertificateEvent.certificate_id == certificate_id)
        .order_by(CertificateEvent.id.desc())
        .limit(1)
    )


def add_issued(session: Session, certificate: Certificate, *, reason: str, now: datetime) -> None:
    """Puts a certificate into force."""
    session.add(
        CertificateEvent(certificate_id=certificate.id, state=CertificateState.ISSUED, reason=reason, created_at=now)
    )
