"""Taking a judge's or a person's labels out of use, and giving them back so that everything is as it was.

Nothing is deleted. What a judge had proposed as the current suggestion of a pair is set aside by a decision under the
revocation's own policy, which remembers what was current; the pair falls back to what another judge proposed. Reviews
of a revoked person do not stand (`standing.py`), and the states of their pairs are computed anew. Certificates that
rest on either are suspended, and come back if nothing else changed meanwhile. Who may do this, and what is said about
it, is in `app/services/revoking.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion, SuggestionStatus
from db.enums import CertificateState, LabelSource, Outcome, PolicyKind, RevocationAct, Visibility
from db.models import (
    Batch,
    BatchPair,
    Certificate,
    CertificateEvent,
    Decision,
    JudgeRow,
    LabelJob,
    Lease,
    Pair,
    PairState,
    Person,
    Policy,
    Review,
    Revocation,
    Suggestion,
)
from db.queries.audits import is_open, is_suspended
from db.queries.certifying import add_issued
from db.queries.deciding import ensure_policy
from db.queries.definitions import is_stale
from db.queries.self_labels import RETRIEVAL_ONLY
from db.queries.standing import GRADING, revoked_judges, revoked_people
from db.queries.states import SOME, locked_states, refresh_states
from db.queries.suspending import held_pairs, reject_accepted, suspend_certificates, void_batches

POLICY = "revocation-"
"""How the version of the policy begins under which a revocation sets suggestions aside."""

UNDECIDED = "-undecided"
"""How it ends where nothing had been decided about the suggestion."""

_MACHINE = (LabelSource.ACCEPTED, LabelSource.SELF)


@dataclass(slots=True)
class Changed:
    """What a revocation or its end did to pairs of one criterion.

    n_pairs: pairs whose state was computed anew. n_fallback: those that go by another judge's suggestion now. decided:
    of these, the pairs about whose older suggestion a policy had decided. certificates: put out of force, or back into
    it. n_batches: open batches closed for good.
    """

    criterion: Criterion
    n_pairs: int = 0
    n_fallback: int = 0
    decided: list[int] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    n_batches: int = 0


def get_newest(session: Session, *, judge_id: int | None = None, reviewer_id: int | None = None) -> Revocation | None:
    """The newest revocation or restoration of a judge or a person, which holds; None when there was none."""
    statement = sa.select(Revocation).order_by(Revocation.id.desc()).limit(1)
    if judge_id is not None:
        return session.scalar(statement.where(Revocation.judge_id == judge_id))
    return session.scalar(statement.where(Revocation.reviewer_id == reviewer_id))


def is_revoked(newest: Revocation | None) -> bool:
    return newest is not None and newest.act is RevocationAct.REVOKE


def hold_judge(session: Session, judge_id: int) -> JudgeRow:
    """The judge, and nobody stores or uses a suggestion of its until the transaction ends; call before pairs are held.

    A writer of suggestions refers to the judge's row and so waits for us, or we for it.
    """
    return session.get_one(JudgeRow, judge_id, with_for_update=True)


def hold_person(session: Session, person_id: int) -> Person:
    """The person, and none of their reviews is stored until the transaction ends; call before pairs are held."""
    return session.get_one(Person, person_id, with_for_update=True)


def add_revocation(
    session: Session,
    *,
    act: RevocationAct,
    reason: str,
    person_id: int,
    now: datetime,
    judge_id: int | None = None,
    reviewer_id: int | None = None,
) -> Revocation:
    """Appends who was revoked or given back, by whom and why."""
    row = Revocation(
        act=act, judge_id=judge_id, reviewer_id=reviewer_id, reason=reason, person_id=person_id, created_at=now
    )
    session.add(row)
    session.flush()
    return row


def why_suspended(revocation: Revocation, name: str) -> str:
    """The reason that suspensions by a revocation carry; `_SUSPENDED_BY` finds them again."""
    return f"revocation {revocation.id}: {name} is revoked: {revocation.reason}"


_SUSPENDED_BY = "revocation %"


# Judges


def set_judge_aside(session: Session, revocation: Revocation, judge: JudgeRow, *, now: datetime) -> Changed:
    """Takes every current suggestion of a judge out of use; its certificates are suspended, its open batches closed.

    A pair goes by the newest readable suggestion of another judge that is not revoked, an LLM's or a file's before one
    of retrieval signals, undecided as yet. Where there is none, what was decided about is rejected and waits for
    people; the rest is unlabelled.
    """
    changed = Changed(judge.criterion)
    batches = session.scalars(sa.select(Batch).where(Batch.judge_id == judge.id, is_open()).order_by(Batch.id)).all()
    reason = why_suspended(revocation, judge.name)
    void_batches(session, batches, reason=reason, now=now)
    changed.n_batches = len(batches)
    changed.certificates = list(session.scalars(_certificates_in_force().where(Certificate.judge_id == judge.id)))
    for pair_ids in _current_pairs(session, judge):
        _set_aside(session, revocation, judge, pair_ids, changed=changed, now=now)
    # Nothing is accepted under them any more, so this only appends the events.
    suspend_certificates(session, changed.certificates, reason=reason, now=now)
    return changed


def _certificates_in_force() -> sa.Select[Certificate]:
    in_force = sa.select(Certificate).where(Certificate.threshold.is_not(None), ~is_suspended())
    return in_force.order_by(Certificate.id)


def _current_pairs(session: Session, judge: JudgeRow) -> Iterator[list[int]]:
    """The pairs that go by a suggestion of the judge, some hundred at a time; they may change between two of them."""
    # The ids at once: asked for in parts, the join would be made anew for each.
    found = session.scalars(
        sa.select(PairState.pair_id)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .where(PairState.criterion == judge.criterion, Suggestion.judge_id == judge.id)
        .order_by(PairState.pair_id)
    ).all()
    for start in range(0, len(found), SOME):
        yield list(found[start : start + SOME])


def _set_aside(
    session: Session,
    revocation: Revocation,
    judge: JudgeRow,
    pair_ids: Sequence[int],
    *,
    changed: Changed,
    now: datetime,
) -> None:
    policies = {
        decided: ensure_policy(
            session,
            version=f"{POLICY}{revocation.id}{'' if decided else UNDECIDED}",
            kind=PolicyKind.BARE_THRESHOLD,
            criterion=judge.criterion,
            parameters={"revocation": revocation.id, "judge": judge.id},
            now=now,
        ).id
        for decided in (True, False)
    }
    states = locked_states(session, pair_ids=pair_ids, criterion=judge.criterion, now=now)
    mine = set(
        session.scalars(
            sa.select(Suggestion.id).where(Suggestion.pair_id.in_(pair_ids), Suggestion.judge_id == judge.id)
        )
    )
    fallbacks = list_fallbacks(session, pair_ids, criterion=judge.criterion)
    decisions: dict[int, Decision] = {}
    for pair_id, state in states.items():
        if state.suggestion_id is None or state.suggestion_id not in mine:
            continue  # another judge was put in its place between our look and our hold
        decisions[pair_id] = Decision(
            pair_id=pair_id,
            criterion=judge.criterion,
            suggestion_id=state.suggestion_id,
            policy_id=policies[state.outcome is not None],
            outcome=Outcome.REJECTED,
            why=f"the judge {judge.name} is revoked: {revocation.reason}",
            created_at=now,
        )
    session.add_all(decisions.values())
    session.flush()
    for pair_id, decision in decisions.items():
        state = states[pair_id]
        was_decided = state.outcome is not None
        fallback = fallbacks.get(pair_id)
        state.suggestion_id, state.updated_at = fallback, now
        if was_decided and fallback is None:
            state.decision_id, state.outcome = decision.id, Outcome.REJECTED
        else:
            state.decision_id, state.outcome = None, None
        if state.curated_source in _MACHINE:
            state.curated_grade, state.curated_source = None, None
        changed.n_pairs += 1
        changed.n_fallback += fallback is not None
        if was_decided and fallback is not None:
            changed.decided.append(pair_id)
    session.flush()


def list_fallbacks(session: Session, pair_ids: Collection[int], *, criterion: Criterion) -> dict[int, int]:
    """Pair -> the suggestion that it falls back to: the newest readable one of a judge that is not revoked, not stale.

    An LLM's, an ensemble's or a file's goes before one that was made from retrieval signals.
    """
    rows = session.execute(
        sa.select(Suggestion.pair_id, Suggestion.id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .join(Pair, Pair.id == Suggestion.pair_id)
        .where(
            Suggestion.pair_id.in_(list(pair_ids)),
            Suggestion.criterion == criterion,
            Suggestion.status == SuggestionStatus.OK,
            Suggestion.judge_id.not_in(revoked_judges()),
            ~is_stale(),
        )
        .order_by(Suggestion.pair_id, JudgeRow.kind.not_in(RETRIEVAL_ONLY), Suggestion.id)
    )
    return {pair_id: suggestion_id for pair_id, suggestion_id in rows}


def give_judge_back(session: Session, revocation: Revocation, judge: JudgeRow, *, now: datetime) -> Changed:
    """Makes current again what this revocation set aside, with what had been decided about it.

    Left as they are: pairs that have a suggestion made since, those that another judge's certificate or open batch
    holds, and those whose suggestion was itself set aside earlier and given back meanwhile, for it came first.
    """
    changed = Changed(judge.criterion)
    first = _came_first(session, revocation)
    for rows in _set_aside_by(session, revocation, judge.criterion):
        pair_ids = [pair_id for _, pair_id, _, _ in rows]
        states = locked_states(session, pair_ids=pair_ids, criterion=judge.criterion, now=now)
        held = held_pairs(session, pair_ids=pair_ids, criterion=judge.criterion)
        current = [state.suggestion_id for state in states.values() if state.suggestion_id is not None]
        newer = set(
            session.scalars(
                sa.select(Suggestion.id).where(
                    Suggestion.id.in_(current), Suggestion.created_at > revocation.created_at
                )
            )
        )
        stay = newer | _that_came_first(session, first, current)
        earlier = _earlier_decisions(session, [decision_id for decision_id, _, _, decided in rows if decided])
        given = []
        for decision_id, pair_id, suggestion_id, _ in rows:
            state = states[pair_id]
            if pair_id in held or state.suggestion_id in stay:
                continue
            state.suggestion_id = suggestion_id
            state.decision_id, state.outcome = earlier.get(decision_id, (None, None))
            given.append(pair_id)
        refresh_states(session, pair_ids=given, criterion=judge.criterion, now=now)
        changed.n_pairs += len(given)
    return changed


def _set_aside_by(
    session: Session, revocation: Revocation, criterion: Criterion
) -> Iterator[list[tuple[int, int, int, bool]]]:
    """(decision, pair, suggestion, whether it had been decided about) of all that a revocation set aside, in parts."""
    version = f"{POLICY}{revocation.id}"
    after = 0
    while True:
        rows = session.execute(
            sa.select(Decision.id, Decision.pair_id, Decision.suggestion_id, Policy.version == version)
            .join(Policy, Policy.id == Decision.policy_id)
            .where(
                Policy.version.in_([version, version + UNDECIDED]),
                Decision.criterion == criterion,
                Decision.id > after,
            )
            .order_by(Decision.id)
            .limit(SOME)
        ).all()
        if not rows:
            return
        yield [(row[0], row[1], row[2], bool(row[3])) for row in rows]
        after = rows[-1][0]


def _earlier_decisions(session: Session, decision_ids: Collection[int]) -> dict[int, tuple[int | None, Outcome | None]]:
    """A revocation's decision -> what had been decided last about the same suggestion before it."""
    before, policy = aliased(Decision), aliased(Policy)
    newest = (
        sa.select(Decision.id.label("after"), sa.func.max(before.id).label("before"))
        .join(before, sa.and_(before.pair_id == Decision.pair_id, before.suggestion_id == Decision.suggestion_id))
        .join(policy, policy.id == before.policy_id)
        .where(
            Decision.id.in_(list(decision_ids)),
            before.id < Decision.id,
            before.criterion == Decision.criterion,
            policy.version.not_like(f"{POLICY}%"),
        )
        .group_by(Decision.id)
        .subquery()
    )
    rows = session.execute(
        sa.select(newest.c.after, Decision.id, Decision.outcome).join(newest, newest.c.before == Decision.id)
    )
    return {after: (decision_id, outcome) for after, decision_id, outcome in rows}


