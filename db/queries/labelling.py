"""Judges, suggestions, decisions, and the ledger of pairs that got no reply."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, JudgeFailure, JudgeIdentity, Proposal
from db.enums import PolicyKind, Split
from db.models import (
    Decision,
    JudgeRow,
    LabelFailure,
    LabelJob,
    Pair,
    PairState,
    Policy,
    Query,
    QueryCluster,
    ReplyCacheEntry,
    Suggestion,
)
from db.queries.states import set_decision, set_suggestions


def ensure_judge(session: Session, identity: JudgeIdentity, *, now: datetime) -> JudgeRow:
    """The stored judge with this identity; any change of prompt or parameters is another judge."""
    parameters = dict(identity.parameters)
    parameters_hash = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    judge = session.scalar(
        sa.select(JudgeRow).where(
            JudgeRow.name == identity.name,
            JudgeRow.prompt_version == identity.prompt_version,
            JudgeRow.criterion == identity.criterion,
            JudgeRow.parameters_hash == parameters_hash,
        )
    )
    if judge is None:
        judge = JudgeRow(
            name=identity.name,
            kind=identity.kind,
            model=identity.model,
            prompt_version=identity.prompt_version,
            criterion=identity.criterion,
            certifiable=identity.certifiable,
            parameters=parameters,
            parameters_hash=parameters_hash,
            created_at=now,
        )
        session.add(judge)
        session.flush()
    return judge


def store_proposals(
    session: Session,
    proposals: Sequence[Proposal],
    *,
    judge: JudgeRow,
    job: LabelJob,
    definitions: dict[int, int | None],
    now: datetime,
) -> None:
    """Appends suggestions, each current for its pair from now on; `definitions`: the definition shown, by pair."""
    suggestions = [
        Suggestion(
            pair_id=proposal.pair_id,
            judge_id=judge.id,
            criterion=judge.criterion,
            job_id=job.id,
            definition_id=definitions.get(proposal.pair_id),
            status=proposal.status,
            grade=proposal.grade,
            grade_distribution=None if proposal.grade_distribution is None else list(proposal.grade_distribution),
            confidence=proposal.confidence,
            confidence_kind=proposal.confidence_kind,
            evidence_start=None if proposal.evidence is None else proposal.evidence.start,
            evidence_end=None if proposal.evidence is None else proposal.evidence.end,
            evidence_dropped=proposal.evidence_dropped,
            reason=_storable(proposal.reason),
            raw_reply=_storable(proposal.raw_reply),
            prompt_tokens=proposal.usage.prompt_tokens,
            completion_tokens=proposal.usage.completion_tokens,
            cost_usd=proposal.usage.cost_usd,
            reply_key=proposal.reply_key,
            context=None if proposal.context is None else dict(proposal.context),
            created_at=now,
        )
        for proposal in proposals
    ]
    session.add_all(suggestions)
    session.flush()
    set_suggestions(session, suggestions, criterion=judge.criterion, now=now)


def _storable(text: str) -> str:
    """The text without what no database takes (NUL, halves of surrogate pairs); the reply cache keeps the original."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def store_failures(
    session: Session, failures: Sequence[JudgeFailure], *, judge: JudgeRow, job: LabelJob, now: datetime
) -> None:
    """Appends pairs that got no reply to the ledger."""
    session.add_all(
        LabelFailure(
            job_id=job.id,
            judge_id=judge.id,
            pair_id=failure.pair_id,
            reason=_storable(failure.reason),
            retryable=failure.retryable,
            created_at=now,
        )
        for failure in failures
    )
    session.flush()


def get_reply(session: Session, key: str) -> ReplyCacheEntry | None:
    """The reply stored under a key, or None."""
    return session.get(ReplyCacheEntry, key)


def ensure_policy(
    session: Session,
    *,
    version: str,
    kind: PolicyKind,
    criterion: Criterion,
    parameters: dict[str, object],
    now: datetime,
) -> Policy:
    """The stored policy of that version."""
    policy = session.scalar(sa.select(Policy).where(Policy.version == version, Policy.criterion == criterion))
    if policy is None:
        policy = Policy(version=version, kind=kind, criterion=criterion, parameters=parameters, created_at=now)
        session.add(policy)
        session.flush()
    return policy


@dataclass(frozen=True, slots=True)
class Undecided:
    """A pair's current suggestion on which this policy has not decided."""

    state: PairState
    suggestion: Suggestion


def list_undecided(session: Session, *, policy_id: int, criterion: Criterion, limit: int) -> list[Undecided]:
    """Current suggestions whose latest decision is not this policy's; their states are held by this transaction.

    Those for calibrate and held-out questions are left alone: nothing is accepted there, people judge them blind.
    """
    rows = session.execute(
        sa.select(PairState, Suggestion)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Decision, Decision.id == PairState.decision_id)
        .where(
            PairState.criterion == criterion,
            sa.or_(QueryCluster.split.is_(None), QueryCluster.split == Split.TRAIN),
            sa.or_(Decision.id.is_(None), Decision.policy_id != policy_id),
        )
        .order_by(PairState.pair_id)
        .limit(limit)
        .with_for_update(of=PairState)
    )
    return [Undecided(state, suggestion) for state, suggestion in rows]


def store_decisions(session: Session, decided: Sequence[tuple[Undecided, Decision]], *, now: datetime) -> None:
    """Appends decisions and brings their pairs up to date."""
    session.add_all(decision for _, decision in decided)
    session.flush()
    for undecided, decision in decided:
        set_decision(undecided.state, decision, undecided.suggestion, now=now)
    session.flush()
