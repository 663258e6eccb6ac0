"""Judges, suggestions, label jobs, and the ledger of pairs that got no reply."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from annotator.types import Criterion, JudgeFailure, JudgeIdentity, Proposal, SuggestionStatus
from db.enums import RunStatus
from db.models import JudgeRow, LabelFailure, LabelJob, Pair, PairState, Passage, Query, ReplyCacheEntry, Suggestion
from db.queries.audits import open_batch_pairs
from db.queries.definitions import still_holds
from db.queries.prompts import remember_prompts
from db.queries.standing import list_revoked_among
from db.queries.states import set_suggestions
from db.queries.suspending import held_pairs

_SOME = 500
_earlier = aliased(LabelFailure)


def find_judge(session: Session, identity: JudgeIdentity) -> JudgeRow | None:
    """The stored judge with exactly this identity, or None."""
    return session.scalar(
        sa.select(JudgeRow).where(
            JudgeRow.name == identity.name,
            JudgeRow.prompt_version == identity.prompt_version,
            JudgeRow.criterion == identity.criterion,
            JudgeRow.parameters_hash == _hash(identity),
        )
    )


def ensure_judge(session: Session, identity: JudgeIdentity, *, now: datetime) -> JudgeRow:
    """The stored judge with this identity; any change of prompt or parameters is another judge."""
    known = find_judge(session, identity)
    if known is not None:
        return known
    judge = JudgeRow(
        name=identity.name,
        kind=identity.kind,
        model=identity.model,
        prompt_version=identity.prompt_version,
        criterion=identity.criterion,
        certifiable=identity.certifiable,
        parameters=dict(identity.parameters),
        parameters_hash=_hash(identity),
        created_at=now,
    )
    try:
        with session.begin_nested():
            session.add(judge)
    except IntegrityError:  # another worker stored the same judge a moment ago
        known = find_judge(session, identity)
        if known is None:
            raise
        return known
    remember_prompts(session, identity, now=now)
    return judge


def _hash(identity: JudgeIdentity) -> str:
    return hashlib.sha256(json.dumps(dict(identity.parameters), sort_keys=True).encode()).hexdigest()


def store_proposals(
    session: Session,
    proposals: Sequence[Proposal],
    *,
    judge: JudgeRow,
    job: LabelJob,
    definitions: Mapping[int, int | None],
    now: datetime,
) -> int:
    """Appends suggestions, each current for its pair from now on, and counts them; `definitions`: those shown, by pair.

    Where another judge's label is accepted under a certificate in force, or frozen for one, that one stays current: to
    ask a second judge for its opinion must not undo what was certified. `use_judge` puts a judge in another's place.
    A pair that this judge has labelled under the same definition, in another worker, keeps that suggestion; only an
    unreadable one is followed by a readable one. What a judge says that was revoked meanwhile is kept, for it was paid
    for, and is current for no pair.
    """
    pair_ids = sorted({proposal.pair_id for proposal in proposals})
    list_revoked_among(session, [judge.id])  # whoever revokes it waits for us, or we for them, before pairs are held
    # Held from here on, so that nobody else can label them between this look and the insert.
    lock_pairs(session, pair_ids)
    labelled = _labelled(session, pair_ids, judge_id=judge.id)
    suggestions: list[Suggestion] = []
    for proposal in proposals:
        place = (proposal.pair_id, definitions.get(proposal.pair_id))
        before = labelled.get(place)
        if before is SuggestionStatus.OK or before is proposal.status:
            continue
        labelled[place] = proposal.status
        suggestions.append(_suggestion(proposal, judge=judge, job=job, definition_id=place[1], now=now))
    session.add_all(suggestions)
    session.flush()
    held = held_pairs(session, pair_ids=pair_ids, criterion=judge.criterion)
    current = [suggestion for suggestion in suggestions if suggestion.pair_id not in held]
    set_suggestions(session, current, criterion=judge.criterion, now=now)
    return len(suggestions)


def list_to_use(session: Session, *, judge_id: int, criterion: Criterion, after: int, limit: int) -> list[Suggestion]:
    """A judge's newest readable suggestions that still hold, of pairs for which another judge's or none is current.

    Pairs of an open batch are left out: what it froze stays until its certificate is issued or it is closed.
    """
    newest = (
        sa.select(sa.func.max(Suggestion.id))
        .join(Pair, Pair.id == Suggestion.pair_id)
        .where(
            Suggestion.judge_id == judge_id,
            Suggestion.criterion == criterion,
            Suggestion.status == SuggestionStatus.OK,
            still_holds(judge_id),
        )
        .group_by(Suggestion.pair_id)
    )
    current = aliased(Suggestion)
    return list(
        session.scalars(
            sa.select(Suggestion)
            .join(PairState, sa.and_(PairState.pair_id == Suggestion.pair_id, PairState.criterion == criterion))
            .outerjoin(current, current.id == PairState.suggestion_id)
            .where(
                Suggestion.id.in_(newest),
                sa.or_(current.id.is_(None), current.judge_id != judge_id),
                Suggestion.pair_id > after,
                Suggestion.pair_id.not_in(open_batch_pairs(criterion)),
            )
            .order_by(Suggestion.pair_id)
            .limit(limit)
        )
    )


def lock_pairs(session: Session, pair_ids: Sequence[int]) -> None:
    """Holds these pairs until the transaction ends; SQLite's one writer holds everything anyway."""
    if session.get_bind().dialect.name != "sqlite":
        for start in range(0, len(pair_ids), _SOME):
            some = pair_ids[start : start + _SOME]
            held = sa.select(Pair.id).where(Pair.id.in_(some)).order_by(Pair.id).with_for_update(key_share=True)
            session.execute(held)