def _came_first(session: Session, revocation: Revocation) -> list[str]:
    """Versions of the policies of revocations that held when this one began and were lifted since."""
    later = aliased(Revocation)
    lifted = (
        sa.select(sa.func.min(later.id))
        .where(
            later.judge_id == Revocation.judge_id,
            later.id > Revocation.id,
            later.act == RevocationAct.RESTORE,
        )
        .correlate(Revocation)
        .scalar_subquery()
    )
    found = session.scalars(
        sa.select(Revocation.id).where(
            Revocation.judge_id.is_not(None),
            Revocation.act == RevocationAct.REVOKE,
            Revocation.id < revocation.id,
            lifted > revocation.id,
        )
    )
    return [f"{POLICY}{number}{end}" for number in found for end in ("", UNDECIDED)]


def _that_came_first(session: Session, versions: Sequence[str], suggestion_ids: Collection[int]) -> set[int]:
    if not versions:
        return set()
    return set(
        session.scalars(
            sa.select(Decision.suggestion_id)
            .join(Policy, Policy.id == Decision.policy_id)
            .where(Policy.version.in_(versions), Decision.suggestion_id.in_(list(suggestion_ids)))
        )
    )


def stop_jobs(session: Session, judge_id: int, *, message: str) -> int:
    """Asks the judge's label jobs that are under way to stop; what they stored stays. Returns how many."""
    jobs = session.scalars(
        sa.select(LabelJob).where(LabelJob.judge_id == judge_id, LabelJob.finished_at.is_(None)).with_for_update()
    ).all()
    asked = [job for job in jobs if job.status.is_active and not job.cancel_requested]
    for job in asked:
        job.cancel_requested, job.message = True, message
    session.flush()
    return len(asked)


