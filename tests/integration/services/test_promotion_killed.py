"""Promotion and rollback under SIGKILL: whatever the moment, one model is live, and everything says the same."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from builders import add_corpus, add_model
from db.enums import ModelStage, PromotionCause
from db.models import IndexVersion, LiveModel, ModelVersion, Promotion
from db.queries.registry import hash_corpus

KILLS = {"sqlite": 20, "postgresql": 8}

WORK = """
import os, random, signal, sys, time
from pathlib import Path
from app.bootstrap import open_with
from app.config import settings_from
from app.services import promotion

folder, url, models = Path(sys.argv[1]), sys.argv[2], [int(name) for name in sys.argv[3].split(",")]

workspace = open_with(settings_from(folder, {"database_url": url} if url else {}))

def there_and_back():
    for _ in range(2):
        live = promotion.get_live_view(workspace).id
        other = next(model for model in models if model != live)
        promotion.promote(workspace, model_id=other, person="me", override_reason="a try")
        if random.random() < 0.8:
            promotion.rollback(workspace, person="me", reason="no")

there_and_back()  # what is slow the first time is done before anybody is killed
began = time.monotonic()
there_and_back()
cycle = time.monotonic() - began
workspace.sessions.dispose()  # no connection is shared with a child

def work(ready):
    random.seed(os.getpid())
    promotion.get_live_view(workspace)  # a connection of its own, which takes longer than what is to be killed
    os.write(ready, b".")
    while True:
        there_and_back()

for line in sys.stdin:
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        work(told)
    os.close(told)
    assert os.read(ready, 1) == b"."  # else the child died by itself
    time.sleep(float(line) * cycle)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ready)
    print("killed", flush=True)
"""


@contextmanager
def killer(workspace: Workspace, models: list[int]) -> Iterator[subprocess.Popen[str]]:
    """A process that forks one that promotes and rolls back without end, and kills it after the
    share of a cycle that it is given."""
    arguments = [str(workspace.settings.workspace), workspace.settings.database_url or "", ",".join(map(str, models))]
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def check(workspace: Workspace, base: int) -> int:
    """Everything that says which model is live says the same; returns how many promotions there are."""
    with workspace.sessions.read() as session:
        row = session.get_one(LiveModel, 1)
        live = set(session.scalars(sa.select(ModelVersion.id).where(ModelVersion.stage == ModelStage.LIVE)))
        assert live == {row.model_version_id}
        history = list(session.scalars(sa.select(Promotion).order_by(Promotion.id)))
        before, stack = None, []
        for promotion in history:
            assert promotion.previous_model_id == before, "a step is missing from the history"
            before = promotion.model_version_id
            if promotion.cause is PromotionCause.ROLLBACK:
                stack.pop()
                assert stack[-1] == before, "a rollback went elsewhere than back"
            else:
                stack.append(before)
        assert before == row.model_version_id
        assert stack[0] == base
        index = session.get_one(IndexVersion, row.index_version_id)
        state, n = hash_corpus(session)
        assert (index.model_version_id, index.corpus_hash, index.n_passages) == (row.model_version_id, state, n)
        assert (workspace.settings.workspace / index.path).is_dir()
        return len(history)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_killed_at_any_moment_one_model_is_live_and_all_records_agree(
    database: str, request: pytest.FixtureRequest
) -> None:
    """A crash during a promotion leaves two live models, or one live with another's index: search answers nonsense."""
    workspace: Workspace = request.getfixturevalue("workspace" if database == "sqlite" else "postgres_workspace")
    add_corpus(workspace)
    base = add_model(workspace, "base", live=True)
    with workspace.sessions.begin() as session:  # the builder's first model has no index in its live row
        index = session.scalars(sa.select(IndexVersion).where(IndexVersion.model_version_id == base)).one()
        session.get_one(LiveModel, 1).index_version_id = index.id
    models = [add_model(workspace, name, base_id=base) for name in ("second", "third")]
    known = check(workspace, base)
    moments = random.Random(4)
    with killer(workspace, models) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(KILLS[database]):
            process.stdin.write(f"{moments.uniform(0.0, 4.0)}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "killed\n"
            found = check(workspace, base)
            assert found >= known, "a promotion that was made is gone"
            known = found
    assert known > 9 + KILLS[database] // 2, "the killed processes did next to nothing"
