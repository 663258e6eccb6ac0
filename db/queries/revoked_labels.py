"""Taking a judge's proposals out of use, and giving them back so that everything is as it was.

What a judge had proposed as the current suggestion of a pair is set aside by a decision under the revocation's own
policy, which remembers what was current; the pair falls back to what another judge proposed. All of it is done in the
database, for a judge may have proposed a grade for every pair there is. Who is revoked is in `revoking.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion, SuggestionStatus
from db.enums import Outcome, PolicyKind, RevocationAct
from db.models import (
    Batch,
    Certificate,
    Decision,
    JudgeRow,
    Pair,
    PairState,
    Policy,
    Revocation,
    Suggestion,
)
from db.queries.audits import is_open
from db.queries.certificates_back import certificates_in_force, why_suspended
from db.queries.deciding import ensure_policy
from db.queries.definitions import is_stale
from db.queries.many_states import MACHINE, change_states, curate_accepted, hold_states
from db.queries.self_labels import RETRIEVAL_ONLY
from db.queries.standing import load_suggestions, revoked_judges
from db.queries.states import SOME, set_suggestions
from db.queries.suspending import pairs_held, suspend_certificates, void_batches

POLICY = "revocation-"
"""How the version of the policy begins under which a revocation sets suggestions aside."""

UNDECIDED = "-undecided"
"""How it ends where nothing had been decided about the suggestion."""

_TOGETHER = 1_000
"""Pairs that are given back in one statement."""


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
    changed.certificates = list(session.scalars(certificates_in_force().where(Certificate.judge_id == judge.id)))
    _set_aside(session, revocation, judge, changed=changed, now=now)
    # Nothing is accepted under them any more, so this only appends the events.
    suspend_certificates(session, changed.certificates, reason=reason, now=now)
    return changed


def _set_aside(session: Session, revocation: Revocation, judge: JudgeRow, *, changed: Changed, now: datetime) -> None:
    criterion = judge.criterion
    decided, undecided = (
        ensure_policy(
            session,
            version=version,
            kind=PolicyKind.BARE_THRESHOLD,
            criterion=criterion,
            parameters={"revocation": revocation.id, "judge": judge.id},
            now=now,
        ).id
        for version in _versions(revocation.id)
    )
    mine = (
        sa.select(PairState.pair_id)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .where(PairState.criterion == criterion, Suggestion.judge_id == judge.id)
    )
    # Only fewer while we hold the judge: nobody makes a suggestion of its current.
    hold_states(session, mine, criterion=criterion)
    why = f"the judge {judge.name} is revoked: {revocation.reason}"
    columns = {
        Decision.pair_id: PairState.pair_id,
        Decision.criterion: PairState.criterion,
        Decision.suggestion_id: PairState.suggestion_id,
        Decision.policy_id: sa.case((PairState.outcome.is_not(None), decided), else_=undecided),
        Decision.outcome: sa.literal(Outcome.REJECTED, Decision.outcome.type),
        Decision.why: sa.literal(why, Decision.why.type),
        Decision.created_at: sa.literal(now, Decision.created_at.type),
    }
    session.execute(
        sa.insert(Decision).from_select(
            [column.key for column in columns],
            mine.with_only_columns(*columns.values()).order_by(PairState.pair_id),
        )
    )
    set_aside = sa.select(Decision.pair_id).where(Decision.policy_id.in_([decided, undecided]))
    machine = PairState.curated_source.in_(MACHINE)
    changed.n_pairs = change_states(
        session,
        sa.update(PairState)
        .where(PairState.criterion == criterion, PairState.pair_id.in_(set_aside))
        .values(
            suggestion_id=_fallback(criterion),
            decision_id=None,
            outcome=None,
            curated_grade=sa.case((machine, None), else_=PairState.curated_grade),
            curated_source=sa.case((machine, None), else_=PairState.curated_source),
            updated_at=now,
        ),
    )
    of_decided = sa.select(Decision.pair_id).where(Decision.policy_id == decided)
    alone = [PairState.criterion == criterion, PairState.suggestion_id.is_(None), PairState.pair_id.in_(of_decided)]
    rejection = (
        sa.select(Decision.id)
        .where(Decision.pair_id == PairState.pair_id, Decision.policy_id == decided)
        .correlate(PairState)
        .scalar_subquery()
    )
    change_states(session, sa.update(PairState).where(*alone).values(decision_id=rejection, outcome=Outcome.REJECTED))
    fallen = sa.select(PairState.pair_id).where(PairState.criterion == criterion, PairState.suggestion_id.is_not(None))
    changed.n_fallback = (
        session.scalar(
            fallen.where(PairState.pair_id.in_(set_aside)).with_only_columns(sa.func.count(PairState.pair_id))
        )
        or 0
    )
    changed.decided = list(session.scalars(fallen.where(PairState.pair_id.in_(of_decided)).order_by(PairState.pair_id)))


def _versions(revocation_id: int) -> tuple[str, str]:
    """The policies of a revocation: for what had been decided about, and for the rest."""
    return f"{POLICY}{revocation_id}", f"{POLICY}{revocation_id}{UNDECIDED}"


def _fallback(criterion: Criterion) -> sa.ScalarSelect[int]:
    """What the pair of `PairState` falls back to: the newest readable suggestion of a judge not revoked, not stale.

    An LLM's, an ensemble's or a file's goes before one that was made from retrieval signals.
    """
    return (
        sa.select(Suggestion.id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .join(Pair, Pair.id == Suggestion.pair_id)
        .where(
            Suggestion.pair_id == PairState.pair_id,
            Suggestion.criterion == criterion,
            Suggestion.status == SuggestionStatus.OK,
            Suggestion.judge_id.not_in(revoked_judges()),
            ~is_stale(),
        )
        .order_by(JudgeRow.kind.not_in(RETRIEVAL_ONLY).desc(), Suggestion.id.desc())
        .limit(1)
        .correlate(PairState)
        .scalar_subquery()
    )


def give_judge_back(session: Session, revocation: Revocation, judge: JudgeRow, *, now: datetime) -> Changed:
    """Makes current again what this revocation set aside, with what had been decided about it.

    What the judge proposed while it was revoked, calls that were under way, comes in where nothing else is current.
    Left as they are: pairs that have another judge's suggestion made since, those that another judge's certificate or
    open batch holds, and those whose suggestion was itself set aside earlier and given back meanwhile, for it came
    first.
    """
    changed = Changed(judge.criterion)
    changed.n_pairs = _give_back(session, revocation, judge, now=now)
    arrived = _list_arrived(session, judge)
    for start in range(0, len(arrived), SOME):
        suggestions = list(load_suggestions(session, arrived[start : start + SOME]).values())
        set_suggestions(session, suggestions, criterion=judge.criterion, now=now)
        changed.decided += [suggestion.pair_id for suggestion in suggestions]
    changed.n_pairs += len(arrived)
    return changed


def _give_back(session: Session, revocation: Revocation, judge: JudgeRow, *, now: datetime) -> int:
    criterion = judge.criterion
    decided, undecided = _versions(revocation.id)
    set_aside = (
        sa.select(Decision.pair_id)
        .join(Policy, Policy.id == Decision.policy_id)
        .where(Policy.version.in_([decided, undecided]), Decision.criterion == criterion)
    )
    hold_states(session, set_aside, criterion=criterion)
    stays, current = aliased(PairState), aliased(Suggestion)
    came_first = sa.select(Decision.suggestion_id).where(
        Decision.policy_id.in_(sa.select(Policy.id).where(Policy.version.in_(_came_first(session, revocation))))
    )
    # Chosen before anything is changed, for the choice looks at what is current.
    given = session.scalars(
        set_aside.join(stays, sa.and_(stays.pair_id == Decision.pair_id, stays.criterion == criterion))
        .outerjoin(current, current.id == stays.suggestion_id)
        .where(
            stays.pair_id.not_in(pairs_held(criterion)),
            sa.or_(
                current.id.is_(None),
                sa.and_(current.created_at <= revocation.created_at, current.id.not_in(came_first)),
            ),
        )
    ).all()
    for start in range(0, len(given), _TOGETHER):
        some = given[start : start + _TOGETHER]
        _restore_states(session, some, policies=(decided, undecided), criterion=criterion)
        curate_accepted(session, some, criterion=criterion, now=now)
    return len(given)


def _restore_states(
    session: Session, pair_ids: Sequence[int], *, policies: tuple[str, str], criterion: Criterion
) -> None:
    """Makes current what a revocation set aside, with the last decision about it that was no revocation's."""
    before, policy = aliased(Decision), aliased(Policy)
    by_revocation = sa.select(Policy.id).where(Policy.version.in_(policies), Policy.criterion == criterion)
    set_aside = sa.and_(Decision.pair_id == PairState.pair_id, Decision.policy_id.in_(by_revocation))
    earlier = (
        sa.select(before.id)
        .select_from(Decision)
        .join(Policy, Policy.id == Decision.policy_id)
        .join(before, sa.and_(before.suggestion_id == Decision.suggestion_id, before.pair_id == Decision.pair_id))
        .join(policy, policy.id == before.policy_id)
        .where(
            set_aside,
            Policy.version == policies[0],
            before.id < Decision.id,
            before.criterion == criterion,
            policy.version.not_like(f"{POLICY}%"),
        )
        .order_by(before.id.desc())
        .limit(1)
        .correlate(PairState)
    )
    suggestion = sa.select(Decision.suggestion_id).where(set_aside).correlate(PairState).scalar_subquery()
    change_states(
        session,
        sa.update(PairState)
        .where(PairState.pair_id.in_(pair_ids), PairState.criterion == criterion)
        .values(
            suggestion_id=suggestion,
            decision_id=earlier.scalar_subquery(),
            outcome=earlier.with_only_columns(before.outcome).scalar_subquery(),
        ),
    )


def _list_arrived(session: Session, judge: JudgeRow) -> list[int]:
    """The newest suggestions of a judge that are kept and current for no pair, of pairs that have no current one."""
    return list(
        session.scalars(
            sa.select(sa.func.max(Suggestion.id))
            .outerjoin(
                PairState,
                sa.and_(PairState.pair_id == Suggestion.pair_id, PairState.criterion == judge.criterion),
            )
            .where(
                Suggestion.judge_id == judge.id,
                Suggestion.criterion == judge.criterion,
                PairState.suggestion_id.is_(None),
            )
            .group_by(Suggestion.pair_id)
            .order_by(Suggestion.pair_id)
        )
    )


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
    return [version for number in found for version in _versions(number)]
