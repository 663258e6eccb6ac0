"""A small judged workspace behind the real application, driven through Streamlit's AppTest."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from annotator.types import ConfidenceKind, Criterion, JudgeKind, SuggestionStatus
from app.bootstrap import Workspace, open_with
from app.config import settings_from
from db import models
from db.enums import LabelSource, Outcome, PolicyKind, Split
from db.queries.queue_building import rebuild_queue

MAIN = Path(__file__).parents[2] / "app" / "main.py"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = "<script>window.hacked=1</script> & <img src=x onerror=alert(1)> **bold** [link](javascript:alert(1))"
QUERIES = ("merge two sorted streams lazily", "<b>run</b> a command", "compare floats with a tolerance")
PASSAGES = (
    ("heapq.merge", "Merge multiple sorted inputs.\n\nReturns a generator over the sorted values."),
    ("<i>hostile</i>", HOSTILE),
    ("subprocess.run", "Run the command described by args and wait for it to complete."),
    ("math.isclose", "Return True if the values a and b are close to each other."),
)
UNREADABLE = (2, 3)  # the pair of this query and this passage has a reply nobody could read

Open = Callable[[str], AppTest]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def small(tmp_path: Path, sqlite_template: Path) -> Iterator[Workspace]:
    """Three train queries by four passages: for each query the first passage is accepted, the others rejected."""
    folder = tmp_path / "workspace"
    shutil.copytree(sqlite_template, folder)
    opened = open_with(settings_from(folder, {"name": "Small & judged"}))
    (folder / "relabel.toml").write_text('name = "Small & judged"\n', encoding="utf-8")
    with opened.sessions.begin() as session:
        source = models.Source(name="small", layout="test", scale_mapping={}, created_at=NOW)
        judge = models.JudgeRow(
            name="local",
            kind=JudgeKind.LOCAL,
            model="local",
            prompt_version="1",
            criterion=Criterion.RELEVANCE,
            certifiable=False,
            parameters={},
            parameters_hash="0",
            created_at=NOW,
        )
        policy = models.Policy(
            version="1", kind=PolicyKind.BARE_THRESHOLD, criterion=Criterion.RELEVANCE, parameters={}, created_at=NOW
        )
        session.add_all([source, judge, policy])
        session.flush()
        passages = [
            models.Passage(
                external_id=f"p{number}",
                title=title,
                text=text,
                text_hash=_digest(text),
                source_id=source.id,
                created_at=NOW,
            )
            for number, (title, text) in enumerate(PASSAGES)
        ]
        session.add_all(passages)
        for q, text in enumerate(QUERIES):
            cluster = models.QueryCluster(split=Split.TRAIN)
            session.add(cluster)
            session.flush()
            query = models.Query(
                external_id=f"q{q}",
                text=text,
                text_key=_digest(text),
                cluster_id=cluster.id,
                source_id=source.id,
                created_at=NOW,
            )
            session.add(query)
            session.flush()
            for p, passage in enumerate(passages):
                _judged_pair(session, q=q, p=p, query=query, passage=passage, judge=judge, policy=policy)
        rebuild_queue(session, criterion=Criterion.RELEVANCE, now=NOW)
    yield opened
    opened.close()


def _judged_pair(session, *, q, p, query, passage, judge, policy) -> None:
    readable, accepted = (q, p) != UNREADABLE, p == 0
    pair = models.Pair(query_id=query.id, passage_id=passage.id)
    session.add(pair)
    session.flush()
    session.add(models.Candidate(pair_id=pair.id, rank=p + 1, score=1.0 / (p + 1), pool_size=4, pooled_at=NOW))
    session.add(models.CandidateHit(pair_id=pair.id, system="bm25", rank=p + 1, score=9.0 - p))
    suggestion = models.Suggestion(
        pair_id=pair.id,
        judge_id=judge.id,
        criterion=Criterion.RELEVANCE,
        status=SuggestionStatus.OK if readable else SuggestionStatus.UNREADABLE,
        grade=(3 if accepted else 1) if readable else None,
        confidence=(0.95 if accepted else 0.6) if readable else None,
        confidence_kind=ConfidenceKind.RETRIEVER if readable else None,
        evidence_start=0 if readable else None,
        evidence_end=8 if readable else None,
        reason="words of the query are in the passage" if readable else "",
        raw_reply="",
        created_at=NOW,
    )
    session.add(suggestion)
    session.flush()
    decision = models.Decision(
        pair_id=pair.id,
        criterion=Criterion.RELEVANCE,
        suggestion_id=suggestion.id,
        policy_id=policy.id,
        outcome=Outcome.ACCEPTED if accepted else Outcome.REJECTED,
        why="sure enough" if accepted else "not sure enough",
        created_at=NOW,
    )
    session.add(decision)
    session.flush()
    session.add(
        models.PairState(
            pair_id=pair.id,
            criterion=Criterion.RELEVANCE,
            suggestion_id=suggestion.id,
            decision_id=decision.id,
            outcome=decision.outcome,
            curated_grade=3 if accepted else None,
            curated_source=LabelSource.ACCEPTED if accepted else None,
            updated_at=NOW,
        )
    )
    session.flush()


@pytest.fixture
def empty(tmp_path: Path, sqlite_template: Path) -> Iterator[Workspace]:
    """A workspace with nothing in it."""
    folder = tmp_path / "workspace"
    shutil.copytree(sqlite_template, folder)
    opened = open_with(settings_from(folder, {"name": "Empty"}))
    (folder / "relabel.toml").write_text('name = "Empty"\n', encoding="utf-8")
    yield opened
    opened.close()


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    """Opens the application on one of its screens, on the workspace that the test made."""
    monkeypatch.setenv("RELABEL_WORKSPACE", str(tmp_path / "workspace"))

    def open_screen(name: str) -> AppTest:
        test = AppTest.from_file(str(MAIN), default_timeout=60).run()
        if name != "overview":
            test = test.switch_page(f"screens/{name}.py").run()
        assert not test.exception
        return test

    yield open_screen
    st.cache_resource.clear()
