"""Questions that an LLM wrote from passages: which passages were asked about, what came of it, how much is covered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.judges.questions import PassageFailure, WrittenQuestion, WrittenQuestions
from annotator.types import Criterion
from db.enums import QuestionOutcome, Split
from db.models import (
    Candidate,
    CandidateHit,
    GeneratedQuestion,
    LabelJob,
    Pair,
    Passage,
    PromptRow,
    Query,
    QueryCluster,
    QuestionedPassage,
)
from db.queries.corpus import STREAM_ROWS

KIND = "questions"
"""What a job's `spec` calls itself under `kind`, so that it is told apart from jobs that label."""


@dataclass(frozen=True, slots=True)
class PassageSpot:
    """A passage as choosing sees it; ids of one document come together."""

    id: int
    external_id: str
    source_id: int
    text_hash: str
    characters: int


def get_unfinished_job(session: Session) -> LabelJob | None:
    """The latest job of questions that did not come to its end, or None."""
    jobs = session.scalars(sa.select(LabelJob).where(LabelJob.finished_at.is_(None)).order_by(LabelJob.id.desc()))
    return next((job for job in jobs if job.spec.get("kind") == KIND), None)


def ensure_prompt(
    session: Session, *, version: str, name: str, criterion: Criterion, content: str, now: datetime
) -> None:
    """Keeps the prompt's text under its version, so that it can be shown when the file has changed."""
    if session.get(PromptRow, version) is None:
        session.add(PromptRow(version=version, name=name, criterion=criterion, content=content, created_at=now))
        session.flush()


def _asked() -> sa.ColumnElement[bool]:
    """Whether a row of `questioned_passage` closes its passage; what failed and may succeed later does not."""
    return sa.or_(QuestionedPassage.outcome != QuestionOutcome.FAILED, ~QuestionedPassage.retryable)


def asked_hashes(session: Session) -> set[str]:
    """The text hashes of passages that were asked about: a copy under another id is not asked again."""
    return set(
        session.scalars(
            sa.select(Passage.text_hash)
            .join(QuestionedPassage, QuestionedPassage.passage_id == Passage.id)
            .where(_asked())
        )
    )


def stream_unasked(session: Session) -> Iterator[PassageSpot]:
    """Every passage that was not asked about, in id order, a few at a time."""
    rows = session.execute(
        sa.select(
            Passage.id,
            Passage.external_id,
            Passage.source_id,
            Passage.text_hash,
            sa.func.length(Passage.text).label("n"),
        )
        .where(~sa.exists().where(QuestionedPassage.passage_id == Passage.id, _asked()))
        .order_by(Passage.id)
        .execution_options(yield_per=STREAM_ROWS)
    )
    for row in rows:
        yield PassageSpot(row.id, row.external_id, row.source_id, row.text_hash, row.n)


