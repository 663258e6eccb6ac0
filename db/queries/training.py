"""Label sets, training runs and evaluations."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import LabelSource, RunStatus, Split
from db.models import (
    Candidate,
    Decision,
    Evaluation,
    JudgeRow,
    LabelSet,
    LabelSetItem,
    ModelVersion,
    Pair,
    PairState,
    Passage,
    Query,
    QueryCluster,
    Suggestion,
    TrainingPoint,
    TrainingRun,
)
from db.queries.audits import locked_pairs
from db.queries.calibrating import JUDGED_COLUMNS, JudgedRow, judged_row
from db.queries.definitions import is_stale
from db.queries.standing import revoked_judges

HUMAN = (LabelSource.HUMAN, LabelSource.ADJUDICATED)
Rows = sa.Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class CuratedLabel:
    """One grade of a train question; `query_key` and `passage_key` are the ids outside the database.

    Curated, but for the source PROPOSED, whose grade may be an expected one. `certified`: behind it is a certificate.
    """

    pair_id: int
    query_id: int
    query_key: str
    passage_key: str
    grade: float
    source: LabelSource
    suggestion_id: int | None
    decision_id: int | None
    review_id: int | None
    certified: bool = False
    weight: float | None = None


def _of_train(rows: Rows, *, pair_id: sa.ColumnElement[int], criterion: Criterion) -> Rows:
    """The rows whose pair is of the train split, with `query_id` and the ids from outside, by question and passage.

    Samples of open batches feed nothing.
    """
    return (
        rows.add_columns(
            Pair.query_id.label("train_query_id"),
            Query.external_id.label("query_key"),
            Passage.external_id.label("passage_key"),
        )
        .join(Pair, Pair.id == pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(QueryCluster.split == Split.TRAIN, pair_id.not_in(locked_pairs(criterion)))
        .order_by(Query.external_id, Passage.external_id)
    )


def list_curated(session: Session, *, criterion: Criterion) -> list[CuratedLabel]:
    """Every curated grade of the train split, by question and passage; samples of open batches feed nothing."""
    curated = (
        sa.select(
            PairState.pair_id,
            PairState.curated_grade,
            PairState.curated_source,
            PairState.suggestion_id,
            PairState.decision_id,
            PairState.review_id,
            Decision.certificate_id,
        )
        .select_from(PairState)
        .outerjoin(Decision, Decision.id == PairState.decision_id)
        .where(PairState.criterion == criterion, PairState.curated_grade.is_not(None))
    )
    rows = session.execute(_of_train(curated, pair_id=PairState.pair_id.expression, criterion=criterion))
    return [
        CuratedLabel(
            pair_id=row.pair_id,
            query_id=row.train_query_id,
            query_key=row.query_key,
            passage_key=row.passage_key,
            grade=row.curated_grade,
            source=row.curated_source,
            suggestion_id=row.suggestion_id,
            decision_id=row.decision_id,
            review_id=row.review_id,
            certified=row.certificate_id is not None,
        )
        for row in rows
        if row.curated_grade is not None and row.curated_source is not None
    ]


def list_proposed(session: Session, *, judge: str, criterion: Criterion) -> list[CuratedLabel]:
    """A judge's latest readable proposal for every pair of the train split, whatever was decided or audited.

    None of a judge that is revoked.
    """
    latest = (
        sa.select(sa.func.max(Suggestion.id))
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(
            JudgeRow.name == judge,
            Suggestion.criterion == criterion,
            Suggestion.grade.is_not(None),
            Suggestion.judge_id.not_in(revoked_judges()),
        )
        .group_by(Suggestion.pair_id)
    )
    proposed = (
        sa.select(Suggestion.pair_id, Suggestion.grade, Suggestion.id)
        .select_from(Suggestion)
        .where(Suggestion.id.in_(latest))
    )
    rows = session.execute(_of_train(proposed, pair_id=Suggestion.pair_id.expression, criterion=criterion))
    return [
        CuratedLabel(
            pair_id=row.pair_id,
            query_id=row.train_query_id,
            query_key=row.query_key,
            passage_key=row.passage_key,
            grade=row.grade,
            source=LabelSource.PROPOSED,
            suggestion_id=row.id,
            decision_id=None,
            review_id=None,
        )
        for row in rows
        if row.grade is not None
    ]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The readable current suggestion of a train pair."""

    judge_id: int
    row: JudgedRow
    query_key: str
    passage_key: str


