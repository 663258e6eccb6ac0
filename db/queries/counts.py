"""How many of everything: the funnel, the splits, who graded; from what is kept (`counters.py`) where that knows it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from db.enums import LabelSource, Outcome, RunStatus, Split
from db.models import (
    Decision,
    JudgeRow,
    LabelSet,
    Pair,
    PairState,
    Passage,
    Person,
    Query,
    QueryCluster,
    Review,
    TrainingRun,
)
from db.queries.audits import PEOPLE_ONLY, locked_pairs
from db.queries.counters import PairGroup, count_candidates, count_where


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Train pairs by what happened to them: put up for judging, and what became of those a judge proposed for.

    Train: neither calibrate nor held-out; pairs of questions without a split count, pooling gives them one.
    """

    candidates: int
    proposed: int
    unreadable: int
    accepted: int
    rejected: int
    audited: int
    curated: int


@dataclass(frozen=True, slots=True)
class GradedCandidates:
    """Of the candidates of one split that people judge blind: how many they graded."""

    graded: int
    candidates: int


def count_pairs(session: Session, *, groups: list[PairGroup]) -> PairCounts:
    """The funnel's numbers. What judges propose for calibrate and held-out queries is never routed, and not counted."""
    train = [group for group in groups if group.split not in PEOPLE_ONLY]
    proposed = [group for group in train if group.status is not None]
    candidates = count_candidates(session)
    return PairCounts(
        candidates=sum(n for split, n in candidates.items() if split not in PEOPLE_ONLY),
        proposed=sum(group.n for group in proposed),
        unreadable=count_where(proposed, lambda group: group.status is SuggestionStatus.UNREADABLE),
        accepted=count_where(train, lambda group: group.outcome is Outcome.ACCEPTED),
        rejected=count_where(train, lambda group: group.outcome is Outcome.REJECTED),
        audited=count_where(proposed, lambda group: group.person_id is not None),
        curated=count_where(proposed, lambda group: group.curated_source is not None),
    )


def count_graded_candidates(session: Session, *, groups: list[PairGroup]) -> dict[Split, GradedCandidates]:
    """Of the calibrate and of the held-out questions: how many candidates there are, and how many people graded."""
    candidates = count_candidates(session)
    return {
        split: GradedCandidates(
            graded=sum(g.n for g in groups if g.split is split and g.candidate and g.person_id is not None),
            candidates=candidates.get(split, 0),
        )
        for split in PEOPLE_ONLY
    }


def has_relevant_judgement(session: Session, *, split: Split, criterion: Criterion, relevant_from: int) -> bool:
    """Whether people graded any passage of this split's questions as relevant, without which nothing is measured."""
    return bool(
        session.scalar(
            sa.select(
                sa.exists().where(
                    PairState.criterion == criterion,
                    PairState.review_id.is_not(None),
                    PairState.curated_grade >= relevant_from,
                    Pair.id == PairState.pair_id,
                    Query.id == Pair.query_id,
                    QueryCluster.id == Query.cluster_id,
                    QueryCluster.split == split,
                )
            )
        )
    )


def count_uncertified(groups: list[PairGroup]) -> int:
    """Accepted suggestions that no certificate stands behind."""
    return count_where(groups, lambda group: group.outcome is Outcome.ACCEPTED and not group.certified)


def count_uncertified_curated(session: Session, *, criterion: Criterion, split: Split | None = None) -> int:
    """Curated grades that rest on an accepted suggestion behind which no certificate stands."""
    found = (
        sa.select(sa.func.count())
        .select_from(PairState)
        .join(Decision, Decision.id == PairState.decision_id)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(
            PairState.criterion == criterion,
            PairState.curated_source == LabelSource.ACCEPTED,
            Decision.certificate_id.is_(None),
            PairState.pair_id.not_in(locked_pairs(criterion)),
        )
    )
    return session.scalar(found if split is None else found.where(QueryCluster.split == split)) or 0


def count_standing_by_person(session: Session, *, groups: list[PairGroup]) -> dict[str, int]:
    """Pairs by the person whose grade stands, most first."""
    by_person: dict[int, int] = defaultdict(int)
    for group in groups:
        if group.person_id is not None:
            by_person[group.person_id] += group.n
    people = session.execute(sa.select(Person.id, Person.name))
    found = {name: by_person[person_id] for person_id, name in people if by_person.get(person_id)}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def is_newer_than_training(session: Session, *, criterion: Criterion) -> bool:
    """Whether anybody judged or any policy decided since the labels of the newest finished run were frozen."""
    frozen = session.scalar(
        sa.select(sa.func.max(LabelSet.created_at))
        .join(TrainingRun, TrainingRun.label_set_id == LabelSet.id)
        .where(LabelSet.criterion == criterion, TrainingRun.status == RunStatus.DONE)
    )
    if frozen is None:
        return True
    newest = (
        session.scalar(sa.select(model.created_at).order_by(model.id.desc()).limit(1)) for model in (Review, Decision)
    )
    return any(at is not None and at > frozen for at in newest)


def count_queries(session: Session) -> dict[str, int]:
    """Queries by split; those without one under "none"."""
    rows = session.execute(
        sa.select(QueryCluster.split, sa.func.count(Query.id))
        .join(Query, Query.cluster_id == QueryCluster.id)
        .group_by(QueryCluster.split)
    )
    return {"none" if split is None else str(split): count for split, count in rows}


def count_passages(session: Session) -> int:
    """How many passages the workspace holds."""
    return session.scalar(sa.select(sa.func.count()).select_from(Passage)) or 0


def list_active_judges(session: Session, *, groups: list[PairGroup]) -> list[JudgeRow]:
    """The judges behind the current suggestions."""
    ids = {group.judge_id for group in groups if group.judge_id is not None}
    return list(session.scalars(sa.select(JudgeRow).where(JudgeRow.id.in_(ids)).order_by(JudgeRow.name)))
