"""From a label set to who made its labels, and back from a judge, a person or a pair to the sets and models.

Everything is counted in the database, and lists are read a page at a time. A label's author is the person whose review
it is where its source is a person, else the judge of its suggestion. Pairs that people judge blind give nothing away:
their rows are masked by the caller, and no list narrowed to a source or an author has them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from db.enums import LabelSource, Outcome, Split, Visibility
from db.models import (
    Batch,
    Calibrator,
    Certificate,
    Decision,
    JudgeRow,
    LabelJob,
    LabelSet,
    LabelSetItem,
    ModelVersion,
    Pair,
    PairState,
    Passage,
    Person,
    Query,
    QueryCluster,
    Review,
    Revocation,
    Suggestion,
    TrainingRun,
)
from db.queries.audits import is_concealed, is_open, is_suspended, locked_pairs
from db.queries.definitions import is_stale
from db.queries.standing import GRADING, revoked_judges, revoked_people, standing_reviews
from db.queries.training import made_by_run

PEOPLE = (LabelSource.HUMAN, LabelSource.ADJUDICATED)
_by_people = LabelSetItem.source.in_(PEOPLE)
_number = sa.func.count()
_weight = sa.func.coalesce(sa.func.sum(LabelSetItem.weight), 0.0)


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


# From a label set to its authors


def count_by_source(session: Session, label_set_id: int) -> list[tuple[LabelSource, int, float]]:
    """(source, labels, their weight) of a label set, most first."""
    rows = session.execute(
        sa.select(LabelSetItem.source, _number, _weight)
        .where(LabelSetItem.label_set_id == label_set_id)
        .group_by(LabelSetItem.source)
        .order_by(_number.desc())
    )
    return [(source, int(n), float(weight)) for source, n, weight in rows]


@dataclass(frozen=True, slots=True)
class AuthorCount:
    """One author's part of a label set. n_certified: of a judge's, under a certificate; n_blind: of a person's."""

    judge_id: int | None
    person_id: int | None
    name: str
    prompt_version: str
    n_labels: int
    weight: float
    n_certified: int
    n_blind: int
    revoked: bool