def _labelled(
    session: Session, pair_ids: Sequence[int], *, judge_id: int
) -> dict[tuple[int, int | None], SuggestionStatus]:
    """What this judge has said of these pairs: (pair, definition) -> status, readable before unreadable."""
    found: dict[tuple[int, int | None], SuggestionStatus] = {}
    for start in range(0, len(pair_ids), _SOME):
        rows = session.execute(
            sa.select(Suggestion.pair_id, Suggestion.definition_id, Suggestion.status).where(
                Suggestion.judge_id == judge_id, Suggestion.pair_id.in_(pair_ids[start : start + _SOME])
            )
        )
        for pair_id, definition_id, status in rows:
            if found.get((pair_id, definition_id)) is not SuggestionStatus.OK:
                found[pair_id, definition_id] = status
    return found


def _suggestion(
    proposal: Proposal, *, judge: JudgeRow, job: LabelJob, definition_id: int | None, now: datetime
) -> Suggestion:
    return Suggestion(
        pair_id=proposal.pair_id,
        judge_id=judge.id,
        criterion=judge.criterion,
        job_id=job.id,
        definition_id=definition_id,
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


def count_results(session: Session, job_id: int, *, done: int, failed: int, now: datetime) -> None:
    """Adds to how far a job is, and says that somebody works on it."""
    session.execute(
        sa.update(LabelJob)
        .where(LabelJob.id == job_id)
        .values(done=LabelJob.done + done, failed=LabelJob.failed + failed, heartbeat_at=now)
    )


def last_failure(session: Session) -> int:
    """The id of the newest failure, 0 before the first."""
    return session.scalar(sa.select(sa.func.max(LabelFailure.id))) or 0


def to_ask(
    judge_id: int, *, failures_before: int | None, only_failed: bool, even_final: bool
) -> list[sa.ColumnElement[bool]]:
    """Which of the unlabelled pairs a job asks about, as conditions on `Pair`.

    None that failed since the job was asked for (`failures_before`: the newest failure then); none whose failure no
    retry can mend, unless `even_final`; with `only_failed` only those that failed before.
    """
    failed = sa.exists().where(LabelFailure.pair_id == Pair.id, LabelFailure.judge_id == judge_id)
    conditions: list[sa.ColumnElement[bool]] = []
    if failures_before is not None:
        conditions.append(~failed.where(LabelFailure.id > failures_before))
    if not even_final:
        conditions.append(~failed.where(LabelFailure.retryable.is_(False)))
    if only_failed:
        conditions.append(failed)
    return conditions


@dataclass(frozen=True, slots=True)
class StandingFailure:
    """A pair that a judge has still no suggestion for: its last failure, and how often it failed."""

    pair_id: int
    judge_id: int
    judge: str
    query: str
    passage_id: str
    title: str
    reason: str
    retryable: bool
    times: int
    job_id: int
    at: datetime


def list_standing_failures(
    session: Session, *, judge_id: int | None = None, after: int = 0, limit: int = 1_000
) -> list[StandingFailure]:
    """Pairs that failed and never succeeded since, by the id of their last failure."""
    last = (
        sa.select(sa.func.max(LabelFailure.id).label("id"), sa.func.count().label("times"))
        .group_by(LabelFailure.pair_id, LabelFailure.judge_id)
        .subquery()
    )
    query = (
        sa.select(
            LabelFailure.id,
            LabelFailure.pair_id,
            LabelFailure.judge_id,
            LabelFailure.reason,
            LabelFailure.job_id,
            LabelFailure.created_at,
            last.c.times,
            JudgeRow.name.label("judge"),
            Query.text.label("query"),
            Passage.external_id,
            Passage.title,
            sa.exists()
            .where(
                _earlier.pair_id == LabelFailure.pair_id,
                _earlier.judge_id == LabelFailure.judge_id,
                _earlier.retryable.is_(False),
            )
            .label("final"),
        )
        .join(last, last.c.id == LabelFailure.id)
        .join(JudgeRow, JudgeRow.id == LabelFailure.judge_id)
        .join(Pair, Pair.id == LabelFailure.pair_id)
        .join(Query, Query.id == Pair.query_id)
        .join(Passage, Passage.id == Pair.passage_id)
        .where(
            LabelFailure.id > after,
            ~sa.exists().where(
                Suggestion.pair_id == LabelFailure.pair_id, Suggestion.judge_id == LabelFailure.judge_id
            ),
        )
        .order_by(LabelFailure.id)
        .limit(limit)
    )
    if judge_id is not None:
        query = query.where(LabelFailure.judge_id == judge_id)
    return [
        StandingFailure(
            pair_id=row.pair_id,
            judge_id=row.judge_id,
            judge=row.judge,
            query=row.query,
            passage_id=row.external_id,
            title=row.title,
            reason=row.reason,
            retryable=not row.final,
            times=row.times,
            job_id=row.job_id,
            at=row.created_at,
        )
        for row in session.execute(query)
    ]


def get_unfinished_job(session: Session, *, judge_id: int, hold: bool = True) -> LabelJob | None:
    """This judge's newest job that is not done, or None; with `hold`, held until the transaction ends."""
    query = (
        sa.select(LabelJob)
        .where(LabelJob.judge_id == judge_id, LabelJob.status != RunStatus.DONE)
        .order_by(LabelJob.id.desc())
        .limit(1)
    )
    return session.scalar(query.with_for_update() if hold else query)


def get_job_of_last_failure(session: Session, *, judge_id: int) -> LabelJob | None:
    """The job in which this judge last got no reply for a pair, or None."""
    return session.scalar(
        sa.select(LabelJob)
        .join(LabelFailure, LabelFailure.job_id == LabelJob.id)
        .where(LabelFailure.judge_id == judge_id)
        .order_by(LabelFailure.id.desc())
        .limit(1)
    )


def list_jobs(session: Session, *, limit: int) -> list[tuple[LabelJob, JudgeRow]]:
    """Jobs with their judges, newest first."""
    rows = session.execute(
        sa.select(LabelJob, JudgeRow)
        .join(JudgeRow, JudgeRow.id == LabelJob.judge_id)
        .order_by(LabelJob.id.desc())
        .limit(limit)
    )
    return [(job, judge) for job, judge in rows]


def get_reply(session: Session, key: str) -> ReplyCacheEntry | None:
    """The reply stored under a key, or None."""
    return session.get(ReplyCacheEntry, key)
