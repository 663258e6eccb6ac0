"""Getting proposals from a judge, chunk by chunk: what a job has brought is stored as it comes, and it resumes there.

Jobs (asked for, followed, cancelled, paid for) are in `label_jobs`; deciding on proposals is in `routing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from sqlalchemy.orm import Session

from annotator.judges.base import Judge
from annotator.types import JudgeFailure, JudgeRequest, Proposal, RetrievalSignals
from app.bootstrap import Workspace
from app.services.call_ledger import DatabaseLedger
from app.services.dense_systems import list_dense_systems, speaking_system
from app.services.held_jobs import close_after_error, held, here_id
from app.services.indexing import BM25, Progress
from app.services.refusals import refuse_revoked_judge
from db.enums import RunStatus
from db.models import JudgeRow, LabelJob
from db.queries import candidates as pool_queries
from db.queries import labelling as label_queries
from db.queries.candidates import UnlabelledPair

STORE_EVERY = 200
STORE_SECONDS = 2.0
"""A slow judge's results are stored this often, so that progress shows and a wish to stop is heard."""
CHUNK = 2_000


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


class Tally:
    """Counts what one run over a job has done."""

    def __init__(self, *, total: int, on_progress: Progress | None = None) -> None:
        self._total = total
        self._on_progress = on_progress
        self.proposals = self.unreadable = self.failed = self.prompt_tokens = self.completion_tokens = 0
        self.cost: float | None = 0.0

    @property
    def results(self) -> int:
        return self.proposals + self.failed

    def add(self, results: list[Proposal | JudgeFailure]) -> None:
        """Counts results that are stored."""
        for result in results:
            if isinstance(result, JudgeFailure):
                self.failed += 1
                continue
            self.proposals += 1
            self.unreadable += result.grade is None
            if not result.usage.cached:
                self.prompt_tokens += result.usage.prompt_tokens
                self.completion_tokens += result.usage.completion_tokens
            known = self.cost is not None and result.usage.cost_usd is not None
            self.cost = (self.cost or 0.0) + (result.usage.cost_usd or 0.0) if known else None
        if self._on_progress is not None:
            self._on_progress(self.results, self._total)

    def report(self, judge: Judge) -> LabelReport:
        """What was counted."""
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