def list_open_proposals(session: Session, *, criterion: Criterion) -> list[Proposal]:
    """Every proposal on the train split that was not accepted and not audited; samples of open batches feed nothing.

    Nor do stale ones: what a judge said under a definition that was given up is no target.
    """
    return _proposals(session, PairState.curated_grade.is_(None), ~is_stale(), criterion=criterion)


def list_accepted_proposals(session: Session, *, criterion: Criterion) -> list[Proposal]:
    """Every proposal on the train split that is its pair's label and that no person audited."""
    accepted = (PairState.curated_grade.is_not(None), PairState.review_id.is_(None))
    return _proposals(session, *accepted, criterion=criterion)


def _proposals(session: Session, *which: sa.ColumnElement[bool], criterion: Criterion) -> list[Proposal]:
    proposed = (
        sa.select(*JUDGED_COLUMNS, Suggestion.judge_id)
        .select_from(PairState)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(
            PairState.criterion == criterion,
            Suggestion.grade.is_not(None),
            *which,
        )
    )
    of_train = _of_train(proposed, pair_id=PairState.pair_id.expression, criterion=criterion)
    rows = session.execute(of_train.outerjoin(Candidate, Candidate.pair_id == Pair.id))
    return [Proposal(row.judge_id, judged_row(row), row.query_key, row.passage_key) for row in rows]


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One item of a label set with its texts."""

    query_key: str
    query: str
    passage_key: str
    title: str
    text: str
    grade: float
    weight: float
    rank: int | None
    source: LabelSource


def stream_items(session: Session, label_set_id: int) -> Iterator[LabelledText]:
    """The items of a label set with their texts and ranks in the pool, by question and passage."""
    rows = session.execute(
        sa.select(
            Query.external_id,
            Query.text,
            Passage.external_id,
            Passage.title,
            Passage.text,
            LabelSetItem.grade,
            LabelSetItem.weight,
            Candidate.rank,
            LabelSetItem.source,
        )
        .join(Pair, Pair.id == LabelSetItem.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .outerjoin(Candidate, Candidate.pair_id == LabelSetItem.pair_id)
        .where(LabelSetItem.label_set_id == label_set_id)
        .order_by(Query.external_id, Passage.external_id)
        .execution_options(yield_per=1_000)
    )
    for row in rows:
        yield LabelledText(*row)


def passage_texts(session: Session, external_ids: Collection[str]) -> dict[str, str]:
    """The full text, title before text, of each of these passages that exists, by its id from outside."""
    wanted = sorted(set(external_ids))
    found: dict[str, str] = {}
    for start in range(0, len(wanted), 500):
        rows = session.execute(
            sa.select(Passage.external_id, Passage.title, Passage.text).where(
                Passage.external_id.in_(wanted[start : start + 500])
            )
        )
        found.update((key, f"{title} {text}" if title else text) for key, title, text in rows)
    return found


def list_human_judgements(session: Session, *, split: Split, criterion: Criterion) -> list[tuple[str, str, str, int]]:
    """(query id, query text, passage id, grade), ids from outside, of what people judged in one split."""
    rows = session.execute(
        sa.select(Query.external_id, Query.text, Passage.external_id, PairState.curated_grade)
        .join(Pair, Pair.query_id == Query.id)
        .join(Passage, Passage.id == Pair.passage_id)
        .join(PairState, PairState.pair_id == Pair.id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(QueryCluster.split == split, PairState.criterion == criterion, PairState.curated_source.in_(HUMAN))
        .order_by(Query.external_id, Passage.external_id)
    )
    return [(query, text, passage, grade) for query, text, passage, grade in rows if grade is not None]


def list_trained_positives(session: Session, *, label_set_ids: list[int], relevant_from: int) -> set[str]:
    """Ids (from outside) of the passages that occur as a positive in any of these label sets, or whose text does."""
    texts = (
        sa.select(Passage.text_hash)
        .join(Pair, Pair.passage_id == Passage.id)
        .join(LabelSetItem, LabelSetItem.pair_id == Pair.id)
        .where(LabelSetItem.label_set_id.in_(label_set_ids), LabelSetItem.grade >= relevant_from)
    )
    return set(session.scalars(sa.select(Passage.external_id).where(Passage.text_hash.in_(texts))))


def count_looks(session: Session, *, split: Split, criterion: Criterion) -> int:
    """How often a candidate was compared on this split's judgements, few or many as they were then.

    New judgements do not make the questions new: counting only equal judgements would start over with every review.
    """
    return (
        session.scalar(
            sa.select(sa.func.count())
            .select_from(Evaluation)
            .where(
                Evaluation.split == split,
                Evaluation.criterion == criterion,
                Evaluation.baseline_model_id.is_not(None),
            )
        )
        or 0
    )


def latest_evaluation(session: Session, *, model_id: int, split: Split, criterion: Criterion) -> Evaluation | None:
    """The newest evaluation of a model on what people judged of a split by one criterion."""
    return session.scalar(
        sa.select(Evaluation)
        .where(Evaluation.model_version_id == model_id, Evaluation.split == split, Evaluation.criterion == criterion)
        .order_by(Evaluation.id.desc())
        .limit(1)
    )


def get_active_run(session: Session) -> TrainingRun | None:
    """The run that is queued or running; there is one at most."""
    return session.scalar(sa.select(TrainingRun).where(TrainingRun.active.is_(True)))


def get_run_of_model(session: Session, model_id: int) -> TrainingRun | None:
    """The newest run that made a model, by itself or as the encoder under the adapter that it was after."""
    return session.scalar(
        sa.select(TrainingRun).where(made_any_of([model_id])).order_by(TrainingRun.id.desc()).limit(1)
    )


def made_by_run() -> sa.ColumnElement[bool]:
    """For joins: a run's models, the one that it was after and the encoder under it."""
    return ModelVersion.id.in_([TrainingRun.model_version_id, TrainingRun.trained_encoder_id])


