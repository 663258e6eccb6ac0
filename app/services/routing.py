"""Deciding which of the judges' proposals are accepted, and computing the audit queue; resumes where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from annotator.routing import BareThreshold, Decision
from annotator.types import Criterion, Proposal, Usage
from app.bootstrap import Workspace
from app.services.indexing import Progress
from app.services.queue_order import rebuild
from db.enums import Outcome, PolicyKind
from db.queries import deciding
from db.queries.deciding import Decided, Undecided
from db.queries.suspending import hold_scale

_DECIDE_EVERY = 1_000
SENT_BACK = Decision(Outcome.REJECTED, "a certificate left this pair to people; a bare threshold does not take it back")


@dataclass(frozen=True, slots=True)
class RouteReport:
    """What the policy decided now, and how many pairs wait in the audit queue."""

    accepted: int
    rejected: int
    waiting: int


def bare_policy(workspace: Workspace) -> BareThreshold:
    """The uncertified policy of the workspace's settings."""
    settings = workspace.settings
    return BareThreshold(threshold_relevant=settings.accept_relevant, threshold_irrelevant=settings.accept_irrelevant)


def route(
    workspace: Workspace,
    *,
    policy: BareThreshold | None = None,
    criterion: Criterion = Criterion.RELEVANCE,
    on_progress: Progress | None = None,
) -> RouteReport:
    """Decides on every current suggestion this policy has not seen, then computes the audit queue anew.

    The bare threshold keeps no error bound; what it accepts is shown as uncertified. It accepts nothing about which a
    certificate decided before, whichever judge speaks now: that is for people, or for a new certificate.
    """
    hold_scale(workspace.sessions, workspace.scale, workspace.now())
    policy = policy or bare_policy(workspace)
    counts = {Outcome.ACCEPTED: 0, Outcome.REJECTED: 0}
    with workspace.sessions.begin() as session:
        policy_id = _stored(workspace, session, policy, criterion=criterion)
    after = 0
    while True:
        with workspace.sessions.begin() as session:
            undecided = deciding.list_undecided(
                session, policy_id=policy_id, criterion=criterion, limit=_DECIDE_EVERY, after=after
            )
            _decide(workspace, session, undecided, policy, policy_id=policy_id, criterion=criterion, counts=counts)
        if on_progress is not None:
            on_progress(sum(counts.values()), sum(counts.values()))
        if len(undecided) < _DECIDE_EVERY:
            break
        after = undecided[-1].pair_id
    waiting = rebuild(workspace, criterion=criterion)
    return RouteReport(accepted=counts[Outcome.ACCEPTED], rejected=counts[Outcome.REJECTED], waiting=waiting)


def route_pairs(workspace: Workspace, session: Session, pair_ids: Sequence[int], *, criterion: Criterion) -> int:
    """Decides on these pairs' current suggestions alone, as `route` would, in the caller's transaction.

    Returns how many are accepted. The audit queue stays as it is.
    """
    policy = bare_policy(workspace)
    policy_id = _stored(workspace, session, policy, criterion=criterion)
    counts = {Outcome.ACCEPTED: 0, Outcome.REJECTED: 0}
    for start in range(0, len(pair_ids), _DECIDE_EVERY):
        some = pair_ids[start : start + _DECIDE_EVERY]
        undecided = deciding.list_undecided(
            session, policy_id=policy_id, criterion=criterion, limit=len(some), within=some
        )
        _decide(workspace, session, undecided, policy, policy_id=policy_id, criterion=criterion, counts=counts)
    return counts[Outcome.ACCEPTED]


def _stored(workspace: Workspace, session: Session, policy: BareThreshold, *, criterion: Criterion) -> int:
    return deciding.ensure_policy(
        session,
        version=policy.version,
        kind=PolicyKind.BARE_THRESHOLD,
        criterion=criterion,
        parameters=dict(policy.parameters),
        now=workspace.now(),
    ).id


def _decide(
    workspace: Workspace,
    session: Session,
    undecided: Sequence[Undecided],
    policy: BareThreshold,
    *,
    policy_id: int,
    criterion: Criterion,
    counts: dict[Outcome, int],
) -> None:
    returned = deciding.sent_back(session, pair_ids=[item.pair_id for item in undecided], criterion=criterion)
    decided = []
    for item in undecided:
        verdict = SENT_BACK if item.pair_id in returned else policy.decide(_proposal(item), workspace.scale)
        counts[verdict.outcome] += 1
        decided.append(Decided(item.pair_id, item.suggestion_id, verdict.outcome, verdict.why))
    deciding.store_decisions(session, decided, policy_id=policy_id, criterion=criterion, now=workspace.now())


def _proposal(item: Undecided) -> Proposal:
    """A stored suggestion as the policy sees it, which reads no text."""
    return Proposal(
        pair_id=item.pair_id,
        status=item.status,
        grade=item.grade,
        grade_distribution=None,
        confidence=item.confidence,
        confidence_kind=item.confidence_kind,
        evidence=None,
        evidence_dropped=item.evidence_dropped,
        reason="",
        raw_reply="",
        usage=Usage(),
    )
