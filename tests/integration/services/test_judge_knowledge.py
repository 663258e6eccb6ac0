"""What the workspace knows before a judge asks: probed features, and what members of an ensemble have said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from annotator.errors import CapReached, JudgeUnavailable
from annotator.judges.call_ledger import InMemoryCallLedger
from app.bootstrap import Workspace, make_chat, make_judge
from app.config import settings_from
from app.errors import SettingsInvalid
from app.services import definitions, doctor, label_jobs, labelling
from app.services.judge_knowledge import get_capabilities, known_to
from builders import TOPICS, add_candidates, add_corpus, query_id
from db.enums import RunStatus
from servers.scripted_llm import COMPLETION_TOKENS, PROMPT_TOKENS, Behaviour, Request, ScriptedLLM, fails, good

TRAIN = TOPICS[:2]


def with_llm(workspace: Workspace, server: ScriptedLLM) -> Workspace:
    values = {"openai_base_url": server.base_url, "judge": "llm", "llm_model": "scripted"}
    return replace(workspace, settings=settings_from(workspace.settings.workspace, values))


def made(workspace: Workspace, spec: dict[str, Any]) -> Any:
    return make_judge(workspace.settings, workspace.scale, InMemoryCallLedger(), spec, known=known_to(workspace))


def detail(workspace: Workspace, name: str) -> tuple[bool | None, str]:
    check = next(check for check in doctor.examine(workspace) if check.name == name)
    return check.ok, check.detail


def test_what_a_probe_found_is_kept_shown_and_used_from_the_first_call(any_workspace: Workspace) -> None:
    """Each worker learns each refusal anew, and doctor says "fine" of a server that can do nothing."""
    with ScriptedLLM(refuses=["logprobs", "json_schema"]) as server:
        workspace = with_llm(any_workspace, server)
        assert get_capabilities(workspace) is None
        assert detail(workspace, "LLM can") == (None, "not probed")
        found = doctor.probe(workspace)
        assert get_capabilities(workspace) == found
        ok, said = detail(workspace, "LLM can")
        assert ok is True
        assert "log-probabilities no, structured output json object" in said
        assert "confidence is verbal" in said
        refused = len(server.requests)
        add_corpus(workspace, topics=TRAIN)
        add_candidates(workspace, topics=TRAIN)
        labelling.label(workspace, made(workspace, {"kind": "pointwise"}))
        assert len(server.requests) == refused + 12  # not one refused call more
        assert all("logprobs" not in request.body for request in server.requests[refused:])


def test_what_one_model_can_says_nothing_of_another(workspace: Workspace) -> None:
    """A model with log-probabilities is never asked for them because its neighbour had none."""
    with ScriptedLLM(refuses=["logprobs"]) as server:
        first = with_llm(workspace, server)
        doctor.probe(first)
        other = replace(first, settings=first.settings.model_copy(update={"llm_model": "another"}))
        assert get_capabilities(other) is None
        assert make_chat(other.settings, InMemoryCallLedger(), known=known_to(other)).features.logprobs
        assert not make_chat(first.settings, InMemoryCallLedger(), known=known_to(first)).features.logprobs


def test_a_probe_is_charged_to_a_job_of_its_own_and_kept_under_the_caps(any_workspace: Workspace) -> None:
    """A call that is on no bill and stops at no cap; or a second probe that is answered from the store."""
    with ScriptedLLM() as server:
        workspace = with_llm(any_workspace, server)
        capped = replace(workspace, settings=workspace.settings.model_copy(update={"llm_cap_tokens": 1_000}))
        with pytest.raises(CapReached):
            doctor.probe(capped)
        assert server.requests == []
        (view,) = label_jobs.list_jobs(workspace)
        assert (view.status, view.token_cap, view.spent_tokens) == (RunStatus.FAILED, 1_000, 0)
        roomy = replace(workspace, settings=workspace.settings.model_copy(update={"llm_cap_tokens": 10_000}))
        for _ in range(2):
            doctor.probe(roomy)
        assert len(server.requests) == 2
    spent = [(job.status, job.token_cap, job.spent_tokens) for job in label_jobs.list_jobs(workspace)]
    assert spent == [(RunStatus.DONE, 10_000, PROMPT_TOKENS + COMPLETION_TOKENS)] * 2


def test_a_probe_that_gets_no_answer_says_why(workspace: Workspace) -> None:
    """A traceback where an engineer asks what is wrong."""
    with ScriptedLLM(otherwise=fails(400, message="no such thing")) as server, pytest.raises(JudgeUnavailable):
        doctor.probe(with_llm(workspace, server))
    with pytest.raises(SettingsInvalid):
        doctor.probe(workspace)


def test_an_ensemble_reads_what_its_members_have_said_and_asks_only_for_the_rest(any_workspace: Workspace) -> None:
    """Three judges already paid for are paid again to be seen together; or a stale vote counts."""

    def answer(request: Request) -> Behaviour:
        return good(grade=2)

    with ScriptedLLM(answer) as server:
        workspace = with_llm(any_workspace, server)
        add_corpus(workspace, topics=TRAIN)
        add_candidates(workspace, topics=TRAIN)
        labelling.label(workspace, made(workspace, {"kind": "pointwise"}))
        definitions.set_definition(workspace, query=query_id(TRAIN[0]), text="Causes count.", person="Ada")
        assert len(server.requests) == 12
        names = ("pointwise_relevance", "pointwise_sides")
        jury = made(workspace, {"kind": "ensemble", "members": [{"kind": "pointwise", "prompt": n} for n in names]})
        report = labelling.label(workspace, jury)
        assert report.proposed == 12
        # Of the first member only the six pairs whose definition changed; of the second all twelve.
        assert len(server.requests) == 12 + 6 + 12


def test_a_model_that_holds_little_gets_shorter_lists(workspace: Workspace) -> None:
    """Every list-wise call to a small model is refused, one pool after another."""
    with ScriptedLLM(lambda r: good(), model_details={"scripted": {"max_model_len": 2_048}}) as server:
        small = with_llm(workspace, server)
        usual = made(small, {"kind": "listwise"}).identity.parameters["max_characters"]
        doctor.probe(small)
        for kind in ("listwise", "utility"):
            less = made(small, {"kind": kind}).identity.parameters["max_characters"]
            assert less == 2 * (2_048 * 3 // 4 - small.settings.llm_max_completion_tokens)
            assert less < usual


def test_a_thinking_model_without_room_to_think_is_said_to_be_out_of_order(workspace: Workspace) -> None:
    """Every reply is cut off and unreadable, and doctor finds nothing wrong."""
    thinks = Behaviour(text='{"grade": 3}', reasoning_tokens=180, completion_tokens=200)
    with ScriptedLLM(otherwise=thinks) as server:
        tight = with_llm(workspace, server)
        doctor.probe(tight)
        ok, said = detail(tight, "LLM can")
        assert ok is False
        assert "200 tokens on one small question" in said
        roomy = replace(tight, settings=tight.settings.model_copy(update={"llm_max_completion_tokens": 800}))
        assert detail(roomy, "LLM can")[0] is True