def made_any_of(model_ids: Collection[int]) -> sa.ColumnElement[bool]:
    """Whether a run made one of these models."""
    ids = list(model_ids)
    return sa.or_(TrainingRun.model_version_id.in_(ids), TrainingRun.trained_encoder_id.in_(ids))


def criterion_of_model(session: Session, model_id: int) -> Criterion:
    """What the labels are about that a model was trained on; relevance for one that no run made."""
    found = session.scalar(
        sa.select(LabelSet.criterion)
        .join(TrainingRun, TrainingRun.label_set_id == LabelSet.id)
        .where(made_any_of([model_id]))
        .order_by(TrainingRun.id.desc())
        .limit(1)
    )
    return found or Criterion.RELEVANCE


def acts_as(session: Session, model: ModelVersion) -> int:
    """The id of the model that this one ranks as: its base where its training kept nothing of what it learned."""
    run = get_run_of_model(session, model.id)
    return run.base_model_id if run is not None and run.report.get("keep") == 0 else model.id


def list_trained_sets(session: Session, *, criterion: Criterion, n_labels: int) -> list[int]:
    """Ids of the label sets of so many labels that a run came to its end on, newest first."""
    found = session.scalars(
        sa.select(LabelSet.id)
        .where(
            LabelSet.criterion == criterion,
            LabelSet.n_labels == n_labels,
            sa.exists().where(TrainingRun.label_set_id == LabelSet.id, TrainingRun.status == RunStatus.DONE),
        )
        .order_by(LabelSet.id.desc())
    )
    return list(found)


def list_items(session: Session, label_set_id: int) -> list[tuple[int, LabelSource, float]]:
    """(pair id, source, grade) of every item of a label set."""
    rows = session.execute(
        sa.select(LabelSetItem.pair_id, LabelSetItem.source, LabelSetItem.grade).where(
            LabelSetItem.label_set_id == label_set_id
        )
    )
    return [(pair_id, source, grade) for pair_id, source, grade in rows]


def label_sets_of(session: Session, model_ids: list[int]) -> list[int]:
    """Ids of the label sets that these models were trained on, or what they are built on: bases and encoders."""
    lineage: set[int] = set()
    left = list(model_ids)
    while left:
        model = session.get_one(ModelVersion, left.pop())
        if model.id not in lineage:
            lineage.add(model.id)
            left += [below for below in (model.base_id, model.encoder_id) if below is not None]
    return sorted(session.scalars(sa.select(TrainingRun.label_set_id).where(made_any_of(lineage)).distinct()))


def list_runs(session: Session, *, limit: int) -> list[TrainingRun]:
    """Runs, newest first."""
    return list(session.scalars(sa.select(TrainingRun).order_by(TrainingRun.id.desc()).limit(limit)))


def list_points(session: Session, run_id: int) -> list[TrainingPoint]:
    """The loss curve of a run, by step."""
    return list(
        session.scalars(sa.select(TrainingPoint).where(TrainingPoint.run_id == run_id).order_by(TrainingPoint.step))
    )
