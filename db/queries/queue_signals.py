"""What the queue's order is made of, read from the tables as columns: a million pairs are arrays, never objects.

What follows from it is in `queue_values`; how it is stored and served, in `queue_building`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotator.audit_value import EXPLORED
from annotator.types import ConfidenceKind, Criterion, JudgeKind, Scale, SuggestionStatus
from db.enums import LabelSource, Outcome, Split
from db.models import (
    Candidate,
    CandidateHit,
    Decision,
    JudgeRow,
    Pair,
    PairState,
    Query,
    QueryCluster,
    Review,
    Suggestion,
)
from db.queries.audits import PEOPLE_ONLY, locked_pairs
from db.queries.standing import GRADING, revoked_judges, standing_reviews
from db.queries.workspace_values import get_value, set_value

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

_CHUNK = 20_000
_NONE = -1
_WORDS: dict[str, tuple[str, ...]] = {
    "split": tuple(Split),
    "outcome": tuple(Outcome),
    "source": tuple(LabelSource),
    "status": tuple(SuggestionStatus),
    "kind": tuple(ConfidenceKind),
}
"""Columns of words are kept as the word's place here, a byte each; −1 is none."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What the queue's order is made with. It is stored, so that a queue computed anew without the settings at hand is
    made alike.

    overlap: people wanted for a pair. overlap_share: share of the pairs, in [0, 1] and the same ones always, that so
    many are wanted for; the others get one. explored: share of the places that are drawn at random, in [0, 1].
    systems: under which names rankings are kept, the live model's first.
    """

    max_grade: int = 3
    relevant_from: int = 2
    overlap: int = 1
    overlap_share: float = 1.0
    explored: float = EXPLORED
    systems: tuple[str, ...] = ()

    @property
    def scale(self) -> Scale:
        """The workspace's grades."""
        return Scale(max_grade=self.max_grade, relevant_from=self.relevant_from)


def load_queue_settings(session: Session, criterion: Criterion) -> QueueSettings:
    """The settings the queue was last computed with; the defaults before the first time."""
    stored = get_value(session, _settings_name(criterion)) or {}
    known = {field.name for field in fields(QueueSettings)}
    kept = {name: value for name, value in stored.items() if name in known}
    return QueueSettings(**{**kept, "systems": tuple(kept.get("systems", ()))})


def keep_queue_settings(session: Session, criterion: Criterion, settings: QueueSettings, *, now: datetime) -> None:
    """Stores the settings for those who compute the queue without the workspace's at hand, if they changed."""
    if get_value(session, _settings_name(criterion)) is None or load_queue_settings(session, criterion) != settings:
        set_value(session, _settings_name(criterion), asdict(settings), now=now)