def load_texts(session: Session, passage_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Id -> title and text."""
    rows = session.execute(sa.select(Passage.id, Passage.title, Passage.text).where(Passage.id.in_(passage_ids)))
    return {id_: (title, text) for id_, title, text in rows}


def list_asked_in(session: Session, *, job_id: int, passage_ids: Sequence[int]) -> set[int]:
    """Those of these passages for which this job has an outcome, or any job one that closes them."""
    return set(
        session.scalars(
            sa.select(QuestionedPassage.passage_id).where(
                QuestionedPassage.passage_id.in_(passage_ids),
                sa.or_(QuestionedPassage.job_id == job_id, _asked()),
            )
        )
    )


def list_failed_in(session: Session, *, job_id: int) -> set[int]:
    """Passages for which no reply came in this job."""
    failed = QuestionedPassage.outcome == QuestionOutcome.FAILED
    return set(
        session.scalars(sa.select(QuestionedPassage.passage_id).where(QuestionedPassage.job_id == job_id, failed))
    )


def stream_written(session: Session) -> Iterator[str]:
    """The text of every question written, in the order of storing."""
    yield from session.scalars(
        sa.select(Query.text)
        .join(GeneratedQuestion, GeneratedQuestion.query_id == Query.id)
        .order_by(Query.id)
        .execution_options(yield_per=STREAM_ROWS)
    )


def stream_queries_after(session: Session, query_id: int) -> Iterator[tuple[int, str, int]]:
    """(id, text, cluster) of the queries stored after this one, in order; for a memory that is kept up to date."""
    rows = session.execute(
        sa.select(Query.id, Query.text, Query.cluster_id)
        .where(Query.id > query_id)
        .order_by(Query.id)
        .execution_options(yield_per=STREAM_ROWS)
    )
    for row in rows:
        yield row.id, row.text, row.cluster_id


def count_job(session: Session, *, job_id: int) -> tuple[int, int]:
    """Questions stored and passages asked by a job."""
    questions = session.scalar(
        sa.select(sa.func.count()).select_from(GeneratedQuestion).where(GeneratedQuestion.job_id == job_id)
    )
    passages = session.scalar(
        sa.select(sa.func.count()).select_from(QuestionedPassage).where(QuestionedPassage.job_id == job_id)
    )
    return questions or 0, passages or 0


def store_outcome(
    session: Session,
    result: WrittenQuestions | PassageFailure,
    *,
    job_id: int,
    kept: int,
    dropped: Mapping[str, int],
    now: datetime,
) -> None:
    """Records what came of asking about a passage, in place of an earlier failure."""
    failed = isinstance(result, PassageFailure)
    outcome = QuestionOutcome.FAILED if failed else QuestionOutcome.WRITTEN
    reason = result.reason if isinstance(result, PassageFailure) else (result.problem or "")
    if not failed and reason:
        outcome = QuestionOutcome.UNREADABLE
    session.merge(
        QuestionedPassage(
            passage_id=result.passage_id,
            job_id=job_id,
            outcome=outcome,
            kept=kept,
            dropped=dict(dropped),
            reason=reason.replace("\0", "\ufffd").encode("utf-8", "replace").decode(),
            retryable=isinstance(result, PassageFailure) and result.retryable,
            reply_key=None if isinstance(result, PassageFailure) else result.reply_key,
            created_at=now,
        )
    )
    session.flush()


def store_question(
    session: Session,
    question: WrittenQuestion,
    *,
    query: Query,
    passage_id: int,
    judge_id: int,
    job_id: int,
    demonstrations: Sequence[str],
    pool_size: int,
    now: datetime,
) -> None:
    """Stores a question whose query is stored, and puts its own passage up for judging like any other.

    Until pooling finds the passage, its rank is one below the pool's last; no system's hit stands behind it.
    """
    session.add(
        GeneratedQuestion(
            query_id=query.id,
            passage_id=passage_id,
            judge_id=judge_id,
            job_id=job_id,
            pattern=question.pattern,
            evidence_start=question.evidence.start,
            evidence_end=question.evidence.end,
            demonstrations=list(demonstrations),
            created_at=now,
        )
    )
    pair = Pair(query_id=query.id, passage_id=passage_id)
    session.add(pair)
    session.flush()
    session.add(Candidate(pair_id=pair.id, rank=pool_size, score=0.0, pool_size=pool_size, pooled_at=now))
    session.flush()


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """What came of asking: passages by outcome, those with a question, questions dropped by reason."""

    passages: Mapping[str, int]
    with_question: int
    dropped: Mapping[str, int]


def count_outcomes(session: Session, *, job_id: int | None = None) -> OutcomeCounts:
    """Over all jobs, or of one."""
    chosen = sa.true() if job_id is None else QuestionedPassage.job_id == job_id
    passages = session.execute(
        sa.select(QuestionedPassage.outcome, sa.func.count()).where(chosen).group_by(QuestionedPassage.outcome)
    )
    with_question = session.scalar(
        sa.select(sa.func.count()).select_from(QuestionedPassage).where(chosen, QuestionedPassage.kept > 0)
    )
    dropped: Counter[str] = Counter()
    rows = session.scalars(sa.select(QuestionedPassage.dropped).where(chosen).execution_options(yield_per=STREAM_ROWS))
    for counts in rows:
        dropped.update(counts)
    return OutcomeCounts({str(outcome): n for outcome, n in passages}, with_question or 0, dict(dropped))


def count_patterns(session: Session, *, job_id: int | None = None) -> dict[str, int]:
    """Questions by pattern, most first."""
    chosen = sa.true() if job_id is None else GeneratedQuestion.job_id == job_id
    number = sa.func.count()
    rows = session.execute(
        sa.select(GeneratedQuestion.pattern, number)
        .where(chosen)
        .group_by(GeneratedQuestion.pattern)
        .order_by(number.desc(), GeneratedQuestion.pattern)
    )
    return {pattern: count for pattern, count in rows}


@dataclass(frozen=True, slots=True)
class Reach:
    """How many there are, and of how many a question was written."""

    total: int
    with_question: int


def reach(session: Session) -> tuple[Reach, Reach, Reach]:
    """Passages, documents (what stands before `#` in the passages' ids) and sources reached by a question."""
    id_ = Passage.external_id
    document: sa.ColumnElement[str] = sa.func.split_part(id_, "#", 1)
    if session.get_bind().dialect.name == "sqlite":
        mark = sa.func.instr(id_, "#")
        document = sa.case((mark > 1, sa.func.substr(id_, 1, mark - 1)), else_=id_)
    columns = (sa.func.count(), sa.func.count(sa.distinct(document)), sa.func.count(sa.distinct(Passage.source_id)))
    reached = sa.exists().where(GeneratedQuestion.passage_id == Passage.id)
    every = session.execute(sa.select(*columns).select_from(Passage)).one()
    some = session.execute(sa.select(*columns).select_from(Passage).where(reached)).one()
    passages, documents, sources = (Reach(int(a), int(b)) for a, b in zip(every, some, strict=True))
    return passages, documents, sources


@dataclass(frozen=True, slots=True)
class OwnPassage:
    """A pooled question that did not find the passage it was written from."""

    query_id: int
    question: str
    passage: str


@dataclass(frozen=True, slots=True)
class OwnPassageCounts:
    """Of the questions pooled so far: how many found their own passage, and at which mean rank (from 1)."""

    not_pooled: int
    found: int
    lost: int
    mean_rank: float | None


def _own_pairs() -> sa.Subquery:
    """One row a question: whether pooling put anything up for it, whether its own passage, and at which rank."""
    any_pair = sa.orm.aliased(Pair)
    same = sa.and_(Pair.query_id == GeneratedQuestion.query_id, Pair.passage_id == GeneratedQuestion.passage_id)
    pooled = sa.exists().where(any_pair.query_id == GeneratedQuestion.query_id, CandidateHit.pair_id == any_pair.id)
    found = sa.exists().where(CandidateHit.pair_id == Pair.id)
    return (
        sa.select(
            GeneratedQuestion.query_id,
            GeneratedQuestion.passage_id,
            Candidate.rank,
            pooled.label("pooled"),
            found.label("found"),
        )
        .join(Pair, same)
        .join(Candidate, Candidate.pair_id == Pair.id)
        .subquery()
    )


def count_own_passages(session: Session) -> OwnPassageCounts:
    """Whether questions find the passages they were written from, over all of them."""
    own = _own_pairs().c
    number = sa.func.count()
    row = session.execute(
        sa.select(
            number.filter(~own.pooled).label("waiting"),
            number.filter(own.found).label("found"),
            number.filter(own.pooled, ~own.found).label("lost"),
            sa.func.avg(own.rank).filter(own.found).label("rank"),
        )
    ).one()
    return OwnPassageCounts(
        not_pooled=row.waiting,
        found=row.found,
        lost=row.lost,
        mean_rank=None if row.rank is None else float(row.rank),
    )


def list_lost(session: Session, *, limit: int) -> list[OwnPassage]:
    """Pooled questions that did not find their own passage, the oldest first."""
    pairs = _own_pairs()
    own = pairs.c
    rows = session.execute(
        sa.select(Query.id, Query.text, Passage.external_id)
        .select_from(pairs)
        .join(Query, Query.id == own.query_id)
        .join(Passage, Passage.id == own.passage_id)
        .where(own.pooled, ~own.found)
        .order_by(Query.id)
        .limit(limit)
    )
    return [OwnPassage(query_id, question, passage) for query_id, question, passage in rows]


def count_written_outside_train(session: Session) -> int:
    """Generated questions in any split but train; always 0, for held-out queries are human."""
    return (
        session.scalar(
            sa.select(sa.func.count())
            .select_from(GeneratedQuestion)
            .join(Query, Query.id == GeneratedQuestion.query_id)
            .join(QueryCluster, QueryCluster.id == Query.cluster_id)
            .where(QueryCluster.split.is_distinct_from(Split.TRAIN))
        )
        or 0
    )
