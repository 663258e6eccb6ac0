"""Certificates: a batch is frozen, then a sample of it is drawn and audited blind, and used once.

The order cannot be changed: judge, calibrator, batch and thresholds are fixed before the draw, and nothing computes an
error before every audit is answered. Pairs of the sample are locked meanwhile (`db/queries/audits.py`).
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from annotator.audit_design import AuditDesign, design_audit, draw
from annotator.certificate import ClassCertificate, accepted, certify, recall_of_relevant
from annotator.routing import CertifiedThreshold
from annotator.types import ConfidenceKind, Criterion, Scale
from app.bootstrap import Workspace
from app.errors import Conflict, NothingToDo
from app.services.audit_planning import Freezable, load_freezable
from app.services.certificate_views import BatchState, BatchView, CertificateView, IssueReport
from app.services.spot_checks import draw_spot_checks, spot_check_view
from db.enums import CertificateState, PolicyKind
from db.models import Batch, BatchPair, Certificate, Decision, JudgeRow, Person
from db.queries import certifying as queries
from db.queries.deciding import ensure_policy
from db.queries.people import person_named
from db.queries.queue_building import rebuild_queue
from db.queries.standing import load_suggestions, locked_states, set_decision
from db.queries.suspending import hold_scale, scale_to_store, stored_scale, suspend_certificates, void_batches

_TRIES = 3


def freeze(
    workspace: Workspace,
    *,
    judge_id: int,
    n: int,
    person: str,
    epsilon: float = 0.1,
    delta: float = 0.05,
    kind: ConfidenceKind | None = None,
    seed: int | None = None,
    criterion: Criterion = Criterion.RELEVANCE,
) -> BatchView:
    """Freezes the judge's batch, then draws n pairs at random and locks them to the blind queue.

    The batch: its current readable suggestions on train questions that nobody has judged, skipped or open; pairs that
    people judged keep their grade and are in no batch (`BatchView.excluded` counts them).

    The draw's seed comes from the system's secret randomness and is stored with the design. `seed` is for tests alone:
    who chooses it chooses the sample.

    Raises:
        NotFound, NotAllowed, NothingToDo: as `load_freezable`.
        Conflict: the calibrator saw a question of the batch; an open batch holds some of the pairs; or reviews kept
            coming in while the design was made.
        CertificateImpossible: n, ε or δ is impossible for this batch.
    """
    hold_scale(workspace.sessions, workspace.scale, workspace.now())
    drawn_with = secrets.randbits(32) if seed is None else seed
    for _ in range(_TRIES):
        with workspace.sessions.read() as session:
            found = load_freezable(workspace, session, judge_id=judge_id, kind=kind, criterion=criterion)
            _refuse_second(session, found, criterion=criterion)
        # The design takes seconds, so it is made outside of the transaction; it looks at no person's answer.
        design = design_audit(found.predicted, found.confidence, n=n, epsilon=epsilon, delta=delta, seed=drawn_with)
        with workspace.sessions.begin() as session:
            queries.lock_certifying(session, criterion=criterion, now=workspace.now())
            now_found = load_freezable(workspace, session, judge_id=judge_id, kind=kind, criterion=criterion)
            _refuse_second(session, now_found, criterion=criterion)
            if not _same(found, now_found):
                continue
            batch = _store(workspace, session, now_found, design, person=person, criterion=criterion)
            rebuild_queue(session, criterion=criterion, now=workspace.now())
            return _batch_view(session, batch)
    raise Conflict(
        "the batch changed three times while its audit was designed",
        user_message="Reviews or suggestions keep coming in while the batch is frozen. Try again in a moment.",
    )


def _refuse_second(session: Session, found: Freezable, *, criterion: Criterion) -> None:
    frozen = queries.count_frozen(session, pair_ids=[row.pair_id for row in found.rows], criterion=criterion)
    if frozen:
        raise Conflict(
            f"{frozen} of the pairs are in an open batch",
            user_message=f"{frozen:,} of these pairs are in a batch whose audits are not done. Finish that one first.",
        )


def _same(one: Freezable, other: Freezable) -> bool:
    return (
        one.calibrator.id == other.calibrator.id
        and [row.suggestion_id for row in one.rows] == [row.suggestion_id for row in other.rows]
        and np.array_equal(one.confidence, other.confidence)
    )


def _store(
    workspace: Workspace, session: Session, found: Freezable, design: AuditDesign, *, person: str, criterion: Criterion
) -> Batch:
    now = workspace.now()
    sampled = draw(design, found.predicted, found.confidence)
    position = {int(at): number for number, at in enumerate(sampled, start=1)}
    pairs = [
        BatchPair(
            pair_id=row.pair_id,
            suggestion_id=row.suggestion_id,
            relevant_class=bool(found.predicted[at]),
            confidence=float(found.confidence[at]),
            audit_position=position.get(at),
        )
        for at, row in enumerate(found.rows)
    ]
    batch = Batch(
        hash=_hash(found, design, workspace.scale),
        criterion=criterion,
        judge_id=found.judge.id,
        calibrator_id=found.calibrator.id,
        epsilon=design.epsilon,
        delta=design.delta,
        n_pairs=len(pairs),
        n_audits=len(sampled),
        plan={
            "design": design.to_json(),
            "scale": scale_to_store(workspace.scale),
            "excluded": found.excluded,
            "attempt": 1 + queries.count_attempts(session, judge_id=found.judge.id, criterion=criterion),
        },
        person_id=person_named(session, person, now=now).id,
        created_at=now,
    )
    queries.store_batch(session, batch, pairs)
    return batch


def _hash(found: Freezable, design: AuditDesign, scale: Scale) -> str:
    """SHA-256 of judge, calibrator, design, scale and every suggestion with its class and confidence, in order."""
    version, bounds = found.calibrator.parameters["version"], [scale.max_grade, scale.relevant_from]
    digest = hashlib.sha256(json.dumps([found.judge.id, version, design.to_json(), bounds]).encode())
    for row, side, confidence in zip(found.rows, found.predicted, found.confidence, strict=True):
        digest.update(f"{row.pair_id}\t{row.suggestion_id}\t{int(side)}\t{float(confidence)!r}\n".encode())
    return digest.hexdigest()


def issue(workspace: Workspace, *, batch_id: int, close_early: bool = False) -> IssueReport:
    """Computes the certificates of both classes, stores them and routes the batch by them, in one transaction.

    A class without a certificate has nothing accepted. Audited pairs carry the person's grade. With `close_early` the
    audits nobody answered count as errors, for good.

    Raises:
        NotFound: there is no such batch.
        Conflict: its certificates were computed before, or it was closed because something it froze changed.
        NothingToDo: audits are not answered yet, and `close_early` is not set.
    """
    hold_scale(workspace.sessions, workspace.scale, workspace.now())
    with workspace.sessions.begin() as session:
        now = workspace.now()
        criterion = queries.get_batch_or_raise(session, batch_id).criterion
        queries.lock_certifying(session, criterion=criterion, now=now)  # spot checks are drawn below
        batch = queries.get_batch_or_raise(session, batch_id, lock=True)
        stored = queries.list_certificates(session, criterion=batch.criterion, batch_id=batch.id)
        if void := next((str(one.details["void"]) for one in stored if "void" in one.details), None):
            raise Conflict(f"batch {batch.id} is closed: {void}", user_message=f"This batch is closed: {void}.")
        if stored:
            raise Conflict(
                f"batch {batch.id} has its certificates already",
                user_message="The audits of this batch were used once already; they cannot be used again.",
            )
        open_ones = queries.count_unanswered(session, batch_id=batch.id, criterion=batch.criterion)
        if open_ones and not close_early:
            raise NothingToDo(
                f"{open_ones} of {batch.n_audits} blind audits of batch {batch.id} to go",
                user_message=f"{open_ones:,} of {batch.n_audits:,} blind audits to go. Nothing is computed before.",
            )
        pairs = queries.list_batch_pairs(session, batch.id)
        answers = queries.list_answers(session, batch_id=batch.id, criterion=batch.criterion)
        certificates, kept = _certified(session, batch, pairs, answers, now=now)
        n_accepted = _route(session, batch, pairs, kept, certificates, now=now)
        _draw_spot_checks(workspace, session, pairs, kept, certificates, now=now)
        waiting = rebuild_queue(session, criterion=batch.criterion, now=now)
        return IssueReport(
            batch=_batch_view(session, batch),
            certificates=tuple(_certificate_view(session, one) for one in certificates),
            accepted=n_accepted,
            rejected=len(pairs) - n_accepted,
            waiting=waiting,
        )


def _certified(
    session: Session,
    batch: Batch,
    pairs: Sequence[BatchPair],
    answers: dict[int, int],
    *,
    now: datetime,
) -> tuple[list[Certificate], list[bool]]:
    """The stored certificates, irrelevant first, and which pairs are accepted."""
    scale = stored_scale(batch.plan)
    if scale is None:
        raise Conflict(f"batch {batch.id} keeps no scale", user_message="This batch keeps no scale. Freeze another.")
    design = AuditDesign.from_json(str(batch.plan["design"]))
    predicted = np.array([pair.relevant_class for pair in pairs], dtype=np.bool_)
    confidence = np.array([pair.confidence for pair in pairs], dtype=np.float64)
    drawn = sorted((pair.audit_position, at) for at, pair in enumerate(pairs) if pair.audit_position is not None)
    sampled = np.array([at for _, at in drawn], dtype=np.int64)
    wrong = [
        scale.is_relevant(answers[pairs[at].pair_id]) != pairs[at].relevant_class
        if pairs[at].pair_id in answers
        else None
        for _, at in drawn
    ]
    made = certify(design, predicted, confidence, sampled, wrong)
    recall = recall_of_relevant(design, made, predicted, confidence, sampled, wrong)
    stored = []
    for one in made:
        certificate = Certificate(
            batch_hash=batch.hash,
            batch_id=batch.id,
            judge_id=batch.judge_id,
            calibrator_id=batch.calibrator_id,
            criterion=batch.criterion,
            relevant_class=one.relevant,
            epsilon=one.epsilon,
            delta=one.delta,
            n_audits=one.n_audits,
            n_errors=one.n_errors,
            threshold=one.threshold,
            coverage=one.coverage,
            recall_relevant=recall.accepted[0],
            details=_details(one, batch, recall_interval=recall.accepted[1:]),
            created_at=now,
        )
        session.add(certificate)
        session.flush()
        if one.issued:
            queries.add_issued(session, certificate, reason=one.reason, now=now)
        stored.append(certificate)
    session.flush()
    return stored, [bool(one) for one in accepted(made, predicted, confidence, sampled)]


def _details(one: ClassCertificate, batch: Batch, *, recall_interval: tuple[float, float]) -> dict[str, Any]:
    return {
        "reason": one.reason,
        "n_class": one.n_class,
        "n_accepted": one.n_accepted,
        "n_unanswered": one.n_unanswered,
        "n_audits_above": one.n_audits_above,
        "n_errors_above": one.n_errors_above,
        "upper_bound": one.upper_bound,
        "recall_interval": list(recall_interval),
        "attempt": batch.plan["attempt"],
        "scale": batch.plan["scale"],
    }


def _route(
    session: Session,
    batch: Batch,
    pairs: Sequence[BatchPair],
    kept: Sequence[bool],
    certificates: Sequence[Certificate],
    *,
    now: datetime,
) -> int:
    """Decides on every pair of the batch by its certificates; returns how many are accepted."""
    irrelevant, relevant = certificates
    policy = CertifiedThreshold(
        batch=batch.hash,
        threshold_irrelevant=irrelevant.threshold,
        threshold_relevant=relevant.threshold,
        epsilon=batch.epsilon,
        delta=batch.delta,
    )
    stored = ensure_policy(
        session,
        version=policy.version,
        kind=PolicyKind.CERTIFIED,
        criterion=batch.criterion,
        parameters=dict(policy.parameters),
        now=now,
    )
    states = locked_states(session, pair_ids=[pair.pair_id for pair in pairs], criterion=batch.criterion, now=now)
    decided = []
    for pair, is_kept in zip(pairs, kept, strict=True):
        state = states[pair.pair_id]
        if state.suggestion_id != pair.suggestion_id:
            raise Conflict(
                f"pair {pair.pair_id} of batch {batch.id} has another suggestion than the frozen one",
                user_message="A suggestion of this batch was replaced. It cannot be certified any more.",
            )
        verdict = policy.decide(
            relevant=pair.relevant_class, confidence=pair.confidence, audited=pair.audit_position is not None
        )
        certificate = relevant if pair.relevant_class else irrelevant
        decision = Decision(
            pair_id=pair.pair_id,
            criterion=batch.criterion,
            suggestion_id=pair.suggestion_id,
            policy_id=stored.id,
            certificate_id=certificate.id if is_kept else None,
            outcome=verdict.outcome,
            why=verdict.why,
            created_at=now,
        )
        session.add(decision)
        decided.append((state, decision))
    session.flush()
    suggestions = load_suggestions(session, [pair.suggestion_id for pair in pairs])
    for state, decision in decided:
        set_decision(state, decision, suggestions[decision.suggestion_id], now=now)
    session.flush()
    return sum(kept)


def _draw_spot_checks(
    workspace: Workspace,
    session: Session,
    pairs: Sequence[BatchPair],
    kept: Sequence[bool],
    certificates: Sequence[Certificate],
    *,
    now: datetime,
) -> None:
    criterion = certificates[0].criterion
    accepted = [pair.pair_id for pair, is_kept in zip(pairs, kept, strict=True) if is_kept]
    seen = queries.list_seen(session, pair_ids=accepted, criterion=criterion)
    for certificate in certificates:
        of_class = [
            pair.pair_id
            for pair, is_kept in zip(pairs, kept, strict=True)
            if is_kept and pair.relevant_class == certificate.relevant_class and pair.pair_id not in seen
        ]
        share = workspace.settings.spot_check_share
        draw_spot_checks(session, certificate, of_class, share=share, seed=certificate.id, now=now)
    session.flush()


def suspend(workspace: Workspace, *, certificate_id: int, reason: str) -> int:
    """Takes a certificate out of force by hand; returns how many pairs went back to people.

    Raises:
        NotFound: there is no such certificate.
        NothingToDo: it is not in force.
    """
    with workspace.sessions.begin() as session:
        certificate = queries.get_certificate_or_raise(session, certificate_id)
        event = queries.latest_event(session, certificate_id)
        if event is None or event.state is not CertificateState.ISSUED:
            raise NothingToDo(f"certificate {certificate_id} is not in force")
        return suspend_certificates(session, [certificate], reason=reason, now=workspace.now())


def close(workspace: Workspace, *, batch_id: int, reason: str) -> BatchView:
    """Gives an open batch up: nothing is computed, and what people answered becomes ordinary grades.

    Raises:
        NotFound: there is no such batch.
        Conflict: it is not open.
    """
    with workspace.sessions.begin() as session:
        batch = queries.get_batch_or_raise(session, batch_id, lock=True)
        if queries.list_certificates(session, criterion=batch.criterion, batch_id=batch.id):
            raise Conflict(f"batch {batch_id} is not open", user_message="This batch is not open any more.")
        void_batches(session, [batch], reason=reason, now=workspace.now())
        return _batch_view(session, batch)


def list_batches(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> tuple[BatchView, ...]:
    """Every batch, newest first."""
    hold_scale(workspace.sessions, workspace.scale, workspace.now())
    with workspace.sessions.read() as session:
        return tuple(_batch_view(session, batch) for batch in queries.list_batches(session, criterion=criterion))


def list_certificates(
    workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE
) -> tuple[CertificateView, ...]:
    """Every certificate that was computed, issued or refused, newest batch first; those of closed batches are none."""
    hold_scale(workspace.sessions, workspace.scale, workspace.now())
    with workspace.sessions.read() as session:
        return tuple(
            _certificate_view(session, one)
            for one in queries.list_certificates(session, criterion=criterion)
            if "void" not in one.details
        )


def _batch_view(session: Session, batch: Batch) -> BatchView:
    certificates = queries.list_certificates(session, criterion=batch.criterion, batch_id=batch.id)
    void = next((str(one.details["void"]) for one in certificates if "void" in one.details), None)
    state: BatchState
    if not certificates:
        state, note = "open", ""
        answered = batch.n_audits - queries.count_unanswered(session, batch_id=batch.id, criterion=batch.criterion)
    else:
        state = "closed" if void is not None else "refused"
        if any(one.threshold is not None for one in certificates):
            state = "certified"
        note = void or ""
        answered = int(certificates[0].details.get("n_answered", -1))
        if void is None or answered < 0:
            answered = len(queries.list_answers(session, batch_id=batch.id, criterion=batch.criterion))
    person = None if batch.person_id is None else session.get_one(Person, batch.person_id).name
    return BatchView(
        id=batch.id,
        hash=batch.hash,
        judge_id=batch.judge_id,
        judge=session.get_one(JudgeRow, batch.judge_id).name,
        state=state,
        epsilon=batch.epsilon,
        delta=batch.delta,
        n_pairs=batch.n_pairs,
        n_audits=batch.n_audits,
        n_answered=answered,
        attempt=int(batch.plan["attempt"]),
        excluded=dict(batch.plan["excluded"]),
        person=person,
        created_at=batch.created_at,
        note=note,
    )


def _certificate_view(session: Session, certificate: Certificate) -> CertificateView:
    event = queries.latest_event(session, certificate.id)
    judge = session.get_one(JudgeRow, certificate.judge_id)
    details = certificate.details
    interval = details.get("recall_interval")
    suspended = event is not None and event.state is CertificateState.SUSPENDED
    reason = event.reason if event is not None and suspended else str(details.get("reason", ""))
    return CertificateView(
        id=certificate.id,
        batch_id=certificate.batch_id,
        batch_hash=certificate.batch_hash,
        judge=judge.name,
        prompt_version=judge.prompt_version,
        calibrator_id=certificate.calibrator_id,
        relevant=certificate.relevant_class,
        state="refused" if event is None else "suspended" if suspended else "issued",
        epsilon=certificate.epsilon,
        delta=certificate.delta,
        n_audits=certificate.n_audits,
        n_errors=certificate.n_errors,
        n_accepted=int(details.get("n_accepted", 0)),
        n_class=int(details.get("n_class", 0)),
        threshold=certificate.threshold,
        coverage=certificate.coverage,
        recall_relevant=certificate.recall_relevant,
        recall_interval=None if interval is None else (float(interval[0]), float(interval[1])),
        reason=reason,
        spot_checks=spot_check_view(session, certificate),
        created_at=certificate.created_at,
    )