def _settings_name(criterion: Criterion) -> str:
    return f"queue_settings:{criterion}"


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of pairs, one place a pair, in the order of their ids; every array is (n,).

    people_only, train: by the query's split. pool_rank, live_rank: from 1, NaN where it was not found; score: the
    cosine by the same model as live_rank. accepted, rejected: the decision that holds. certified: accepted under a
    certificate. locked: in the sample of an open batch. flagged, adjudicated: as in its state. graders: people whose
    grade stands; at_desk: one of them sat here. standing: the grade that holds, of whoever, NaN without one.
    suggestion_id, judge_id: −1 without a proposal. unreadable: the reply was. grade, confidence: as proposed, NaN
    where there is none. since: when it began to wait, rising with time, in the database's own unit. token: whether the
    confidence is read off tokens. votes, relevant_votes: of several judges, or of an ensemble's members.
    """

    pair_id: Ids
    query_id: Ids
    people_only: Bools
    held_out: Bools
    train: Bools
    pool_rank: Floats
    live_rank: Floats
    score: Floats
    accepted: Bools
    rejected: Bools
    certified: Bools
    locked: Bools
    flagged: Bools
    adjudicated: Bools
    graders: Ids
    at_desk: Bools
    standing: Floats
    suggestion_id: Ids
    judge_id: Ids
    unreadable: Bools
    grade: Floats
    confidence: Floats
    token: Bools
    since: Floats
    votes: Ids
    relevant_votes: Ids

    @property
    def n(self) -> int:
        """How many pairs there are."""
        return len(self.pair_id)


def read_signals(
    session: Session,
    *,
    criterion: Criterion,
    settings: QueueSettings,
    query_ids: Collection[int] | None = None,
) -> Signals:
    """Everything known of all pairs that were put up or proposed for, or of those of some queries alone."""
    columns = _columns(session, criterion, settings, query_ids=query_ids)
    pair_id = _ints(columns["pair_id"])
    order = np.argsort(pair_id, kind="stable")
    pair_id = pair_id[order]
    only = None if query_ids is None else pair_id
    graders, at_desk = _graders(session, criterion, pair_id, only=only)
    graded = _ints(columns["review_id"])[order] != _NONE
    votes, relevant_votes = _votes(session, criterion, settings, pair_id, only=only)
    split, outcome = columns["split"][order], columns["outcome"][order]
    return Signals(
        pair_id=pair_id,
        query_id=_ints(columns["query_id"])[order],
        people_only=np.isin(split, [_code(one) for one in PEOPLE_ONLY]),
        held_out=split == _code(Split.HELD_OUT),
        train=split == _code(Split.TRAIN),
        pool_rank=columns["pool_rank"][order],
        live_rank=columns["live_rank"][order],
        score=columns["score"][order],
        accepted=outcome == _code(Outcome.ACCEPTED),
        rejected=outcome == _code(Outcome.REJECTED),
        certified=np.isin(pair_id, _listed(session, _certified(criterion), PairState.pair_id, only)),
        locked=np.isin(pair_id, _listed(session, locked_pairs(criterion), None, None)),
        flagged=_ints(columns["flagged"])[order] == 1,
        adjudicated=columns["source"][order] == _code(LabelSource.ADJUDICATED),
        graders=np.where(graded, np.maximum(graders, 1), graders),
        at_desk=at_desk,
        standing=columns["standing"][order],
        suggestion_id=_ints(columns["suggestion_id"])[order],
        judge_id=_ints(columns["judge_id"])[order],
        unreadable=columns["status"][order] == _code(SuggestionStatus.UNREADABLE),
        grade=columns["grade"][order],
        confidence=columns["confidence"][order],
        token=columns["kind"][order] == _code(ConfidenceKind.TOKEN),
        since=columns["since"][order],
        votes=votes,
        relevant_votes=relevant_votes,
    )


def speaking_live(session: Session, systems: Sequence[str]) -> str | None:
    """The first of the systems that has ranked anything: the live model's, and before it has pooled, the one before."""
    return next(
        (one for one in systems if session.scalar(sa.select(sa.exists().where(CandidateHit.system == one)))), None
    )


def last_review(session: Session) -> int:
    """The id of the newest review, 0 before the first."""
    return session.scalar(sa.select(sa.func.max(Review.id))) or 0


