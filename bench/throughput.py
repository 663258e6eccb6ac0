"""5,000 durable labels a minute and a half: as fast as a bare client that keeps nothing?

Pairs are labelled through the ledger on SQLite, every reservation, reply and suggestion committed, against a local
server with 200 ms latency. In turns with it, slice by slice, a bare `openai` client sends the same requests under a
semaphore and throws the answers away. A sequential loop stands beside them.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import openai
import sqlalchemy as sa

from annotator.judges.chat import TOP_LOGPROBS, ChatRequest, make_client
from annotator.judges.openai_chat import OpenAIChatJudge
from annotator.judges.server_features import Features
from app.bootstrap import Workspace, make_judge
from app.services.call_ledger import DatabaseLedger
from app.services.labelling import Tally, count_to_ask, label_chunk, request_of, sample_to_ask
from bench.chat_server import Server, running
from bench.pairs_to_label import make_workspace
from bench.result import Json, Result
from db.enums import RunStatus, SpendState
from db.models import LabelJob, ReplyCacheEntry, SpendEntry, Suggestion
from db.queries import labelling as label_queries

LATENCY = 0.2
CONCURRENCY = 32
SHARE = 0.95
GROWTH_MB = 16.0
TARGET = (
    f"at least {SHARE:.0%} of the calls/s of a bare client, with every reservation, reply and suggestion durable; "
    f"resident memory grows by at most {GROWTH_MB:g} MB in the second half"
)


@dataclass(slots=True)
class _Slices:
    """Seconds of each slice, and the resident memory after it, in MB."""

    durable: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def run(quick: bool) -> Result:
    """What was measured; full: 5,000 pairs in 10 slices, quick: 1,280 in 4."""
    n_slices, a_slice, n_alone = (4, 320, 25) if quick else (10, 500, 100)
    with tempfile.TemporaryDirectory() as folder, running(latency=LATENCY) as server:
        settings = {
            "judge": "llm",
            "openai_base_url": server.base_url,
            "llm_model": "bench",
            "llm_concurrency": CONCURRENCY,
            "llm_cap_tokens": 100_000_000,
        }
        workspace = make_workspace(Path(folder) / "w", n_pairs=n_slices * a_slice, settings=settings)
        try:
            return _measure(workspace, server, n_slices=n_slices, a_slice=a_slice, n_alone=n_alone)
        finally:
            workspace.close()


def _measure(workspace: Workspace, server: Server, *, n_slices: int, a_slice: int, n_alone: int) -> Result:
    slices = _Slices()
    client = make_client(api_key="bench", base_url=server.base_url)
    with DatabaseLedger(workspace) as ledger:
        judge = make_judge(workspace.settings, workspace.scale, ledger)
        assert isinstance(judge, OpenAIChatJudge)
        job_id = _job(workspace, judge)
        ledger.charge_to(job_id)
        with workspace.sessions.read() as session:
            pairs = sample_to_ask(session, session.get_one(LabelJob, job_id), limit=n_slices * a_slice)
        asked = [judge.chat_request(request_of(pair)) for pair in pairs]
        asyncio.run(_bare(client, asked[:CONCURRENCY], at_once=CONCURRENCY))  # everything imported, the server warm
        extra = server.stats()["calls"]
        tally = Tally(total=len(pairs))
        for number in range(n_slices):
            mine = asked[number * a_slice : (number + 1) * a_slice]
            for durable in (True, False) if number % 2 == 0 else (False, True):
                begun = time.perf_counter()
                used = time.process_time()
                if durable:
                    label_chunk(workspace, judge, job_id=job_id, tally=tally, limit=a_slice, whole_queries=False)
                    slices.processor.append(time.process_time() - used)
                    slices.durable.append(time.perf_counter() - begun)
                else:
                    asyncio.run(_bare(client, mine, at_once=CONCURRENCY))
                    slices.bare.append(time.perf_counter() - begun)
            slices.memory.append(_resident_mb())
        begun = time.perf_counter()
        asyncio.run(_bare(client, asked[:n_alone], at_once=1))
        alone = n_alone / (time.perf_counter() - begun)
    calls = server.stats()["calls"] - extra - n_slices * a_slice - n_alone
    return _result(workspace, slices, tally=tally, calls=calls, alone=alone, n_pairs=n_slices * a_slice)


def _result(workspace: Workspace, slices: _Slices, *, tally: Tally, calls: int, alone: float, n_pairs: int) -> Result:
    durable, bare = n_pairs / sum(slices.durable), n_pairs / sum(slices.bare)
    shares = [b / d for d, b in zip(slices.durable, slices.bare, strict=True)]
    middle = len(slices.memory) // 2
    growth = slices.memory[-1] - slices.memory[middle - 1]
    stored = _stored(workspace)
    complete = all(count == n_pairs for count in stored.values()) and calls == n_pairs == tally.proposals
    per_call = sum(slices.processor) / n_pairs * 1_000
    figures: dict[str, Json] = {
        "pairs": n_pairs,
        "calls_a_second": durable,
        "bare_calls_a_second": bare,
        "sequential_calls_a_second": alone,
        "share_of_bare": durable / bare,
        "share_of_bare_by_slice": shares,
        "median_share_of_bare": statistics.median(shares),
        "share_of_no_overhead_at_all": durable / (CONCURRENCY / LATENCY),
        "processor_ms_a_call": per_call,
        "resident_mb": slices.memory[-1],
        "resident_mb_growth_second_half": growth,
        "resident_mb_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "calls_received_by_server": calls,
        "everything_stored": complete,
        **stored,
    }
    lines = (
        f"{n_pairs:,} pairs, {CONCURRENCY} at a time, {LATENCY * 1000:.0f} ms latency (at best "
        f"{CONCURRENCY / LATENCY:.0f} calls/s)",
        f"durable     {durable:7.1f} calls/s   {per_call:.2f} ms of processor a call",
        f"bare client {bare:7.1f} calls/s   the durable one reaches {durable / bare:.1%} of it",
        f"by slice    {', '.join(f'{share:.1%}' for share in shares)}",
        f"sequential  {alone:7.1f} calls/s",
        f"memory      {slices.memory[-1]:.0f} MB resident, {growth:+.1f} MB in the second half",
        f"stored      {stored}, {calls:,} calls received",
    )
    holds = durable / bare >= SHARE and growth <= GROWTH_MB and complete
    return Result(name="throughput", holds=holds, target=TARGET, figures=figures, lines=lines)


def _job(workspace: Workspace, judge: OpenAIChatJudge) -> int:
    with workspace.sessions.begin() as session:
        now = workspace.now()
        row = label_queries.ensure_judge(session, judge.identity, now=now)
        job = LabelJob(judge_id=row.id, criterion=row.criterion, n_pairs=0, status=RunStatus.RUNNING, started_at=now)
        job.token_cap = workspace.settings.llm_cap_tokens
        session.add(job)
        session.flush()
        job.n_pairs = count_to_ask(session, job)
        return job.id


async def _bare(client: openai.AsyncOpenAI, asked: Sequence[ChatRequest], *, at_once: int) -> None:
    """The same requests, answered into nothing."""
    limit = asyncio.Semaphore(at_once)
    async with client.copy(http_client=openai.DefaultAsyncHttpxClient()) as fresh:

        async def one(request: ChatRequest) -> None:
            async with limit:
                body = Features().body(
                    schema=request.schema,
                    schema_name=request.schema_name,
                    max_completion_tokens=request.max_completion_tokens,
                    top_logprobs=TOP_LOGPROBS,
                )
                await fresh.chat.completions.create(
                    model="bench",
                    messages=cast("Any", [{"role": m.role, "content": m.content} for m in request.messages]),
                    extra_body=body,
                )

        await asyncio.gather(*(one(request) for request in asked))


def _stored(workspace: Workspace) -> dict[str, int]:
    with workspace.sessions.read() as session:
        counted = {
            "suggestions": sa.select(sa.func.count()).select_from(Suggestion),
            "replies": sa.select(sa.func.count()).select_from(ReplyCacheEntry),
            "settled": sa.select(sa.func.count()).where(SpendEntry.state == SpendState.SETTLED),
        }
        return {name: session.scalar(query) or 0 for name, query in counted.items()}


def _resident_mb() -> float:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
