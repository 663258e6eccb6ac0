"""Certificates that a revocation suspends, and how they come back if nothing else changed meanwhile.

How judges and people are revoked is in `revoked_labels.py` and `revoking.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from db.enums import CertificateState, Outcome, Visibility
from db.models import (
    BatchPair,
    Certificate,
    CertificateEvent,
    Decision,
    JudgeRow,
    Pair,
    PairState,
    Person,
    Review,
    Revocation,
    Suggestion,
)
from db.queries.audits import is_suspended
from db.queries.certifying import add_issued
from db.queries.definitions import is_stale
from db.queries.many_states import change_states, curate_accepted, hold_states
from db.queries.standing import GRADING, revoked_judges, revoked_people
from db.queries.suspending import reject_accepted, suspend_certificates

_SUSPENDED_BY = "revocation %"


def why_suspended(revocation: Revocation, name: str) -> str:
    """The reason that suspensions by a revocation carry; `_SUSPENDED_BY` finds them again."""
    return f"revocation {revocation.id}: {name} is revoked: {revocation.reason}"


def certificates_in_force() -> sa.Select[Certificate]:
    """Certificates that accept something now."""
    in_force = sa.select(Certificate).where(Certificate.threshold.is_not(None), ~is_suspended())
    return in_force.order_by(Certificate.id)


def suspend_audited_by(session: Session, revocation: Revocation, person: Person, *, now: datetime) -> list[Certificate]:
    """Suspends the certificates in force of which this person answered an audit; what they accepted waits for people.

    The bound was computed from n audits; without this person's there are fewer, and a sample is used once. Audits of
    batches that are still open wait for somebody else.
    """
    found = list(session.scalars(certificates_in_force().where(_audited_by([person.id]))))
    suspend_certificates(session, found, reason=why_suspended(revocation, person.name), now=now)
    return found


def list_audited_by(session: Session, person_id: int) -> list[Certificate]:
    """The certificates in force of which this person answered an audit."""
    return list(session.scalars(certificates_in_force().where(_audited_by([person_id]))))


def _audited_by(people: Collection[int] | sa.Select[int]) -> sa.ColumnElement[bool]:
    """Whether one of these people answered an audit of the certificate before it was issued, beside `Certificate`."""
    return sa.exists().where(
        BatchPair.batch_id == Certificate.batch_id,
        BatchPair.audit_position.is_not(None),
        Review.pair_id == BatchPair.pair_id,
        Review.criterion == Certificate.criterion,
        Review.visibility == Visibility.BLIND,
        Review.card.is_not(None),
        Review.action.in_(GRADING),
        Review.person_id.in_(people),
        Review.created_at <= Certificate.created_at,
    )


def give_certificates_back(session: Session, *, name: str, may: Collection[int], now: datetime) -> list[Certificate]:
    """Puts back into force the certificates that only revocations had suspended, if nobody they rest on is revoked now.

    `may`: ids that the caller has checked for what is not about people and suggestions (the scale, the live model, the
    calibrator). Of what a certificate accepted, every pair must go by the suggestion that it was issued for, and none
    may be stale: what changed meanwhile keeps it suspended, and what it accepted is rejected anew.
    """
    back = []
    for certificate in list_suspended_by_revocation(session):
        if certificate.id in may and _is_whole(session, certificate):
            _give_back(session, certificate, name=name, now=now)
            back.append(certificate)
    return back


def list_suspended_by_revocation(session: Session) -> list[Certificate]:
    """Certificates that are suspended, the last time by a revocation, and of which nobody they rest on is revoked."""
    event = aliased(CertificateEvent)
    last = sa.select(sa.func.max(CertificateEvent.id)).group_by(CertificateEvent.certificate_id)
    return list(
        session.scalars(
            sa.select(Certificate)
            .join(event, event.certificate_id == Certificate.id)
            .where(
                event.id.in_(last),
                event.state == CertificateState.SUSPENDED,
                event.reason.like(_SUSPENDED_BY),
                Certificate.judge_id.not_in(revoked_judges()),
                ~_audited_by(revoked_people()),
            )
            .order_by(Certificate.id)
        )
    )


def _is_whole(session: Session, certificate: Certificate) -> bool:
    changed = (
        sa.select(Decision.id)
        .join(Suggestion, Suggestion.id == Decision.suggestion_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .join(Pair, Pair.id == Decision.pair_id)
        .outerjoin(PairState, sa.and_(PairState.pair_id == Decision.pair_id, PairState.criterion == Decision.criterion))
        .where(
            Decision.certificate_id == certificate.id,
            sa.or_(PairState.suggestion_id.is_distinct_from(Decision.suggestion_id), is_stale()),
        )
        .limit(1)
    )
    return session.scalar(changed) is None


def _give_back(session: Session, certificate: Certificate, *, name: str, now: datetime) -> None:
    add_issued(session, certificate, reason=f"{name} is no longer revoked", now=now)
    accepted = sa.select(Decision.pair_id).where(Decision.certificate_id == certificate.id)
    hold_states(session, accepted, criterion=certificate.criterion)
    before, held = aliased(Decision), aliased(Decision)
    of_certificate = before.certificate_id == certificate.id
    last = sa.select(before.id).where(before.pair_id == PairState.pair_id, of_certificate).correlate(PairState)
    # Rejected because the certificate was suspended: by its own policy.
    by_its_policy = sa.exists().where(
        held.id == PairState.decision_id,
        before.pair_id == PairState.pair_id,
        of_certificate,
        held.policy_id == before.policy_id,
    )
    change_states(
        session,
        sa.update(PairState)
        .where(
            PairState.criterion == certificate.criterion,
            PairState.pair_id.in_(accepted),
            by_its_policy.correlate(PairState),
        )
        .values(decision_id=last.scalar_subquery(), outcome=Outcome.ACCEPTED),
    )
    curate_accepted(session, accepted, criterion=certificate.criterion, now=now)


def reject_unbacked(session: Session, judge: JudgeRow, *, reason: str, now: datetime) -> int:
    """Rejects what goes as accepted under a certificate of this judge that stays suspended; returns how many pairs."""
    suspended = session.scalars(
        sa.select(Certificate)
        .where(
            Certificate.judge_id == judge.id,
            is_suspended(),
            sa.exists().where(
                Decision.certificate_id == Certificate.id,
                PairState.decision_id == Decision.id,
                PairState.outcome == Outcome.ACCEPTED,
            ),
        )
        .order_by(Certificate.id)
    ).all()
    return sum(reject_accepted(session, certificate, reason=reason, now=now) for certificate in suspended)