def _columns(
    session: Session, criterion: Criterion, settings: QueueSettings, *, query_ids: Collection[int] | None
) -> dict[str, Any]:
    text = sa.String()
    people_only = QueryCluster.split.in_(PEOPLE_ONLY)
    # What was proposed where people judge blind must not show in the order, not even by its date.
    since = sa.case((sa.or_(people_only, Suggestion.id.is_(None)), Query.created_at), else_=Suggestion.created_at)
    named: dict[str, sa.SQLColumnExpression[Any]] = {
        "pair_id": Pair.id,
        "query_id": Pair.query_id,
        # As the database keeps them: an Enum made for each of a million rows takes longer than reading them.
        "split": sa.type_coerce(QueryCluster.split, text),
        "pool_rank": Candidate.rank,
        "outcome": sa.type_coerce(PairState.outcome, text),
        "source": sa.type_coerce(PairState.curated_source, text),
        "standing": PairState.curated_grade,
        "review_id": sa.func.coalesce(PairState.review_id, _NONE),
        "flagged": sa.case((PairState.flagged, 1), else_=0),
        "suggestion_id": sa.func.coalesce(Suggestion.id, _NONE),
        "judge_id": sa.func.coalesce(Suggestion.judge_id, _NONE),
        "status": sa.type_coerce(Suggestion.status, text),
        "grade": Suggestion.grade,
        "confidence": Suggestion.confidence,
        "kind": sa.type_coerce(Suggestion.confidence_kind, text),
        "since": _moment(session, since),
    }
    statement: sa.Select[Any] = (
        sa.select(*named.values())
        .select_from(Pair)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(Candidate, Candidate.pair_id == Pair.id)
        .outerjoin(PairState, sa.and_(PairState.pair_id == Pair.id, PairState.criterion == criterion))
        .outerjoin(Suggestion, Suggestion.id == PairState.suggestion_id)
        .where(sa.or_(Candidate.pair_id.is_not(None), PairState.pair_id.is_not(None)))
    )
    system = speaking_live(session, settings.systems)
    if system is not None:
        named |= {"live_rank": CandidateHit.rank, "score": CandidateHit.score}
        statement = statement.add_columns(CandidateHit.rank, CandidateHit.score).outerjoin(
            CandidateHit, sa.and_(CandidateHit.pair_id == Pair.id, CandidateHit.system == system)
        )
    statements = [statement] if query_ids is None else [statement.where(Pair.query_id.in_(s)) for s in _some(query_ids)]
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in named}
    for one in statements:
        for columns in _stream(session, one):
            for name, column in zip(parts, columns, strict=True):
                parts[name].append(_compact(name, column))
    joined = {name: np.concatenate(parts.pop(name) or [np.zeros(0)]) for name in named}
    unknown = np.full(len(joined["pair_id"]), np.nan)
    return {"live_rank": unknown, "score": unknown, **joined}


def _compact(name: str, column: Sequence[Any]) -> NDArray[Any]:
    if name not in _WORDS:
        return np.array(column, dtype=np.float64)  # NULL becomes NaN
    codes: dict[str | None, int] = {word: code for code, word in enumerate(_WORDS[name])}
    return np.array([codes.get(word, _NONE) for word in column], dtype=np.int8)


def _code(word: StrEnum) -> int:
    return list(type(word)).index(word)


def _stream(session: Session, statement: sa.Executable) -> Any:
    """The result column by column, some thousand rows at a time; past the ORM, which would make a row of each."""
    result = session.connection().execute(statement.execution_options(yield_per=_CHUNK))
    for rows in result.partitions():
        yield list(zip(*rows, strict=True))


def _moment(session: Session, column: sa.ColumnElement[datetime]) -> sa.ColumnElement[float]:
    if session.get_bind().dialect.name == "sqlite":
        return sa.func.julianday(column)
    return sa.cast(sa.extract("epoch", column), sa.Float)


def _some(ids: Collection[int]) -> list[list[int]]:
    wanted = sorted({int(one) for one in ids})
    return [wanted[start : start + 500] for start in range(0, len(wanted), 500)]


def _listed(session: Session, statement: sa.Select[int], column: Any, only: Ids | None) -> Ids:
    statements = [statement] if only is None else [statement.where(column.in_(some)) for some in _some(only.tolist())]
    return np.array([one for each in statements for one in session.scalars(each)], dtype=np.int64)


def _certified(criterion: Criterion) -> sa.Select[int]:
    return (
        sa.select(PairState.pair_id)
        .join(Decision, Decision.id == PairState.decision_id)
        .where(
            PairState.criterion == criterion,
            PairState.outcome == Outcome.ACCEPTED,
            Decision.certificate_id.is_not(None),
        )
    )


def _graders(session: Session, criterion: Criterion, pair_id: Ids, *, only: Ids | None) -> tuple[Ids, Bools]:
    """How many people's grades stand for each pair, hidden checks left out, and whether one was given at the desk."""
    statement = (
        standing_reviews(criterion)
        .where(Review.action.in_(GRADING), Review.hidden_check.is_(False))
        .with_only_columns(
            Review.pair_id,
            sa.func.count(sa.distinct(Review.person_id)),
            sa.func.max(sa.case((Review.card.is_not(None), 1), else_=0)),
        )
        .group_by(Review.pair_id)
    )
    counts, at_desk = np.zeros(len(pair_id), dtype=np.int64), np.zeros(len(pair_id), dtype=np.bool_)
    statements = (
        [statement] if only is None else [statement.where(Review.pair_id.in_(some)) for some in _some(only.tolist())]
    )
    for one in statements:
        for ids, numbers, desk in _stream(session, one):
            at, found = places(pair_id, np.array(ids, dtype=np.int64))
            counts[at] = np.array(numbers, dtype=np.int64)[found]
            at_desk[at] = np.array(desk, dtype=np.int64)[found] == 1
    return counts, at_desk


