"""A job of questions killed outright: the next run goes on, and buys no reply again that had been received."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from app.bootstrap import open_with
from app.config import settings_from
from app.services.importing import import_passages
from db.models import GeneratedQuestion, LabelJob, QuestionedPassage, SpendEntry
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, says

ROOT = Path(__file__).parents[2]
PASSAGES = 24
CONCURRENCY = 3
KILLED_AFTER = (3, 9)


def test_a_killed_job_goes_on_and_pays_at_most_for_the_calls_under_way(tmp_path: Path) -> None:
    """Disaster: every crash buys the round again, because its examples were chosen anew."""
    folder = tmp_path / "mine"
    workspace = open_with(settings_from(folder, {}))
    (folder / "relabel.toml").write_text(f"llm_concurrency = {CONCURRENCY}\n", encoding="utf-8")
    rows = [
        (f"p{n}", "", f"Station {n} of the long line was opened in the year {1800 + n} " * 2) for n in range(PASSAGES)
    ]
    import_passages(workspace, rows, source_name="line")
    enough = threading.Event()
    asked: list[str] = []
    target = [0]

    def writes(request: Request) -> Behaviour:
        found = re.search(r"Station (\d+) of the long line was opened in the year \d+", request.user_message)
        assert found is not None
        asked.append(found[1])
        if len(asked) >= target[0]:
            enough.set()
        entry = {"question": f"when was station {found[1]} opened", "evidence": found[0]}
        return Behaviour(text=says(json.dumps({"questions": [entry]})).text, delay=0.05)

    with ScriptedLLM(writes) as server:
        environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "PYTHONPATH": str(ROOT)}
        command = [
            sys.executable,
            "-m",
            "app.cli",
            "questions",
            "--n",
            str(PASSAGES),
            "--per-passage",
            "1",
            "-w",
            folder,
        ]
        for target[0] in KILLED_AFTER:
            enough.clear()
            job = subprocess.Popen(
                command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert enough.wait(120)
            job.send_signal(signal.SIGKILL)
            job.communicate()
        enough.clear()
        finished = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert finished.returncode == 0, finished.stderr
    with workspace.sessions.read() as session:
        jobs = session.scalars(sa.select(LabelJob)).all()
        questions = session.scalar(sa.select(sa.func.count()).select_from(GeneratedQuestion))
        passages = session.scalar(sa.select(sa.func.count()).select_from(QuestionedPassage))
        entries = session.scalars(sa.select(SpendEntry)).all()
    workspace.close()
    assert (len(jobs), questions, passages) == (1, PASSAGES, PASSAGES)
    times = Counter(asked)
    again = sum(times.values()) - PASSAGES
    assert len(times) == PASSAGES
    assert again <= CONCURRENCY * len(KILLED_AFTER)
    assert jobs[0].spent_tokens == sum(entry.tokens for entry in entries if entry.state != "released")
