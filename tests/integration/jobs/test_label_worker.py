"""A label job in a real worker that is killed: it goes on where it stood, and buys no reply twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from dbos import DBOSClient, DBOSPortableJSONSerializer

from annotator.types import SuggestionStatus
from app.bootstrap import Workspace, open_workspace
from app.jobs import labelling
from app.services import label_jobs
from app.services.creating import create_workspace
from app.services.label_views import LabelJobView
from builders import TOPICS, add_candidates, add_corpus
from db.enums import RunStatus, SpendState
from db.models import PairState, SpendEntry, Suggestion
from db.session import normalise_url
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, good, slow

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 150.0
CONCURRENCY = 2
N_PAIRS = 36


def worker(workspace: Workspace, server: ScriptedLLM) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": server.base_url,
        "RELABEL_LLM_MODEL": "scripted",
        "RELABEL_LLM_CONCURRENCY": str(CONCURRENCY),
    }
    command = [sys.executable, "-m", "app.cli", "worker", "-w", str(workspace.settings.workspace)]
    log = workspace.settings.workspace / "worker.log"
    with log.open("ab") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)


def until(done: Callable[[], bool]) -> None:
    patience = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < patience
        time.sleep(0.02)


def test_a_killed_worker_goes_on_and_only_calls_under_way_are_made_again(tmp_path: Path) -> None:
    """A crash buys every reply again, forgets what was under way, or leaves a pair with two labels or none."""
    create_workspace(tmp_path / "w", name="kill test")
    opened = open_workspace(tmp_path / "w")
    add_corpus(opened, topics=TOPICS[:6])
    add_candidates(opened, topics=TOPICS[:6])
    with ScriptedLLM(otherwise=slow(0.2, good(grade=2))) as server:
        settings = opened.settings.model_copy(update={"openai_base_url": server.base_url, "llm_model": "scripted"})
        workspace = replace(opened, settings=settings)
        job_id = labelling.start(workspace, person="Ada", token_cap=1_000_000).job_id
        first = worker(workspace, server)
        until(lambda: len(server.requests) >= 6)
        first.kill()
        first.wait()
        time.sleep(0.3)  # the server still answers those under way, to nobody
        assert label_jobs.get_job(workspace, job_id=job_id).status is RunStatus.RUNNING
        second = worker(workspace, server)
        try:
            until(lambda: not label_jobs.get_job(workspace, job_id=job_id).status.is_active)
        finally:
            second.terminate()
            second.wait()
        view = label_jobs.get_job(workspace, job_id=job_id)
        assert (view.status, view.done, view.failed) == (RunStatus.DONE, N_PAIRS, 0)
        assert N_PAIRS <= len(server.requests) <= N_PAIRS + CONCURRENCY
        assert len({request.user_message for request in server.requests}) == N_PAIRS
        assert server.max_concurrency <= CONCURRENCY
    with workspace.sessions.read() as session:
        decided = session.scalars(sa.select(PairState.outcome).where(PairState.suggestion_id.is_not(None))).all()
        assert len(decided) == N_PAIRS
        assert None not in decided
        valid = session.scalars(sa.select(Suggestion.pair_id).where(Suggestion.status == SuggestionStatus.OK)).all()
        lost = session.scalar(sa.select(sa.func.count()).where(SpendEntry.state == SpendState.RESERVED)) or 0
    assert len(valid) == len(set(valid)) == N_PAIRS
    assert len(server.requests) - N_PAIRS <= lost
    opened.close()


def test_a_worker_leaves_a_job_alone_that_was_taken_over_here(tmp_path: Path) -> None:
    """`relabel label` takes up what was queued; the worker then starts and marks the running job as failed."""
    create_workspace(tmp_path / "w", name="taken over")
    opened = open_workspace(tmp_path / "w")
    add_corpus(opened, topics=TOPICS[:2])
    add_candidates(opened, topics=TOPICS[:2])
    go = threading.Event()

    def answer(_: Request) -> Behaviour:
        assert go.wait(PATIENCE)
        return good(grade=2)

    with ScriptedLLM(answer) as server:
        settings = opened.settings.model_copy(update={"openai_base_url": server.base_url, "llm_model": "scripted"})
        workspace = replace(opened, settings=settings)
        asked = labelling.start(workspace, person="Ada")
        ended: list[LabelJobView] = []
        here = threading.Thread(target=lambda: ended.append(label_jobs.run_here(workspace, asked.job_id)[0]))
        here.start()
        until(lambda: label_jobs.get_job(workspace, job_id=asked.job_id).status is RunStatus.RUNNING)
        process = worker(workspace, server)
        client = DBOSClient(
            system_database_url=normalise_url(settings.jobs_database), serializer=DBOSPortableJSONSerializer()
        )
        try:
            until(lambda: client.retrieve_workflow(asked.workflow_id).get_status().status == "SUCCESS")
            assert label_jobs.get_job(workspace, job_id=asked.job_id).status is RunStatus.RUNNING
        finally:
            go.set()
            here.join()
            client.destroy()
            process.terminate()
            process.wait()
        assert (ended[0].status, ended[0].done, ended[0].message) == (RunStatus.DONE, 12, "")
        assert len(server.requests) == 12
    opened.close()