# People


def refresh_reviewed(session: Session, person_id: int, *, criterion: Criterion, now: datetime) -> int:
    """Computes anew what holds for every pair that a person has judged under a criterion; returns how many."""
    after, number = 0, 0
    while True:
        found = session.scalars(
            sa.select(Review.pair_id)
            .where(
                Review.person_id == person_id,
                Review.criterion == criterion,
                Review.action.in_(GRADING),
                Review.pair_id > after,
            )
            .distinct()
            .order_by(Review.pair_id)
            .limit(SOME)
        ).all()
        if not found:
            return number
        refresh_states(session, pair_ids=found, criterion=criterion, now=now)
        after, number = found[-1], number + len(found)


def suspend_audited_by(session: Session, revocation: Revocation, person: Person, *, now: datetime) -> list[Certificate]:
    """Suspends the certificates in force of which this person answered an audit; what they accepted waits for people.

    The bound was computed from n audits; without this person's there are fewer, and a sample is used once. Audits of
    batches that are still open wait for somebody else.
    """
    found = list(session.scalars(_certificates_in_force().where(_audited_by([person.id]))))
    suspend_certificates(session, found, reason=why_suspended(revocation, person.name), now=now)
    return found


def list_audited_by(session: Session, person_id: int) -> list[Certificate]:
    """The certificates in force of which this person answered an audit."""
    return list(session.scalars(_certificates_in_force().where(_audited_by([person_id]))))


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


