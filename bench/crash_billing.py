"""Workers killed with SIGKILL at random moments: one valid suggestion a pair, no reply bought twice, no cap exceeded.

Real `relabel worker` processes label a real workspace on SQLite; a local server counts the calls it received and the
tokens it would bill, whether or not anybody was left to read the answer. At each kill a call is *in flight* when the
server received it and its reply is not stored; the bench counts these from the server and the database, and holds them
against the reservations that the dead worker left open. A second workspace has a cap far too small, is killed as well,
and is finished under a higher cap.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from annotator.types import SuggestionStatus
from app.bootstrap import Workspace, open_workspace
from app.jobs import labelling as label_queue
from app.services import label_jobs
from bench.chat_server import Server, running
from bench.pairs_to_label import make_workspace
from bench.result import Json, Result
from db.enums import RunStatus, SpendState
from db.models import LabelJob, ReplyCacheEntry, SpendEntry, Suggestion

LATENCY = 0.1
CONCURRENCY = 8
ROOT = Path(__file__).parent.parent
PATIENCE = 120.0
TARGET = (
    "every pair ends with exactly one valid suggestion; calls received <= pairs + calls in flight at the kills, "
    f"at most {CONCURRENCY} a kill; tokens billed <= tokens counted <= cap at every kill and at the end, also under a "
    "tight cap"
)


@dataclass(slots=True)
class _Run:
    """One workspace's story: what was seen at each kill, and what broke the claim."""

    in_flight: list[int] = field(default_factory=list)
    left_open: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    calls: int = 0
    pairs: int = 0
    tokens_billed: int = 0
    tokens_counted: int = 0
    cap: int = 0
    stopped_by_cap: bool = False

    def figures(self) -> Mapping[str, Json]:
        return {
            "pairs": self.pairs,
            "kills": len(self.in_flight),
            "calls_received": self.calls,
            "in_flight_at_kills": sum(self.in_flight),
            "most_in_flight_at_a_kill": max(self.in_flight, default=0),
            "reservations_left_open": sum(self.left_open),
            "tokens_billed": self.tokens_billed,
            "tokens_counted": self.tokens_counted,
            "cap_tokens": self.cap,
            "stopped_by_cap": self.stopped_by_cap,
            "broken": self.broken,
        }


def run(quick: bool) -> Result:
    """What was measured; full: 50 kills over 2,000 pairs and 5 under a tight cap, quick: 2 and none."""
    kills, pairs, tight_kills, tight_pairs = (2, 120, 0, 60) if quick else (50, 2_000, 5, 300)
    wide = _story(pairs=pairs, kills=kills, cap_share=None, seed=1)
    tight = _story(pairs=tight_pairs, kills=tight_kills, cap_share=0.5, seed=2)
    lines = []
    for name, one in (("wide cap", wide), ("tight cap", tight)):
        lines.append(
            f"{name}: {one.pairs:,} pairs, {len(one.in_flight)} kills, {one.calls:,} calls received, "
            f"{sum(one.in_flight)} in flight at the kills (at most {max(one.in_flight, default=0)} at one), "
            f"{sum(one.left_open)} reservations left open"
        )
        lines.append(
            f"{'':>{len(name)}}  {one.tokens_billed:,} tokens billed, {one.tokens_counted:,} counted, cap {one.cap:,}"
            + ("; stopped by the first cap and finished under this one" if one.stopped_by_cap else "")
        )
        lines += [f"{'':>{len(name)}}  BROKEN: {what}" for what in one.broken]
    holds = not wide.broken and not tight.broken and tight.stopped_by_cap
    figures: dict[str, Json] = {"wide_cap": wide.figures(), "tight_cap": tight.figures()}
    return Result(name="crash_billing", holds=holds, target=TARGET, figures=figures, lines=tuple(lines))


def _story(*, pairs: int, kills: int, cap_share: float | None, seed: int) -> _Run:
    draw = random.Random(seed)
    story = _Run(pairs=pairs)
    with tempfile.TemporaryDirectory() as folder, running(latency=LATENCY) as server:
        settings = {"judge": "llm", "llm_model": "bench", "llm_concurrency": CONCURRENCY}
        path = Path(folder) / "w"
        make_workspace(path, n_pairs=pairs, settings={**settings, "openai_base_url": server.base_url}).close()
        lines = [
            f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}" for name, value in settings.items()
        ]
        (path / "relabel.toml").write_text("\n".join([*lines, f'openai_base_url = "{server.base_url}"', ""]))
        workspace = open_workspace(path)
        try:
            _go(workspace, server, story, kills=kills, cap_share=cap_share, draw=draw)
        finally:
            workspace.close()
    return story


