"""Labelling with judges of lists: whole pools, stored together, each criterion apart, empty queries counted."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from annotator.judges.call_ledger import CallLedger
from annotator.types import Criterion
from app.bootstrap import Workspace, make_judge
from app.config import settings_from
from app.services import label_plans, labelling, labels, routing
from app.services.call_ledger import DatabaseLedger
from builders import TOPICS, add_candidates, add_corpus, add_suggestions
from db.models import PairState, Suggestion
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, graded_list, says, selected

TRAIN = TOPICS[:4]
N_PAIRS = 24


@pytest.fixture
def pooled(any_workspace: Workspace) -> Workspace:
    """Four train questions with six candidates each."""
    add_corpus(any_workspace, topics=TRAIN)
    add_candidates(any_workspace, topics=TRAIN)
    return any_workspace


def with_llm(workspace: Workspace, server: ScriptedLLM) -> Workspace:
    values = {"openai_base_url": server.base_url, "judge": "llm", "llm_model": "scripted", "llm_concurrency": 1}
    return replace(workspace, settings=settings_from(workspace.settings.workspace, values))


def made(workspace: Workspace, ledger: CallLedger, spec: dict[str, Any]) -> Any:
    return make_judge(workspace.settings, workspace.scale, ledger, spec)


def count(workspace: Workspace, table: type[Any]) -> int:
    with workspace.sessions.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def states(workspace: Workspace, criterion: Criterion) -> dict[int, tuple[int | None, int | None]]:
    """Pair id -> (suggestion id, curated grade) under one criterion."""
    with workspace.sessions.read() as session:
        rows = session.scalars(sa.select(PairState).where(PairState.criterion == criterion))
        return {state.pair_id: (state.suggestion_id, state.curated_grade) for state in rows}


def test_each_question_is_one_call_however_labelling_is_cut_up(
    pooled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool cut in two by a chunk or a batch is bought as two lists, and judged without its other half."""
    monkeypatch.setattr(labelling, "STORE_EVERY", 4)
    monkeypatch.setattr(labelling, "label_chunk", partial(labelling.label_chunk, limit=9))
    with ScriptedLLM(lambda request: graded_list(request, lambda text: len(text) % 4)) as server:
        workspace = with_llm(pooled, server)
        with DatabaseLedger(workspace) as ledger:
            report = labelling.label(workspace, made(workspace, ledger, {"kind": "listwise"}), ledger=ledger)
        assert (report.proposed, report.failed) == (N_PAIRS, 0)
        assert [len(request.passages) for request in server.requests] == [6, 6, 6, 6]


def test_a_job_stopped_between_lists_goes_on_without_buying_any_twice(
    pooled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop in the middle of a list has the rest of it asked for as another list, which is another reply to pay."""
    monkeypatch.setattr(labelling, "STORE_EVERY", 4)
    with ScriptedLLM(lambda request: graded_list(request, lambda text: len(text) % 4)) as server:
        workspace = with_llm(pooled, server)
        with DatabaseLedger(workspace) as ledger:
            judge = made(workspace, ledger, {"kind": "listwise"})
            labelling.label(workspace, judge, ledger=ledger, should_cancel=lambda: count(workspace, Suggestion) >= 6)
            stopped = count(workspace, Suggestion)
            assert stopped in (6, 12, 18)
            labelling.label(workspace, judge, ledger=ledger)
        assert count(workspace, Suggestion) == N_PAIRS
        assert len(server.requests) == 4


def pipeline(request: Request) -> Behaviour:
    """The first topic's passages are never relevant; of the others the first that is shown is useful."""
    name = request.body["response_format"]["json_schema"]["name"]
    if name == "pseudo_answer":
        return says(json.dumps({"answer": "Because."}))
    wanted = [topic.answer for topic in TRAIN[1:] if topic.question in request.user_message]
    return (
        selected(request, lambda text: any(text.endswith(answer) for answer in wanted), confidence=0.95)
        if name == "utilsel"
        else selected(request, lambda text: any(text.endswith(answer) for answer in wanted))
    )


def test_utility_has_states_of_its_own_and_relevance_stays_as_it_was(pooled: Workspace) -> None:
    """A label of usefulness replaces one of relevance, and the retriever trains on a mixture."""
    add_suggestions(pooled)
    before = states(pooled, Criterion.RELEVANCE)
    assert len(before) == N_PAIRS
    with ScriptedLLM(pipeline) as server:
        workspace = with_llm(pooled, server)
        with DatabaseLedger(workspace) as ledger:
            report = labelling.label(workspace, made(workspace, ledger, {"kind": "utility"}), ledger=ledger)
    assert (report.proposed, report.unreadable) == (N_PAIRS, 0)
    routing.route(workspace, criterion=Criterion.UTILITY)
    assert states(pooled, Criterion.RELEVANCE) == before
    useful = states(pooled, Criterion.UTILITY)
    assert len(useful) == N_PAIRS
    # Where nothing was picked no confidence is stated, so nothing is accepted and people look.
    assert sorted(grade for _, grade in useful.values() if grade is not None) == [0] * 15 + [3] * 3


def test_questions_without_a_useful_passage_are_counted_and_kept(pooled: Workspace) -> None:
    """They vanish, as in the released code, and the share of them is never known."""
    with ScriptedLLM(pipeline) as server:
        workspace = with_llm(pooled, server)
        with DatabaseLedger(workspace) as ledger:
            labelling.label(workspace, made(workspace, ledger, {"kind": "utility"}), ledger=ledger)
    found = labels.count_queries_without_positive(pooled, criterion=Criterion.UTILITY)
    assert (found.queries, found.without_positive) == (4, 1)
    assert labels.count_queries_without_positive(pooled, criterion=Criterion.RELEVANCE).queries == 0


@pytest.mark.parametrize(
    ("spec", "calls"),
    [
        ({"kind": "pointwise"}, 24),
        ({"kind": "pointwise", "prompt": "pointwise_sides"}, 24),
        ({"kind": "listwise"}, 4),
        ({"kind": "utility", "method": "utilsel"}, 12),
        ({"kind": "utility", "method": "utilrank"}, 12),
        ({"kind": "ensemble", "members": [{"kind": "pointwise"}, {"kind": "listwise"}]}, 28),
    ],
)
def test_every_kind_of_judge_has_a_plan_before_any_call(workspace: Workspace, spec: dict[str, Any], calls: int) -> None:
    """The dearest judge shows a plan of no calls."""
    add_corpus(workspace, topics=TRAIN)
    add_candidates(workspace, topics=TRAIN)
    with ScriptedLLM() as server:
        plan = label_plans.plan(with_llm(workspace, server), spec=spec)
        assert server.requests == []
    assert (plan.n_pairs, plan.n_calls) == (N_PAIRS, calls)
    assert plan.worst_tokens > plan.tokens > 0
    assert plan.prompt
