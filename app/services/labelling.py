"""Getting proposals from a judge; resumes where it stopped. What becomes of them is `routing.py`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy.exc import IntegrityError

from annotator.judges.base import Judge
from annotator.judges.call_ledger import Ticket
from annotator.judges.reply_cache import CachedReply
from annotator.types import JudgeFailure, JudgeRequest, Proposal, RetrievalSignals
from app.bootstrap import Workspace
from app.services.indexing import BM25, Progress
from db.models import JudgeRow, LabelJob, ReplyCacheEntry
from db.queries import candidates as pool_queries
from db.queries import labelling as label_queries
from db.queries.candidates import UnlabelledPair

STORE_EVERY = 200
_CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What labelling did: pairs proposed (of which unreadable), pairs without a reply, tokens and dollars spent now."""

    judge: str
    certifiable: bool
    proposed: int
    unreadable: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


class StoredReplies:
    """The reply cache in the workspace's database; a reply is committed before it is used."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def begin(self, key: str, *, worst_tokens: int, worst_cost_usd: float | None) -> CachedReply | Ticket:
        """The reply stored under the key, or leave to ask."""
        stored = await asyncio.to_thread(self.get, key)
        return stored or Ticket(0, key, worst_tokens, worst_cost_usd)

    async def settle(self, ticket: Ticket, reply: CachedReply) -> None:
        """Stores the reply unless one is stored already."""
        await asyncio.to_thread(self.put, ticket.key, reply)

    async def abandon(self, ticket: Ticket, *, may_have_cost: bool) -> None:
        """Nothing yet."""

    def get(self, key: str) -> CachedReply | None:
        """The reply stored under the key, or None."""
        with self._workspace.sessions.read() as session:
            entry = label_queries.get_reply(session, key)
            return None if entry is None else CachedReply.from_json(entry.reply["reply"])

    def put(self, key: str, reply: CachedReply) -> None:
        """Stores the reply unless one is stored already."""
        entry = ReplyCacheEntry(
            key=key,
            model=reply.model,
            reply={"reply": reply.to_json()},
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            created_at=self._workspace.now(),
        )
        try:
            with self._workspace.sessions.begin() as session:
                if label_queries.get_reply(session, key) is None:
                    session.add(entry)
        except IntegrityError:  # another worker stored one a moment ago; the first stays
            if self.get(key) is None:
                raise


def label(
    workspace: Workspace,
    judge: Judge,
    *,
    on_progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> LabelReport:
    """Asks the judge for every train candidate it has not labelled; safe to stop at any moment and to repeat.

    Raises:
        JudgeUnavailable: no request can succeed with the present settings; what came before is stored.
    """
    with workspace.sessions.begin() as session:
        now = workspace.now()
        row = label_queries.ensure_judge(session, judge.identity, now=now)
        total = pool_queries.count_unlabelled(session, judge_id=row.id, criterion=row.criterion)
        job = LabelJob(judge_id=row.id, criterion=row.criterion, n_pairs=total, started_at=now)
        session.add(job)
        session.flush()
    tally = _Tally(total=total, on_progress=on_progress)
    after = 0
    while should_cancel is None or not should_cancel():
        with workspace.sessions.read() as session:
            pairs = pool_queries.list_unlabelled(
                session, judge_id=row.id, criterion=row.criterion, after=after, limit=_CHUNK
            )
        if not pairs:
            break
        after = pairs[-1].pair_id
        asyncio.run(_label_chunk(workspace, judge, pairs, row=row, job=job, tally=tally, should_cancel=should_cancel))
    with workspace.sessions.begin() as session:
        session.merge(job).finished_at = workspace.now()
    return tally.report(judge)


class _Tally:
    """Counts what a labelling job has done."""

    def __init__(self, *, total: int, on_progress: Progress | None) -> None:
        self._total = total
        self._on_progress = on_progress
        self.proposals = self.unreadable = self.failed = self.prompt_tokens = self.completion_tokens = 0
        self.cost: float | None = 0.0

    def add(self, results: list[Proposal | JudgeFailure]) -> None:
        for result in results:
            if isinstance(result, JudgeFailure):
                self.failed += 1
                continue
            self.proposals += 1
            self.unreadable += result.grade is None
            if not result.usage.cached:
                self.prompt_tokens += result.usage.prompt_tokens
                self.completion_tokens += result.usage.completion_tokens
            self.cost = (
                None if self.cost is None or result.usage.cost_usd is None else self.cost + result.usage.cost_usd
            )
        if self._on_progress is not None:
            self._on_progress(self.proposals + self.failed, self._total)

    def report(self, judge: Judge) -> LabelReport:
        return LabelReport(
            judge=judge.identity.name,
            certifiable=judge.identity.certifiable,
            proposed=self.proposals,
            unreadable=self.unreadable,
            failed=self.failed,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cost_usd=self.cost,
        )


async def _label_chunk(
    workspace: Workspace,
    judge: Judge,
    pairs: list[UnlabelledPair],
    *,
    row: JudgeRow,
    job: LabelJob,
    tally: _Tally,
    should_cancel: Callable[[], bool] | None,
) -> None:
    definitions = {pair.pair_id: pair.definition_id for pair in pairs}
    batch: list[Proposal | JudgeFailure] = []

    def store() -> None:
        with workspace.sessions.begin() as session:
            now = workspace.now()
            proposals = [result for result in batch if isinstance(result, Proposal)]
            failures = [result for result in batch if isinstance(result, JudgeFailure)]
            label_queries.store_proposals(session, proposals, judge=row, job=job, definitions=definitions, now=now)
            label_queries.store_failures(session, failures, judge=row, job=job, now=now)
        tally.add(batch)
        batch.clear()

    results = cast("Any", judge.judge([_request(pair) for pair in pairs]))
    async with aclosing(results):
        try:
            async for result in results:
                batch.append(result)
                if len(batch) >= STORE_EVERY:
                    store()
                    if should_cancel is not None and should_cancel():
                        return
        finally:
            if batch:
                store()


def _request(pair: UnlabelledPair) -> JudgeRequest:
    dense = next((system for system in pair.hits if system != BM25), None)
    dense_rank, dense_score = pair.hits[dense] if dense is not None else (None, None)
    bm25_rank, bm25_score = pair.hits.get(BM25, (None, None))
    return JudgeRequest(
        pair_id=pair.pair_id,
        query=pair.query,
        definition=pair.definition,
        title=pair.title,
        passage=pair.text,
        signals=RetrievalSignals(
            dense_score=dense_score,
            dense_rank=dense_rank,
            bm25_score=bm25_score,
            bm25_rank=bm25_rank,
            fused_rank=pair.rank,
            pool_size=pair.pool_size,
            best_bm25_score=pair.best_scores.get(BM25),
        ),
    )
