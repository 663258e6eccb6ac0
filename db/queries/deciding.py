"""What is decided about suggestions: policies, decisions, and the suggestions that a policy has not decided on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from annotator.types import ConfidenceKind, Criterion, JudgeKind, SuggestionStatus
from db.enums import Outcome, PolicyKind, Split
from db.models import Decision, JudgeRow, Pair, PairState, Policy, Query, QueryCluster, Suggestion
from db.queries.audits import locked_pairs
from db.queries.definitions import is_stale
from db.queries.many_states import change_states, curate_accepted


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
        try:
            with session.begin_nested():
                session.add(policy)
        except IntegrityError:  # another process stored it a moment ago
            policy = session.scalars(
                sa.select(Policy).where(Policy.version == version, Policy.criterion == criterion)
            ).one()
    return policy


@dataclass(frozen=True, slots=True)
class Undecided:
    """A pair's current suggestion on which this policy has not decided: what a policy looks at, and no text."""

    pair_id: int
    suggestion_id: int
    status: SuggestionStatus
    grade: int | None
    confidence: float | None
    confidence_kind: ConfidenceKind | None
    evidence_dropped: bool


@dataclass(frozen=True, slots=True)
class Decided:
    """What a policy says of a suggestion, and why."""

    pair_id: int
    suggestion_id: int
    outcome: Outcome
    why: str


def list_undecided(
    session: Session,
    *,
    policy_id: int,
    criterion: Criterion,
    limit: int,
    after: int = 0,
    within: Collection[int] | None = None,
) -> list[Undecided]:
    """Current suggestions whose latest decision is not this policy's; their states are held by this transaction.

    By pair; with `after` those of pairs above that id, for a walk, and with `within` only those of these pairs.

    Left alone are those for calibrate and held-out questions, which people judge blind, those in the sample of an open
    batch, and those about which a certified policy decided: what a certificate accepted or rejected, no other policy
    decides anew while the suggestion is the same. So are the retriever's, which nothing but a certificate accepts, and
    stale ones, which wait for their judge to see the definition that holds now.
    """
    only = [] if within is None else [PairState.pair_id.in_(list(within))]
    rows = session.execute(
        sa.select(
            PairState.pair_id,
            Suggestion.id,
            Suggestion.status,
            Suggestion.grade,
            Suggestion.confidence,
            Suggestion.confidence_kind,
            Suggestion.evidence_dropped,
        )
        .select_from(PairState)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Decision, Decision.id == PairState.decision_id)
        .outerjoin(Policy, Policy.id == Decision.policy_id)
        .where(
            *only,
            PairState.criterion == criterion,
            PairState.pair_id > after,
            sa.or_(QueryCluster.split.is_(None), QueryCluster.split == Split.TRAIN),
            sa.or_(
                Decision.id.is_(None),
                sa.and_(Decision.policy_id != policy_id, Policy.kind != PolicyKind.CERTIFIED),
            ),
            PairState.pair_id.not_in(locked_pairs(criterion)),
            JudgeRow.kind != JudgeKind.RETRIEVER,
            ~is_stale(),
        )
        .order_by(PairState.pair_id)
        .limit(limit)
        .with_for_update(of=PairState)
    )
    return [Undecided(*row) for row in rows]


def sent_back(session: Session, *, pair_ids: Sequence[int], criterion: Criterion) -> set[int]:
    """Those of the pairs about which a certificate decided before, under whichever judge: people have them since."""
    rows = session.scalars(
        sa.select(Decision.pair_id)
        .join(Policy, Policy.id == Decision.policy_id)
        .where(
            Decision.criterion == criterion, Policy.kind == PolicyKind.CERTIFIED, Decision.pair_id.in_(list(pair_ids))
        )
        .distinct()
    )
    return set(rows)


def store_decisions(
    session: Session, decided: Sequence[Decided], *, policy_id: int, criterion: Criterion, now: datetime
) -> None:
    """Appends what a policy decided and brings the pairs up to date; their states are held by this transaction.

    A person's grade stays above what is accepted.
    """
    if not decided:
        return
    session.execute(
        sa.insert(Decision),
        [
            {
                "pair_id": one.pair_id,
                "criterion": criterion,
                "suggestion_id": one.suggestion_id,
                "policy_id": policy_id,
                "outcome": one.outcome,
                "why": one.why,
                "created_at": now,
            }
            for one in decided
        ],
    )
    pair_ids = [one.pair_id for one in decided]
    last = (
        sa.select(Decision.id)
        .where(Decision.pair_id == PairState.pair_id, Decision.policy_id == policy_id, Decision.criterion == criterion)
        .order_by(Decision.id.desc())
        .limit(1)
        .correlate(PairState)
    )
    change_states(
        session,
        sa.update(PairState)
        .where(PairState.pair_id.in_(pair_ids), PairState.criterion == criterion)
        .values(decision_id=last.scalar_subquery(), outcome=last.with_only_columns(Decision.outcome).scalar_subquery()),
    )
    curate_accepted(session, pair_ids, criterion=criterion, now=now)