def _go(
    workspace: Workspace, server: Server, story: _Run, *, kills: int, cap_share: float | None, draw: random.Random
) -> None:
    a_call = 4_000  # above the worst case of one of these calls, about 3,100 tokens
    first = story.pairs * a_call if cap_share is None else int(story.pairs * 600 * cap_share) + CONCURRENCY * a_call
    story.cap = first
    job_id = label_queue.start(workspace, person="bench", token_cap=first).job_id
    for _ in range(kills):
        _live_and_die(workspace, server, story, job_id=job_id, draw=draw)
    status = _live(workspace, job_id=job_id)
    _check(workspace, server, story, job_id=job_id, killed=False)
    if cap_share is not None:
        message = label_jobs.get_job(workspace, job_id=job_id).message
        story.stopped_by_cap = status is RunStatus.FAILED and "cap" in message
        story.cap = first + story.pairs * a_call
        label_queue.start(workspace, person="bench", token_cap=story.cap)
        status = _live(workspace, job_id=job_id)
        _check(workspace, server, story, job_id=job_id, killed=False)
    if status is not RunStatus.DONE:
        story.broken.append(f"the job ended as {status}: {label_jobs.get_job(workspace, job_id=job_id).message}")
    _check_end(workspace, server, story)


def _start_worker(workspace: Workspace) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "RELABEL_"))}
    command = [sys.executable, "-m", "app.cli", "worker", "-w", str(workspace.settings.workspace)]
    log = (workspace.settings.workspace / "worker.log").open("ab")
    with log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def _live_and_die(workspace: Workspace, server: Server, story: _Run, *, job_id: int, draw: random.Random) -> None:
    """One worker's life: mostly killed while it calls, one time in six at any moment of its start."""
    before = server.stats()["calls"]
    worker = _start_worker(workspace)
    try:
        if draw.random() < 1 / 6:
            time.sleep(draw.uniform(0.1, 4.0))
        else:
            patience = time.monotonic() + PATIENCE
            while server.stats()["calls"] == before and worker.poll() is None and time.monotonic() < patience:
                if not label_jobs.get_job(workspace, job_id=job_id).status.is_active:
                    break
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.8))
    finally:
        worker.kill()
        worker.wait()
    while server.stats()["active"]:
        time.sleep(LATENCY / 4)
    _check(workspace, server, story, job_id=job_id, killed=True)


def _live(workspace: Workspace, *, job_id: int) -> RunStatus:
    """Lets a worker work until the job is over."""
    worker = _start_worker(workspace)
    patience = time.monotonic() + PATIENCE * 5
    try:
        while (status := label_jobs.get_job(workspace, job_id=job_id).status).is_active:
            if time.monotonic() > patience or worker.poll() is not None:
                log = (workspace.settings.workspace / "worker.log").read_text(errors="replace")
                raise RuntimeError(f"the worker came to nothing; the last it said: {log[-2_000:]}")
            time.sleep(0.05)
        return status
    finally:
        worker.terminate()
        worker.wait()


def _check(workspace: Workspace, server: Server, story: _Run, *, job_id: int, killed: bool) -> None:
    stats = server.stats()
    with workspace.sessions.read() as session:
        job = session.get_one(LabelJob, job_id)
        stored = session.scalar(sa.select(sa.func.count()).select_from(ReplyCacheEntry)) or 0
        open_now = session.scalar(sa.select(sa.func.count()).where(SpendEntry.state == SpendState.RESERVED)) or 0
        counted = session.scalar(
            sa.select(sa.func.sum(SpendEntry.tokens)).where(SpendEntry.state != SpendState.RELEASED)
        )
    in_flight = stats["calls"] - stored - sum(story.in_flight)
    left_open = open_now - sum(story.left_open)
    story.calls, story.tokens_billed, story.tokens_counted = stats["calls"], stats["tokens"], job.spent_tokens
    if killed:
        story.in_flight.append(in_flight)
        story.left_open.append(left_open)
    limit = min(CONCURRENCY, left_open) if killed else 0
    kill = len(story.in_flight)
    if not 0 <= in_flight <= limit:
        story.broken.append(f"after kill {kill}: {in_flight} calls in flight, {left_open} reservations left open")
    if job.spent_tokens != (counted or 0):
        story.broken.append(f"after kill {kill}: the job counts {job.spent_tokens}, its entries {counted}")
    if not stats["tokens"] <= job.spent_tokens <= story.cap:
        story.broken.append(
            f"after kill {kill}: {stats['tokens']} tokens billed, {job.spent_tokens} counted, cap {story.cap}"
        )
    if stats["most_active"] > CONCURRENCY:
        story.broken.append(f"after kill {kill}: {stats['most_active']} calls at once")


def _check_end(workspace: Workspace, server: Server, story: _Run) -> None:
    with workspace.sessions.read() as session:
        valid = session.execute(
            sa.select(sa.func.count(), sa.func.count(Suggestion.pair_id.distinct())).where(
                Suggestion.status == SuggestionStatus.OK
            )
        ).one()
        all_ = session.scalar(sa.select(sa.func.count()).select_from(Suggestion))
    stats = server.stats()
    if not valid[0] == valid[1] == all_ == story.pairs:
        story.broken.append(f"{story.pairs} pairs have {all_} suggestions, {valid[0]} valid, over {valid[1]} pairs")
    if stats["distinct"] != story.pairs:
        story.broken.append(f"{stats['distinct']} different questions were asked about {story.pairs} pairs")
    if stats["calls"] > story.pairs + sum(story.in_flight):
        story.broken.append(f"{stats['calls']} calls for {story.pairs} pairs and {sum(story.in_flight)} in flight")