def label(
    workspace: Workspace,
    judge: Judge,
    *,
    ledger: DatabaseLedger | None = None,
    on_progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> LabelReport:
    """Asks the judge for every candidate it has not labelled, as a job of its own that is not queued.

    Safe to stop at any moment and to repeat. An LLM's calls are charged to the job through the `ledger` that the judge
    was made with, under the caps of the settings. For jobs that a worker does and for retries, see `label_jobs`.

    Raises:
        JudgeUnavailable, CapReached: no further call can be made; what came before is stored.
        NotAllowed: the judge is revoked.
    """
    with ExitStack() as working:
        with workspace.sessions.begin() as session:
            now = workspace.now()
            row = label_queries.ensure_judge(session, judge.identity, now=now)
            refuse_revoked_judge(session, row)
            job = LabelJob(judge_id=row.id, criterion=row.criterion, n_pairs=0, started_at=now, heartbeat_at=now)
            job.status, job.workflow_id = RunStatus.RUNNING, here_id()
            job.spec = {"failures_before": label_queries.last_failure(session)}
            job.token_cap, job.cost_cap_usd = workspace.settings.llm_cap_tokens, workspace.settings.llm_cap_usd
            session.add(job)
            session.flush()
            job.n_pairs = count_to_ask(session, job)
            # Before anybody can see it run, or it would look left behind.
            working.enter_context(held(workspace, job.id))
        working.push(partial(close_after_error, workspace, job.id))
        if ledger is not None:
            ledger.charge_to(job.id)
        tally = Tally(total=job.n_pairs, on_progress=on_progress)
        while not (should_cancel is not None and should_cancel()):
            if not label_chunk(workspace, judge, job_id=job.id, tally=tally, should_cancel=should_cancel):
                break
        with workspace.sessions.begin() as session:
            stored = session.get_one(LabelJob, job.id)
            stored.finished_at, stored.status = workspace.now(), RunStatus.DONE
    return tally.report(judge)


def count_to_ask(session: Session, job: LabelJob) -> int:
    """How many pairs the job has still to ask about."""
    return pool_queries.count_unlabelled(session, judge_id=job.judge_id, criterion=job.criterion, only=_to_ask(job))


def sample_to_ask(session: Session, job: LabelJob, *, limit: int) -> list[UnlabelledPair]:
    """The first pairs that the job has still to ask about."""
    return pool_queries.list_unlabelled(
        session, judge_id=job.judge_id, criterion=job.criterion, limit=limit, only=_to_ask(job)
    )


def _to_ask(job: LabelJob) -> list[Any]:
    return label_queries.to_ask(
        job.judge_id,
        failures_before=job.spec.get("failures_before"),
        only_failed=bool(job.spec.get("only_failed")),
        even_final=bool(job.spec.get("even_final")),
    )


def label_chunk(
    workspace: Workspace,
    judge: Judge,
    *,
    job_id: int,
    tally: Tally,
    should_cancel: Callable[[], bool] | None = None,
    limit: int = CHUNK,
    whole_queries: bool = True,
) -> bool:
    """Asks about the job's next pairs and stores what comes; returns whether there is more to ask.

    With `whole_queries` a query's pairs are asked about in one chunk, as a list-wise judge needs them.

    Which pairs are next is read from what is stored, so a repeated or interrupted chunk asks for the rest only.

    Raises:
        JudgeUnavailable, CapReached: no further call can be made; what came before is stored.
    """
    with workspace.sessions.read() as session:
        job = session.get_one(LabelJob, job_id)
        row = session.get_one(JudgeRow, job.judge_id)
        pairs = sample_to_ask(session, job, limit=limit)
        systems = list_dense_systems(session)
    if whole_queries:
        pairs = _whole_queries(pairs, limit=limit)
    before = tally.results
    if pairs:
        requests = [request_of(pair, systems=systems) for pair in pairs]
        definitions = {pair.pair_id: pair.definition_id for pair in pairs}
        asyncio.run(
            _label_pairs(
                workspace,
                judge,
                requests,
                row=row,
                job_id=job_id,
                definitions=definitions,
                tally=tally,
                stop=should_cancel,
            )
        )
    return len(pairs) > 0 and tally.results > before


def _whole_queries(pairs: list[UnlabelledPair], *, limit: int) -> list[UnlabelledPair]:
    """The pairs without the last query's where it may go on beyond them: a list-wise judge sees pools whole."""
    if len(pairs) < limit or pairs[0].query_id == pairs[-1].query_id:
        return pairs
    return [pair for pair in pairs if pair.query_id != pairs[-1].query_id]


async def _label_pairs(
    workspace: Workspace,
    judge: Judge,
    requests: list[JudgeRequest],
    *,
    row: JudgeRow,
    job_id: int,
    definitions: dict[int, int | None],
    tally: Tally,
    stop: Callable[[], bool] | None,
) -> None:
    batch: list[Proposal | JudgeFailure] = []
    clock = asyncio.get_running_loop().time
    stored_at = clock()

    async def store() -> bool:
        """Stores what came, away from the event loop, and says whether to go on."""
        nonlocal stored_at
        stored_at = clock()
        results = list(batch)
        batch.clear()
        await asyncio.to_thread(store_results, workspace, results, judge=row, job_id=job_id, definitions=definitions)
        tally.add(results)
        return stop is None or not await asyncio.to_thread(stop)

    results = cast("Any", judge.judge(requests))
    async with aclosing(results):
        try:
            async for result in results:
                due = len(batch) >= STORE_EVERY or (batch and clock() - stored_at >= STORE_SECONDS)
                if due and not _together(batch[-1], result) and not await store():
                    return  # the result in hand is not lost: its reply is stored, and its list will be asked for whole
                batch.append(result)
        finally:
            if batch:
                await store()


def _together(one: Proposal | JudgeFailure, other: Proposal | JudgeFailure) -> bool:
    """Whether both come from one list: stored apart, a crash between would have the rest asked for as another list."""
    if isinstance(one, JudgeFailure) or isinstance(other, JudgeFailure):
        return False
    return one.context is not None and one.context is other.context


def store_results(
    workspace: Workspace,
    results: list[Proposal | JudgeFailure],
    *,
    judge: JudgeRow,
    job_id: int,
    definitions: dict[int, int | None],
) -> None:
    """Stores suggestions and failures of a job, and how far it is, in one transaction."""
    proposals = [result for result in results if isinstance(result, Proposal)]
    failures = [result for result in results if isinstance(result, JudgeFailure)]
    with workspace.sessions.begin() as session:
        now = workspace.now()
        job = session.get_one(LabelJob, job_id)
        label_queries.store_proposals(session, proposals, judge=judge, job=job, definitions=definitions, now=now)
        label_queries.store_failures(session, failures, judge=judge, job=job, now=now)
        label_queries.count_results(session, job_id, done=len(proposals), failed=len(failures), now=now)


def request_of(pair: UnlabelledPair, *, systems: Sequence[str] = ()) -> JudgeRequest:
    """The pair as a judge is shown it; systems: `list_dense_systems`, of which one speaks for what found the pair."""
    dense = speaking_system(pair.hits, systems)
    dense_rank, dense_score = pair.hits[dense] if dense is not None else (None, None)
    bm25_rank, bm25_score = pair.hits.get(BM25, (None, None))
    return JudgeRequest(
        pair_id=pair.pair_id,
        query_id=pair.query_id,
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