def count_by_author(session: Session, label_set_id: int) -> list[AuthorCount]:
    """Every author of a label set, most labels first."""
    mine = LabelSetItem.label_set_id == label_set_id
    judges = session.execute(
        sa.select(
            JudgeRow.id,
            JudgeRow.name,
            JudgeRow.prompt_version,
            _number,
            _weight,
            _count(Decision.certificate_id.is_not(None)),
        )
        .select_from(LabelSetItem)
        .join(Suggestion, Suggestion.id == LabelSetItem.suggestion_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .outerjoin(Decision, Decision.id == LabelSetItem.decision_id)
        .where(mine, ~_by_people)
        .group_by(JudgeRow.id, JudgeRow.name, JudgeRow.prompt_version)
    ).all()
    people = session.execute(
        sa.select(Person.id, Person.name, _number, _weight, _count(Review.visibility == Visibility.BLIND))
        .select_from(LabelSetItem)
        .join(Review, Review.id == LabelSetItem.review_id)
        .join(Person, Person.id == Review.person_id)
        .where(mine, _by_people)
        .group_by(Person.id, Person.name)
    ).all()
    gone_judges = set(session.scalars(revoked_judges()))
    gone_people = set(session.scalars(revoked_people()))
    found = [
        AuthorCount(id_, None, name, version, int(n), float(weight), int(certified), 0, id_ in gone_judges)
        for id_, name, version, n, weight, certified in judges
    ] + [
        AuthorCount(None, id_, name, "", int(n), float(weight), 0, int(blind), id_ in gone_people)
        for id_, name, n, weight, blind in people
    ]
    return sorted(found, key=lambda one: (-one.n_labels, one.name, one.prompt_version))


def count_revoked(session: Session, label_set_ids: Collection[int]) -> dict[int, int]:
    """Label set -> how many of its labels have an author who is revoked now; sets without one are left out."""
    if not label_set_ids or session.scalar(sa.select(Revocation.id).limit(1)) is None:
        return {}
    wanted = LabelSetItem.label_set_id.in_(list(label_set_ids))
    found: dict[int, int] = {}
    for statement in (
        sa.select(LabelSetItem.label_set_id, _number)
        .join(Suggestion, Suggestion.id == LabelSetItem.suggestion_id)
        .where(wanted, ~_by_people, Suggestion.judge_id.in_(revoked_judges())),
        sa.select(LabelSetItem.label_set_id, _number)
        .join(Review, Review.id == LabelSetItem.review_id)
        .where(wanted, _by_people, Review.person_id.in_(revoked_people())),
    ):
        for label_set_id, number in session.execute(statement.group_by(LabelSetItem.label_set_id)):
            found[label_set_id] = found.get(label_set_id, 0) + int(number)
    return found


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One label of a label set; `concealed`: people judge the pair blind now, so nothing but its texts may be shown."""

    pair_id: int
    query: str
    passage_title: str
    passage_text: str
    concealed: bool
    grade: float
    weight: float
    source: LabelSource
    judge: str | None
    prompt_version: str | None
    person: str | None
    visibility: Visibility | None
    certificate_id: int | None
    suggested_at: datetime | None
    reviewed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which labels of a set; everything that is None or empty narrows nothing."""

    source: LabelSource | None = None
    judge_id: int | None = None
    person_id: int | None = None
    text: str = ""


def list_items(
    session: Session, label_set: LabelSet, *, only: ItemFilter, offset: int, limit: int
) -> tuple[list[ItemRow], int]:
    """A page of a label set's labels by pair, and how many there are in all.

    Narrowed to a source or an author, it leaves out the pairs that people judge blind: being in the list would tell.
    """
    conditions = [LabelSetItem.label_set_id == label_set.id]
    if only.source is not None:
        conditions.append(LabelSetItem.source == only.source)
    if only.judge_id is not None:
        conditions += [~_by_people, Suggestion.judge_id == only.judge_id]
    if only.person_id is not None:
        conditions += [_by_people, Review.person_id == only.person_id]
    if only.text.strip():
        pattern = "%" + only.text.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        columns = (Query.text, Passage.title, Passage.text)
        conditions.append(sa.or_(*(column.ilike(pattern, escape="\\") for column in columns)))
    if len(conditions) > 1 and not (len(conditions) == 2 and only.text.strip()):
        conditions.append(sa.not_(is_concealed(label_set.criterion)))
    selected = (
        sa.select(
            LabelSetItem.pair_id,
            Query.text,
            Passage.title,
            sa.func.substr(Passage.text, 1, 400),
            is_concealed(label_set.criterion),
            LabelSetItem.grade,
            LabelSetItem.weight,
            LabelSetItem.source,
            JudgeRow.name,
            JudgeRow.prompt_version,
            Person.name,
            Review.visibility,
            Decision.certificate_id,
            Suggestion.created_at,
            Review.created_at,
        )
        .select_from(LabelSetItem)
        .join(Pair, Pair.id == LabelSetItem.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .outerjoin(Suggestion, Suggestion.id == LabelSetItem.suggestion_id)
        .outerjoin(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .outerjoin(Review, Review.id == LabelSetItem.review_id)
        .outerjoin(Person, Person.id == Review.person_id)
        .outerjoin(Decision, Decision.id == LabelSetItem.decision_id)
        .where(*conditions)
    )
    total = label_set.n_labels
    if len(conditions) > 1:
        total = session.scalar(selected.with_only_columns(_number)) or 0
    rows = session.execute(selected.order_by(LabelSetItem.pair_id).offset(offset).limit(limit))
    return [ItemRow(*row) for row in rows], total


# Back: from an author or a pair to label sets and models


def count_uses(
    session: Session, *, judge_ids: Collection[int] = (), person_id: int | None = None
) -> dict[int, tuple[int, float]]:
    """Label set -> (labels, their weight) of these judges or of this person."""
    statement = sa.select(LabelSetItem.label_set_id, _number, _weight).group_by(LabelSetItem.label_set_id)
    if person_id is not None:
        statement = statement.join(
            Review, sa.and_(Review.id == LabelSetItem.review_id, Review.pair_id == LabelSetItem.pair_id)
        ).where(_by_people, Review.person_id == person_id)
    else:
        statement = statement.join(
            Suggestion,
            sa.and_(Suggestion.id == LabelSetItem.suggestion_id, Suggestion.pair_id == LabelSetItem.pair_id),
        ).where(~_by_people, Suggestion.judge_id.in_(list(judge_ids)))
    return {label_set_id: (int(n), float(weight)) for label_set_id, n, weight in session.execute(statement)}


def sum_weights(session: Session, label_set_ids: Collection[int]) -> dict[int, float]:
    """Label set -> the weight of all its labels."""
    rows = session.execute(
        sa.select(LabelSetItem.label_set_id, _weight)
        .where(LabelSetItem.label_set_id.in_(list(label_set_ids)))
        .group_by(LabelSetItem.label_set_id)
    )
    return {label_set_id: float(weight) for label_set_id, weight in rows}


def list_models_of(session: Session, label_set_ids: Collection[int]) -> dict[int, list[ModelVersion]]:
    """Label set -> the models that were trained on it, newest first."""
    rows = session.execute(
        sa.select(TrainingRun.label_set_id, ModelVersion)
        .join(ModelVersion, made_by_run())
        .where(TrainingRun.label_set_id.in_(list(label_set_ids)))
        .order_by(ModelVersion.id.desc())
    )
    found: dict[int, list[ModelVersion]] = {}
    for label_set_id, model in rows:
        of_set = found.setdefault(label_set_id, [])
        if model not in of_set:
            of_set.append(model)
    return found


def list_items_of_pair(session: Session, pair_id: int) -> list[tuple[LabelSet, ItemRow]]:
    """The label of one pair in every label set that has it, newest set first; the texts of the rows are empty."""
    rows = session.execute(
        sa.select(
            LabelSet,
            LabelSetItem.grade,
            LabelSetItem.weight,
            LabelSetItem.source,
            JudgeRow.name,
            JudgeRow.prompt_version,
            Person.name,
            Review.visibility,
            Decision.certificate_id,
            Suggestion.created_at,
            Review.created_at,
        )
        .select_from(LabelSetItem)
        .join(LabelSet, LabelSet.id == LabelSetItem.label_set_id)
        .outerjoin(Suggestion, Suggestion.id == LabelSetItem.suggestion_id)
        .outerjoin(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .outerjoin(Review, Review.id == LabelSetItem.review_id)
        .outerjoin(Person, Person.id == Review.person_id)
        .outerjoin(Decision, Decision.id == LabelSetItem.decision_id)
        .where(LabelSetItem.pair_id == pair_id)
        .order_by(LabelSet.id.desc())
    )
    return [(row[0], ItemRow(pair_id, "", "", "", False, *row[1:])) for row in rows]


def find_pair(session: Session, *, query: str, passage: str) -> int | None:
    """The pair of a query and a passage by their ids outside the database."""
    return session.scalar(
        sa.select(Pair.id)
        .join(Query, Query.id == Pair.query_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .where(Query.external_id == query, Passage.external_id == passage)
    )


def list_label_authors(session: Session) -> tuple[list[JudgeRow], list[Person]]:
    """Every judge that ever proposed and every person who ever graded; judges newest first, people by name."""
    judges = session.scalars(
        sa.select(JudgeRow).where(sa.exists().where(Suggestion.judge_id == JudgeRow.id)).order_by(JudgeRow.id.desc())
    )
    people = session.scalars(
        sa.select(Person)
        .where(sa.exists().where(Review.person_id == Person.id, Review.action.in_(GRADING)))
        .order_by(Person.name)
    )
    return list(judges), list(people)


def count_said(session: Session, *, judge_ids: Collection[int] = (), person_id: int | None = None) -> int:
    """How many proposals these judges, or how many grades this person ever gave, whether they count or not."""
    if person_id is not None:
        given = sa.select(_number).select_from(Review).where(Review.person_id == person_id, Review.action.in_(GRADING))
        return session.scalar(given) or 0
    said = sa.select(_number).select_from(Suggestion).where(Suggestion.judge_id.in_(list(judge_ids)))
    return session.scalar(said) or 0


# What would leave


@dataclass(frozen=True, slots=True)
class Leaving:
    """Grades that count now because of an author; n_fallback: of those, where somebody else has said something."""

    n_labels: int
    n_fallback: int
    n_held_out: int = 0


def _train(criterion: Criterion) -> sa.Select[PairState]:
    return (
        sa.select(PairState)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(
            PairState.criterion == criterion,
            QueryCluster.split == Split.TRAIN,
            PairState.pair_id.not_in(locked_pairs(criterion)),
        )
    )


def count_leaving_judges(session: Session, judge_ids: Sequence[int], *, criterion: Criterion) -> Leaving:
    """Accepted grades of train questions that go by a proposal of these judges."""
    other, judge = sa.orm.aliased(Suggestion), sa.orm.aliased(JudgeRow)
    fallback = sa.exists().where(
        other.pair_id == PairState.pair_id,
        other.criterion == criterion,
        other.status == SuggestionStatus.OK,
        other.judge_id == judge.id,
        other.judge_id.not_in(list(judge_ids)),
        other.judge_id.not_in(revoked_judges()),
    )
    row = session.execute(
        _train(criterion)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .where(
            Suggestion.judge_id.in_(list(judge_ids)),
            PairState.curated_source.in_([LabelSource.ACCEPTED, LabelSource.SELF]),
        )
        .with_only_columns(_number, _count(fallback))
    ).one()
    return Leaving(int(row[0]), int(row[1]))


def count_leaving_person(
    session: Session, person_id: int, *, criterion: Criterion, suspended: Collection[int]
) -> Leaving:
    """Grades of a person that stand. `suspended`: certificates that would fall too, with what they accepted."""
    others = standing_reviews(criterion).where(
        Review.pair_id == PairState.pair_id, Review.person_id != person_id, Review.action.in_(GRADING)
    )
    accepted = sa.and_(
        PairState.outcome == Outcome.ACCEPTED,
        PairState.suggestion_id.is_not(None),
        sa.exists().where(
            Decision.id == PairState.decision_id,
            sa.or_(Decision.certificate_id.is_(None), Decision.certificate_id.not_in(list(suspended))),
        ),
    )
    mine = sa.exists().where(Review.id == PairState.review_id, Review.person_id == person_id)
    row = session.execute(
        _train(criterion)
        .where(mine)
        .with_only_columns(_number, _count(sa.or_(others.correlate(PairState).exists(), accepted)))
    ).one()
    held_out = session.scalar(
        sa.select(_number)
        .select_from(PairState)
        .join(Review, Review.id == PairState.review_id)
        .join(Pair, Pair.id == PairState.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .where(PairState.criterion == criterion, Review.person_id == person_id, QueryCluster.split == Split.HELD_OUT)
    )
    return Leaving(int(row[0]), int(row[1]), held_out or 0)


def count_open_proposals(session: Session, calibrators: Collection[Calibrator], *, criterion: Criterion) -> int:
    """Proposals of the judges of these calibrators that nobody accepted or audited and that train as soft targets."""
    kinds = [
        sa.and_(Suggestion.judge_id == one.judge_id, Suggestion.confidence_kind == one.confidence_kind)
        for one in calibrators
    ]
    if not kinds:
        return 0
    found = (
        _train(criterion)
        .join(Suggestion, Suggestion.id == PairState.suggestion_id)
        .join(JudgeRow, JudgeRow.id == Suggestion.judge_id)
        .where(PairState.curated_grade.is_(None), Suggestion.grade.is_not(None), ~is_stale(), sa.or_(*kinds))
    )
    return session.scalar(found.with_only_columns(_number)) or 0


def count_accepted_under(session: Session, certificate_ids: Collection[int]) -> int:
    """How many pairs go as accepted under these certificates."""
    return (
        session.scalar(
            sa.select(_number)
            .select_from(PairState)
            .join(Decision, Decision.id == PairState.decision_id)
            .where(PairState.outcome == Outcome.ACCEPTED, Decision.certificate_id.in_(list(certificate_ids)))
        )
        or 0
    )


def list_certificates_of(session: Session, judge_ids: Collection[int]) -> list[int]:
    """Ids of these judges' certificates in force."""
    return list(
        session.scalars(
            sa.select(Certificate.id).where(
                Certificate.judge_id.in_(list(judge_ids)), Certificate.threshold.is_not(None), ~is_suspended()
            )
        )
    )


def count_open_batches(session: Session, judge_ids: Collection[int]) -> int:
    found = sa.select(_number).select_from(Batch).where(Batch.judge_id.in_(list(judge_ids)), is_open())
    return session.scalar(found) or 0


def list_unfinished_jobs(session: Session, judge_ids: Collection[int]) -> list[LabelJob]:
    """These judges' label jobs that have not ended."""
    found = sa.select(LabelJob).where(LabelJob.judge_id.in_(list(judge_ids)), LabelJob.finished_at.is_(None))
    return list(session.scalars(found))


def list_blind_queries(session: Session, person_id: int, *, criterion: Criterion, until: datetime) -> set[int]:
    """Ids of the queries on which a person has given a blind grade until a moment."""
    return set(
        session.scalars(
            sa.select(Pair.query_id)
            .join(Review, Review.pair_id == Pair.id)
            .where(
                Review.person_id == person_id,
                Review.criterion == criterion,
                Review.visibility == Visibility.BLIND,
                Review.action.in_(GRADING),
                Review.created_at <= until,
            )
            .distinct()
        )
    )


def list_acts(session: Session, *, limit: int) -> list[tuple[Revocation, str, str]]:
    """(act, whose labels, who did it) of revocations and restorations, newest first."""
    author, by = sa.orm.aliased(Person), sa.orm.aliased(Person)
    rows = session.execute(
        sa.select(Revocation, JudgeRow.name, JudgeRow.prompt_version, author.name, by.name)
        .outerjoin(JudgeRow, JudgeRow.id == Revocation.judge_id)
        .outerjoin(author, author.id == Revocation.reviewer_id)
        .join(by, by.id == Revocation.person_id)
        .order_by(Revocation.id.desc())
        .limit(limit)
    )
    return [(row, person or f"{judge} (prompt {version[:8]})", actor) for row, judge, version, person, actor in rows]
