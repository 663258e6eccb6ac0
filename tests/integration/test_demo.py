"""The demo from nothing, twice: real corpus, real questions, real model, on a small share of the passages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

import db.models as m
from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.demo.loading import JUDGEMENTS, SIMULATED, simulate_audits
from app.demo.questions import load_questions
from app.demo.session import prepare
from app.services.overview import get_overview
from db.enums import Split

LIMIT = 300


@contextmanager
def no_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


def counts(workspace: Workspace) -> dict[str, int]:
    with workspace.sessions.read() as session:
        return {
            table.name: session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in m.Suggestion.metadata.sorted_tables
            if table.name not in ("label_job", "queue_entry")  # one row a labelling asked for; one version a routing
        }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A prepared small demo."""
    workspace = open_with(settings_from(tmp_path_factory.mktemp("demo"), {"max_length": 64}))
    prepare(workspace, bar=no_bar, say=lambda line: None, limit=LIMIT)
    yield workspace
    workspace.close()


def test_every_step_of_the_funnel_is_filled_by_the_uncertified_local_judge(demo: Workspace) -> None:
    """Prevents a demo that opens on empty screens, or that passes its formula off as a certified judge."""
    view = get_overview(demo)
    assert view.funnel.candidates == view.funnel.proposed > 0
    assert view.funnel.accepted + view.funnel.rejected == view.funnel.proposed
    assert view.funnel.waiting == view.funnel.rejected > 0
    assert view.judges == ("local judge",)
    assert view.uncertified
    assert view.live is not None
    assert view.live.evaluation is not None
    assert view.live.evaluation.n_queries == view.n_queries["held-out"]
    with demo.sessions.read() as session:
        assert not session.scalars(sa.select(m.JudgeRow.certifiable)).one()
        assert session.scalar(sa.select(sa.func.count()).where(m.Suggestion.reason == "")) == 0
        systems = session.scalars(sa.select(m.CandidateHit.system).distinct()).all()
    assert sorted(system.partition(":")[0] for system in systems) == ["bm25", "dense"]


def test_a_second_demo_on_the_same_directory_makes_nothing_twice(demo: Workspace) -> None:
    """Prevents duplicated passages, proposals and looks after an interrupted or repeated `make demo`."""
    before = counts(demo)
    prepare(demo, bar=no_bar, say=lambda line: None, limit=LIMIT)
    assert counts(demo) == before


def test_no_judgement_of_a_train_question_is_in_the_workspace(demo: Workspace) -> None:
    """Prevents the demo from training on its own answers while it claims that people gave them."""
    with demo.sessions.read() as session:
        splits = session.scalars(
            sa.select(m.QueryCluster.split)
            .join(m.Query, m.Query.cluster_id == m.QueryCluster.id)
            .join(m.Pair, m.Pair.query_id == m.Query.id)
            .join(m.Review, m.Review.pair_id == m.Pair.id)
            .join(m.Person, m.Person.id == m.Review.person_id)
            .where(m.Person.name == JUDGEMENTS)
            .distinct()
        ).all()
    assert set(splits) == {Split.CALIBRATE, Split.HELD_OUT}


def test_simulated_audits_say_what_the_judgements_say_and_leave_the_rest(demo: Workspace) -> None:
    """Prevents invented grades: a pair nobody judged must stay unanswered."""
    waiting = get_overview(demo).funnel.waiting
    report = simulate_audits(demo)
    assert report.answered + report.unanswered == waiting
    assert report.answered > 0
    assert get_overview(demo).funnel.waiting == report.unanswered
    judged = {question.id: set(question.judgements.values()) for question in load_questions()}
    with demo.sessions.read() as session:
        rows = session.execute(
            sa.select(m.Query.external_id, m.Review.grade)
            .join(m.Pair, m.Pair.query_id == m.Query.id)
            .join(m.Review, m.Review.pair_id == m.Pair.id)
            .join(m.Person, m.Person.id == m.Review.person_id)
            .where(m.Person.name == SIMULATED)
        ).all()
    assert len(rows) == report.answered
    assert all(grade in judged[question] for question, grade in rows)