def _votes(
    session: Session, criterion: Criterion, settings: QueueSettings, pair_id: Ids, *, only: Ids | None
) -> tuple[Ids, Ids]:
    """Votes on each pair and how many of them say relevant: an ensemble's members, else the judges that proposed.

    A judge's latest readable proposal counts, none of a revoked judge; the retriever proposing is no vote of its own.
    """
    votes, relevant = np.zeros(len(pair_id), dtype=np.int64), np.zeros(len(pair_id), dtype=np.int64)
    voters = list(
        session.scalars(
            sa.select(JudgeRow.id).where(
                JudgeRow.criterion == criterion,
                JudgeRow.kind.not_in((JudgeKind.RETRIEVER, JudgeKind.ENSEMBLE)),
                JudgeRow.id.not_in(revoked_judges()),
            )
        )
    )
    if len(voters) > 1:
        statement = sa.select(Suggestion.pair_id, Suggestion.judge_id, Suggestion.id, Suggestion.grade).where(
            Suggestion.criterion == criterion, Suggestion.grade.is_not(None), Suggestion.judge_id.in_(voters)
        )
        latest = _latest(session, _within(statement, only))
        at, found = places(pair_id, latest[:, 0])
        np.add.at(votes, at, 1)
        np.add.at(relevant, at, (latest[found, 3] >= settings.relevant_from).astype(np.int64))
    ensembles = sa.select(JudgeRow.id).where(JudgeRow.kind == JudgeKind.ENSEMBLE, JudgeRow.criterion == criterion)
    if session.scalar(ensembles.limit(1)) is not None:
        current = (
            sa.select(Suggestion.pair_id, Suggestion.context)
            .join(PairState, sa.and_(PairState.suggestion_id == Suggestion.id, PairState.criterion == criterion))
            .where(Suggestion.judge_id.in_(ensembles))
        )
        for one in _within(current, only):
            for ids, contexts in _stream(session, one):
                at, found = places(pair_id, np.array(ids, dtype=np.int64))
                said = [_members(contexts[place]) for place in np.flatnonzero(found).tolist()]
                votes[at] = [len(grades) for grades in said]
                relevant[at] = [sum(grade >= settings.relevant_from for grade in grades) for grades in said]
    return votes, relevant


def _within(statement: Any, only: Ids | None) -> list[Any]:
    if only is None:
        return [statement]
    return [statement.where(Suggestion.pair_id.in_(some)) for some in _some(only.tolist())]


def _latest(session: Session, statements: Sequence[sa.Executable]) -> Ids:
    """Rows of (pair, judge, suggestion, grade), the latest of each pair and judge, (n, 4) int64."""
    parts = [np.array(columns, dtype=np.int64).T for one in statements for columns in _stream(session, one)]
    if not parts:
        return np.zeros((0, 4), dtype=np.int64)
    rows: Ids = np.concatenate(parts)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    last = np.append(np.any(rows[1:, :2] != rows[:-1, :2], axis=1), True)
    latest: Ids = rows[last]
    return latest


def _members(context: Any) -> list[int]:
    members = (context or {}).get("members")
    given = [one.get("grade") for one in members if isinstance(one, dict)] if isinstance(members, list) else []
    return [grade for grade in given if isinstance(grade, int)]


def places(pair_id: Ids, wanted: Ids) -> tuple[Ids, Bools]:
    """Where the wanted ids stand among sorted ids, and which of them are there: (m,) int64 for the m found, (n,)."""
    if not len(pair_id):
        return np.zeros(0, dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(np.searchsorted(pair_id, wanted), len(pair_id) - 1)
    found: Bools = pair_id[at] == wanted
    return at[found], found


def _ints(values: NDArray[Any]) -> Ids:
    return values.astype(np.int64)
