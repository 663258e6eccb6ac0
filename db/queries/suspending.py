"""Taking a certificate out of force: an event with the reason, and its accepted pairs back in the audit queue."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, Scale
from db.enums import CertificateState, Outcome, PolicyKind
from db.models import (
    Batch,
    BatchPair,
    Certificate,
    CertificateEvent,
    Decision,
    Pair,
    PairState,
    Policy,
    Review,
)
from db.queries.audits import audit_answers, is_open, is_suspended
from db.queries.many_states import change_states, hold_states
from db.queries.queue_building import rebuild_queue
from db.session import Sessions

_IN = 500


def suspend_certificates(session: Session, certificates: Sequence[Certificate], *, reason: str, now: datetime) -> int:
    """Suspends those in force and rejects anew what they accepted; returns how many pairs went back.

    Pairs that a person graded keep that grade. Suspending twice changes nothing.
    """
    back = 0
    fresh = [certificate for certificate in certificates if not _suspended(session, certificate.id)]
    for certificate in fresh:
        session.add(
            CertificateEvent(
                certificate_id=certificate.id, state=CertificateState.SUSPENDED, reason=reason, created_at=now
            )
        )
        back += reject_accepted(session, certificate, reason=reason, now=now)
    session.flush()
    for criterion in sorted({certificate.criterion for certificate in fresh}):
        rebuild_queue(session, criterion=criterion, now=now)
    return back


def _suspended(session: Session, certificate_id: int) -> bool:
    found = sa.select(Certificate.id).where(Certificate.id == certificate_id, is_suspended())
    return session.scalar(found) is not None


def reject_accepted(session: Session, certificate: Certificate, *, reason: str, now: datetime) -> int:
    """Rejects what goes as accepted under a certificate that is suspended; returns how many pairs went back."""
    criterion = certificate.criterion
    accepted = (
        sa.select(PairState.pair_id)
        .join(Decision, Decision.id == PairState.decision_id)
        .where(
            PairState.criterion == criterion,
            PairState.outcome == Outcome.ACCEPTED,
            Decision.certificate_id == certificate.id,
        )
    )
    hold_states(session, accepted, criterion=criterion)
    columns = {
        Decision.pair_id: PairState.pair_id,
        Decision.criterion: PairState.criterion,
        Decision.suggestion_id: PairState.suggestion_id,
        Decision.policy_id: Decision.policy_id,
        Decision.outcome: sa.literal(Outcome.REJECTED, Decision.outcome.type),
        Decision.why: sa.literal(f"certificate {certificate.id} is suspended: {reason}", Decision.why.type),
        Decision.created_at: sa.literal(now, Decision.created_at.type),
    }
    session.execute(
        sa.insert(Decision).from_select(
            [column.key for column in columns],
            accepted.with_only_columns(*columns.values()).order_by(PairState.pair_id),
        )
    )
    rejection = (
        sa.select(sa.func.max(Decision.id))
        .where(Decision.pair_id == PairState.pair_id, Decision.criterion == criterion)
        .correlate(PairState)
        .scalar_subquery()
    )
    by_it = sa.exists().where(Decision.id == PairState.decision_id, Decision.certificate_id == certificate.id)
    # A person's grade stays.
    machine = PairState.review_id.is_(None)
    return change_states(
        session,
        sa.update(PairState)
        .where(PairState.criterion == criterion, PairState.outcome == Outcome.ACCEPTED, by_it.correlate(PairState))
        .values(
            decision_id=rejection,
            outcome=Outcome.REJECTED,
            curated_grade=sa.case((machine, None), else_=PairState.curated_grade),
            curated_source=sa.case((machine, None), else_=PairState.curated_source),
            updated_at=now,
        ),
    )


def void_batches(session: Session, batches: Sequence[Batch], *, reason: str, now: datetime) -> None:
    """Closes open batches without a certificate: what they froze is not what holds any more. Their audits are spent."""
    for batch in batches:
        answered = _count_answered(session, batch)
        for relevant_class in (False, True):
            session.add(
                Certificate(
                    batch_hash=batch.hash,
                    batch_id=batch.id,
                    judge_id=batch.judge_id,
                    calibrator_id=batch.calibrator_id,
                    criterion=batch.criterion,
                    relevant_class=relevant_class,
                    epsilon=batch.epsilon,
                    delta=batch.delta,
                    n_audits=0,
                    n_errors=0,
                    threshold=None,
                    coverage=0.0,
                    recall_relevant=None,
                    details={"void": reason, "n_answered": answered},
                    created_at=now,
                )
            )
    session.flush()
    for criterion in sorted({batch.criterion for batch in batches}):
        rebuild_queue(session, criterion=criterion, now=now)


def _count_answered(session: Session, batch: Batch) -> int:
    """Audits of a batch that people have answered."""
    sampled = sa.select(BatchPair.pair_id).where(BatchPair.batch_id == batch.id, BatchPair.audit_position.is_not(None))
    answers = audit_answers(batch.criterion).where(Review.pair_id.in_(sampled))
    return session.scalar(answers.with_only_columns(sa.func.count(sa.distinct(Review.pair_id)))) or 0


def suspend_replaced(session: Session, *, pair_ids: Collection[int], criterion: Criterion, now: datetime) -> None:
    """To be called before other suggestions take the place of these pairs' current ones.

    Suspends the certificates under which any of the pairs is accepted (what a certificate rejected may be proposed anew
    by another judge), and closes the open batches that froze one of them.
    """
    certificates: dict[int, Certificate] = {}
    batches: dict[int, Batch] = {}
    wanted = sorted(set(pair_ids))
    for start in range(0, len(wanted), _IN):
        some = wanted[start : start + _IN]
        for found in session.scalars(_in_force(criterion).where(PairState.pair_id.in_(some)).distinct()):
            certificates[found.id] = found
        for batch in session.scalars(_open(criterion).where(BatchPair.pair_id.in_(some)).distinct()):
            batches[batch.id] = batch
    reason = "another suggestion took the place of one that it rests on (another judge, model or prompt)"
    suspend_certificates(session, list(certificates.values()), reason=reason, now=now)
    void_batches(session, list(batches.values()), reason=reason, now=now)


def held_pairs(session: Session, *, pair_ids: Collection[int], criterion: Criterion) -> set[int]:
    """Those of the pairs that are accepted under a certificate in force, or belong to an open batch."""
    held: set[int] = set()
    wanted = sorted(set(pair_ids))
    for start in range(0, len(wanted), _IN):
        some = wanted[start : start + _IN]
        in_force = _in_force(criterion).where(PairState.pair_id.in_(some)).with_only_columns(PairState.pair_id)
        frozen = _open(criterion).where(BatchPair.pair_id.in_(some)).with_only_columns(BatchPair.pair_id)
        held.update(session.scalars(in_force), session.scalars(frozen))
    return held


def pairs_held(criterion: Criterion) -> sa.CompoundSelect[int]:
    """As `held_pairs`, of all pairs there are, as part of a larger query."""
    in_force = _in_force(criterion).with_only_columns(PairState.pair_id)
    return in_force.union(_open(criterion).with_only_columns(BatchPair.pair_id))


def suspend_for_definition(session: Session, query_ids: Collection[int], now: datetime) -> None:
    """To be called when the definition of these queries changes: what was certified under the older one no longer is.

    Suspends the certificates under which a pair of them is accepted, and closes the open batches that hold one.
    """
    certificates: dict[int, Certificate] = {}
    batches: dict[int, Batch] = {}
    wanted = sorted(set(query_ids))
    for criterion in Criterion:
        for start in range(0, len(wanted), _IN):
            some = wanted[start : start + _IN]
            of_queries = Pair.query_id.in_(some)
            accepted = _in_force(criterion).join(Pair, Pair.id == PairState.pair_id).where(of_queries)
            for found in session.scalars(accepted.distinct()):
                certificates[found.id] = found
            frozen = _open(criterion).join(Pair, Pair.id == BatchPair.pair_id).where(of_queries)
            for batch in session.scalars(frozen.distinct()):
                batches[batch.id] = batch
    reason = "the definition of a query changed"
    suspend_certificates(session, list(certificates.values()), reason=reason, now=now)
    void_batches(session, list(batches.values()), reason=reason, now=now)


def hold_scale(sessions: Sessions, scale: Scale, now: datetime) -> None:
    """To be called before anything rests on a certificate: those of another scale than the workspace's are suspended.

    Open batches of another scale are closed. Where nothing is of another scale, nothing is written.
    """
    with sessions.read() as session:
        certificates, batches = _of_other_scale(session, scale)
    if not certificates and not batches:
        return
    with sessions.begin() as session:
        suspend_other_scales(session, scale, now)


def suspend_other_scales(session: Session, scale: Scale, now: datetime) -> None:
    """As `hold_scale`, in a transaction that writes already."""
    certificates, batches = _of_other_scale(session, scale)
    for certificate in certificates:
        suspend_certificates(session, [certificate], reason=_scale_changed(certificate.details, scale), now=now)
    for batch in batches:
        void_batches(session, [batch], reason=_scale_changed(batch.plan, scale), now=now)


def _of_other_scale(session: Session, scale: Scale) -> tuple[list[Certificate], list[Batch]]:
    in_force = sa.select(Certificate).where(Certificate.threshold.is_not(None), ~is_suspended())
    certificates = session.scalars(in_force.order_by(Certificate.id))
    batches = session.scalars(sa.select(Batch).where(is_open()).order_by(Batch.id))
    return (
        [one for one in certificates if _differs(one.details, scale)],
        [one for one in batches if _differs(one.plan, scale)],
    )


def scale_to_store(scale: Scale) -> dict[str, int]:
    """What a batch's plan and a certificate's details keep under "scale"."""
    return {"max_grade": scale.max_grade, "relevant_from": scale.relevant_from}


def stored_scale(stored: Mapping[str, Any]) -> Scale | None:
    """The scale under which a batch's plan or a certificate's details were made; None where they keep none."""
    found = stored.get("scale")
    return None if found is None else Scale(int(found["max_grade"]), int(found["relevant_from"]))


def _differs(stored: Mapping[str, Any], scale: Scale) -> bool:
    return stored.get("scale") != scale_to_store(scale)


def _scale_changed(stored: Mapping[str, Any], scale: Scale) -> str:
    old = stored_scale(stored)
    before = "one that is not stored" if old is None else f"0 to {old.max_grade}, relevant from {old.relevant_from}"
    return f"the scale changed from {before} to 0 to {scale.max_grade}, relevant from {scale.relevant_from}"


def _in_force(criterion: Criterion) -> sa.Select[Certificate]:
    return (
        sa.select(Certificate)
        .join(Decision, Decision.certificate_id == Certificate.id)
        .join(PairState, PairState.decision_id == Decision.id)
        .join(Policy, Policy.id == Decision.policy_id)
        .where(
            Certificate.criterion == criterion,
            PairState.outcome == Outcome.ACCEPTED,
            Policy.kind == PolicyKind.CERTIFIED,
            ~is_suspended(),
        )
    )


def _open(criterion: Criterion) -> sa.Select[Batch]:
    return (
        sa.select(Batch).join(BatchPair, BatchPair.batch_id == Batch.id).where(Batch.criterion == criterion, is_open())
    )
