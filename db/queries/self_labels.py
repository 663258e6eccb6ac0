"""What the retriever can learn its own labels from, what is left for it to propose, and which tier labelled what."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, JudgeKind, Scale
from db.enums import LabelSource, Split, Visibility
from db.models import (
    Batch,
    Calibrator,
    Candidate,
    Certificate,
    JudgeRow,
    ModelVersion,
    Pair,
    PairState,
    Passage,
    Promotion,
    Query,
    QueryCluster,
    Review,
    Suggestion,
)
from db.queries.audits import is_open, is_suspended, locked_pairs, open_batch_pairs
from db.queries.calibrating import is_of_scale, rests_on_revoked
from db.queries.counters import count_candidates, list_groups
from db.queries.standing import GRADING, locked_states, standing_reviews
from db.queries.suspending import suspend_certificates, void_batches

PEOPLE = (LabelSource.ADJUDICATED, LabelSource.HUMAN)
RETRIEVAL_ONLY = (JudgeKind.RETRIEVER, JudgeKind.LOCAL)
"""Judges whose current suggestion the retriever may replace: what an LLM or a file said stays above it."""


@dataclass(frozen=True, slots=True)
class PairToScore:
    """A pair as the retriever needs it; `passage` is the passage's id from outside, `cluster_id` the query's family."""

    pair_id: int
    query_id: int
    cluster_id: int
    query: str
    passage: str


_COLUMNS = (Pair.id, Pair.query_id, Query.cluster_id, Query.text, Passage.external_id)


def list_blind_grades(session: Session, *, criterion: Criterion) -> list[tuple[PairToScore, int]]:
    """Pairs of calibrate questions with the latest grade a person gave blind, by pair; none of an open sample."""
    blind = (
        standing_reviews(criterion)
        .where(Review.visibility == Visibility.BLIND, Review.action.in_(GRADING))
        .with_only_columns(Review.pair_id, sa.func.max(Review.id).label("id"))
        .group_by(Review.pair_id)
        .subquery()
    )
    rows = session.execute(
        sa.select(*_COLUMNS, Review.grade)
        .select_from(blind)
        .join(Review, Review.id == blind.c.id)
        .join(Pair, Pair.id == blind.c.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .where(QueryCluster.split == Split.CALIBRATE, Pair.id.not_in(locked_pairs(criterion)))
        .order_by(Pair.id)
    )
    return [(PairToScore(*row[:-1]), int(row.grade)) for row in rows]


def _to_propose(judge_id: int, criterion: Criterion) -> sa.Select[Pair]:
    current = sa.select(Suggestion.id).join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
    return (
        sa.select(Pair)
        .join(Candidate, Candidate.pair_id == Pair.id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(PairState, sa.and_(PairState.pair_id == Pair.id, PairState.criterion == criterion))
        .where(
            QueryCluster.split == Split.TRAIN,
            PairState.review_id.is_(None),
            sa.or_(PairState.curated_source.is_(None), PairState.curated_source != LabelSource.SELF),
            sa.or_(
                PairState.suggestion_id.is_(None),
                PairState.suggestion_id.in_(current.where(JudgeRow.kind.in_(RETRIEVAL_ONLY))),
            ),
            ~sa.exists().where(
                Suggestion.pair_id == Pair.id, Suggestion.judge_id == judge_id, Suggestion.criterion == criterion
            ),
            Pair.id.not_in(open_batch_pairs(criterion)),
        )
    )


def count_to_propose(session: Session, *, judge_id: int, criterion: Criterion) -> int:
    """How many pairs `list_to_propose` would walk over."""
    return session.scalar(_to_propose(judge_id, criterion).with_only_columns(sa.func.count())) or 0


def list_to_propose(
    session: Session, *, judge_id: int, criterion: Criterion, after: tuple[int, int], limit: int
) -> list[PairToScore]:
    """The next train candidates for the retriever, by query, then pair; for a walk, pass the last one's ids as `after`.

    Not those that people judged, that an LLM or a file proposed a grade for, that an open batch holds, that carry a
    certified self-label, or that this judge has seen.
    """
    query_id, pair_id = after
    rows = session.execute(
        _to_propose(judge_id, criterion)
        .with_only_columns(*_COLUMNS)
        .join(Passage, Passage.id == Pair.passage_id)
        .where(sa.or_(Pair.query_id > query_id, sa.and_(Pair.query_id == query_id, Pair.id > pair_id)))
        .order_by(Pair.query_id, Pair.id)
        .limit(limit)
    )
    return [PairToScore(*row) for row in rows]


def still_to_propose(
    session: Session, pair_ids: Collection[int], *, judge_id: int, criterion: Criterion, now: datetime
) -> set[int]:
    """Those of the pairs that still wait for the retriever, their states held until the transaction ends.

    While it computed, a person, an LLM or a freeze may have come first, and they stay above it.
    """
    locked_states(session, pair_ids=pair_ids, criterion=criterion, now=now)
    session.flush()
    wanted = sorted(pair_ids)
    return {
        pair_id
        for start in range(0, len(wanted), 500)
        for pair_id in session.scalars(
            _to_propose(judge_id, criterion).with_only_columns(Pair.id).where(Pair.id.in_(wanted[start : start + 500]))
        )
    }


def get_model_before(session: Session, *, model_id: int) -> ModelVersion | None:
    """The model that was live before this one last became so; None for the first."""
    return session.scalar(
        sa.select(ModelVersion)
        .join(Promotion, Promotion.previous_model_id == ModelVersion.id)
        .where(Promotion.model_version_id == model_id)
        .order_by(Promotion.id.desc())
        .limit(1)
    )


@dataclass(frozen=True, slots=True)
class TierCounts:
    """Train candidates by who labelled them: the retriever and the LLM under a certificate, an LLM without one, people,
    nobody. They add up to `total`.

    self_relevant: of the retriever's, those on the relevant side.
    """

    retriever: int
    self_relevant: int
    llm_certified: int
    llm_uncertified: int
    people: int
    nobody: int

    @property
    def total(self) -> int:
        return self.retriever + self.llm_certified + self.llm_uncertified + self.people + self.nobody


def count_tiers(session: Session, *, criterion: Criterion, relevant_from: int) -> TierCounts:
    """Who labelled the train candidates, as things stand; from the kept counts, however many pairs there are."""
    groups = [
        group
        for group in list_groups(session, criterion=criterion)
        if group.split is Split.TRAIN and group.candidate and group.curated_source is not None
    ]

    def count(*sources: LabelSource, certified: bool | None = None) -> int:
        return sum(
            group.n for group in groups if group.curated_source in sources and certified in (None, group.certified)
        )

    return TierCounts(
        count(LabelSource.SELF),
        sum(
            group.n
            for group in groups
            if group.curated_source is LabelSource.SELF and (group.curated_grade or 0) >= relevant_from
        ),
        count(LabelSource.ACCEPTED, certified=True),
        count(LabelSource.ACCEPTED, certified=False),
        count(*PEOPLE),
        count_candidates(session).get(Split.TRAIN, 0) - sum(group.n for group in groups),
    )


def suspend_self_labels(session: Session, *, reason: str, now: datetime) -> int:
    """Takes the retriever's certificates out of force and closes its open batches; returns how many pairs went back.

    To be called when another model goes live: what was certified rests on the features of the one before.
    """
    of_retriever = JudgeRow.kind == JudgeKind.RETRIEVER
    certificates = session.scalars(
        sa.select(Certificate)
        .join(JudgeRow, JudgeRow.id == Certificate.judge_id)
        .where(of_retriever, Certificate.threshold.is_not(None), ~is_suspended())
        .order_by(Certificate.id)
    ).all()
    batches = session.scalars(
        sa.select(Batch).join(JudgeRow, JudgeRow.id == Batch.judge_id).where(of_retriever, is_open()).order_by(Batch.id)
    ).all()
    void_batches(session, batches, reason=reason, now=now)
    return suspend_certificates(session, certificates, reason=reason, now=now)


def get_retriever_calibrator(
    session: Session, *, model_hash: str, criterion: Criterion, scale: Scale
) -> Calibrator | None:
    """The newest calibrator of a retriever judge of that live model and scale, with its classifier; None before it."""
    rows = session.execute(
        sa.select(Calibrator, JudgeRow)
        .join(JudgeRow, JudgeRow.id == Calibrator.judge_id)
        .where(JudgeRow.kind == JudgeKind.RETRIEVER, Calibrator.criterion == criterion)
        .order_by(Calibrator.id.desc())
    )
    of_model = (found for found, judge in rows if judge.parameters.get("model_hash") == model_hash)
    return next(
        (found for found in of_model if is_of_scale(found, scale) and not rests_on_revoked(session, found)), None
    )


def has_calibrator(session: Session, *, judge_id: int) -> bool:
    """Whether a calibrator of that judge is stored."""
    return session.scalar(sa.select(Calibrator.id).where(Calibrator.judge_id == judge_id).limit(1)) is not None


def count_human_cost(session: Session, *, criterion: Criterion) -> int:
    """Judgements of people that the retriever's certified labels rest on: audits, and what its classifiers learnt from.

    Only of judges with a certificate in force; a calibrator that several batches share counts once.
    """
    in_force = (
        sa.select(Certificate.batch_id)
        .join(JudgeRow, JudgeRow.id == Certificate.judge_id)
        .where(
            Certificate.criterion == criterion,
            JudgeRow.kind == JudgeKind.RETRIEVER,
            Certificate.threshold.is_not(None),
            ~is_suspended(),
        )
    )
    batches = session.scalars(sa.select(Batch).where(Batch.id.in_(in_force))).all()
    fitted = session.scalars(
        sa.select(Calibrator).where(Calibrator.id.in_(sorted({batch.calibrator_id for batch in batches})))
    ).all()
    return sum(batch.n_audits for batch in batches) + sum(one.n_reviews for one in fitted)