def drop_leases(session: Session, person_id: int) -> None:
    """Gives the pairs that a person has open back to the others."""
    session.execute(sa.delete(Lease).where(Lease.person_id == person_id))


# Certificates that come back


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
    after = 0
    while True:
        rows = session.execute(
            sa.select(Decision.id, Decision.pair_id, Decision.policy_id)
            .where(Decision.certificate_id == certificate.id, Decision.id > after)
            .order_by(Decision.id)
            .limit(SOME)
        ).all()
        if not rows:
            return
        pair_ids = [row.pair_id for row in rows]
        states = locked_states(session, pair_ids=pair_ids, criterion=certificate.criterion, now=now)
        last = {
            decision.id: decision
            for decision in session.scalars(
                sa.select(Decision).where(
                    Decision.id.in_([one.decision_id for one in states.values() if one.decision_id is not None])
                )
            )
        }
        for decision_id, pair_id, policy_id in rows:
            state = states[pair_id]
            held = None if state.decision_id is None else last.get(state.decision_id)
            if held is not None and held.policy_id == policy_id:  # rejected because the certificate was suspended
                state.decision_id, state.outcome = decision_id, Outcome.ACCEPTED
        refresh_states(session, pair_ids=pair_ids, criterion=certificate.criterion, now=now)
        after = rows[-1].id


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


def used_criteria(session: Session, *, person_id: int) -> list[Criterion]:
    """The criteria under which a person has judged anything."""
    found = session.scalars(sa.select(Review.criterion).where(Review.person_id == person_id).distinct())
    return sorted(found)
