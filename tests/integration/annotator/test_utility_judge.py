"""The utility pipeline with the real client of OpenAI against a real server on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

import pytest

from annotator.judges.base import collect
from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.chat import ChatModel, make_client
from annotator.judges.pools import ListLimits
from annotator.judges.retrying import RetryPolicy
from annotator.judges.utility import NOTHING_RELEVANT, UtilityJudge, UtilityMethod, UtilityPrompts
from annotator.prompts.loader import load_prompt, load_text_prompt
from annotator.types import ConfidenceKind, Criterion, JudgeFailure, JudgeRequest, Proposal, Scale, SuggestionStatus
from servers.scripted_llm import (
    PROMPT_TOKENS,
    Behaviour,
    Request,
    ScriptedLLM,
    ranked,
    says,
    selected,
    server_error,
)

ANSWER = "It rises when the starter is fed."


async def no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


def prompts(method: UtilityMethod) -> UtilityPrompts:
    return UtilityPrompts(load_text_prompt("relsel"), load_text_prompt("pseudo_answer"), load_text_prompt(method.value))


def judge_at(
    server: ScriptedLLM, *, method: UtilityMethod = UtilityMethod.SELECT, limits: ListLimits | None = None
) -> UtilityJudge:
    chat = ChatModel(
        make_client(api_key="test", base_url=server.base_url, timeout=10.0),
        model="scripted",
        ledger=InMemoryCallLedger(),
        concurrency=4,
        retry=RetryPolicy(max_attempts=1),
        sleep=no_wait,
        draw=lambda: 0.0,
    )
    return UtilityJudge(chat, prompts=prompts(method), method=method, scale=Scale(), limits=limits)


def step(request: Request) -> str:
    """Which step a request is, from the form of reply it asks for."""
    return str(request.body["response_format"]["json_schema"]["name"])


def pool(*marks: str, query_id: int = 1) -> list[JudgeRequest]:
    """One passage a mark, its text the mark; pair ids from 1."""
    return [
        JudgeRequest(number, "why does dough rise", None, "", f"{number} {mark}", query_id=query_id)
        for number, mark in enumerate(marks, start=1)
    ]


Steps = Mapping[str, Callable[[Request], Behaviour]]


def says_by_step(**more: Callable[[Request], Behaviour]) -> Callable[[Request], Behaviour]:
    """An honest model: picks what says "relevant" or "useful", answers, picks what says "useful"."""
    steps: dict[str, Callable[[Request], Behaviour]] = {
        "relsel": lambda r: selected(r, lambda text: "relevant" in text or "useful" in text),
        "pseudo_answer": lambda r: says(json.dumps({"answer": ANSWER})),
        "utilsel": lambda r: selected(r, lambda text: "useful" in text, confidence=0.8),
        "utilrank": lambda r: ranked(r, lambda text: float("useful" in text) + 0.5 * ("relevant" in text)),
        **more,
    }
    return lambda request: steps[step(request)](request)


def ids_in(proposal: Proposal, name: str) -> list[int]:
    """The pair ids under a name of the proposal's context."""
    assert proposal.context is not None
    ids = proposal.context[name]
    assert isinstance(ids, list)
    return ids


def by_pair(results: list[Proposal | JudgeFailure]) -> dict[int, Proposal]:
    assert all(isinstance(result, Proposal) for result in results), results
    return {result.pair_id: result for result in results if isinstance(result, Proposal)}


def test_the_three_steps_end_in_useful_or_not_under_the_criterion_utility() -> None:
    """Disaster: utility stored as relevance, or relevance passed on as utility."""
    with ScriptedLLM(says_by_step()) as server:
        judge = judge_at(server)
        found = by_pair(collect(judge, pool("useful", "relevant", "other", "useful")))
        assert [step(request) for request in server.requests] == ["relsel", "pseudo_answer", "utilsel"]
    assert judge.identity.criterion is Criterion.UTILITY
    assert {pair: p.grade for pair, p in found.items()} == {1: 3, 2: 0, 3: 0, 4: 3}
    assert {(p.confidence, p.confidence_kind) for p in found.values()} == {(0.8, ConfidenceKind.VERBAL)}


def test_the_answer_is_written_from_the_picked_passages_only() -> None:
    """Disaster: the released code's fault, which writes the answer from the whole pool."""
    with ScriptedLLM(says_by_step()) as server:
        found = by_pair(collect(judge_at(server), pool("useful", "relevant", "other", "noise")))
        by_step = {step(request): request for request in server.requests}
    texts = set(by_step["pseudo_answer"].passages.values())
    assert texts == {"1 useful", "2 relevant"}
    assert len(by_step["relsel"].passages) == len(by_step["utilsel"].passages) == 4
    assert ANSWER in by_step["utilsel"].user_message
    context = found[1].context
    assert context is not None
    assert sorted(ids_in(found[1], "picked")) == sorted(ids_in(found[1], "sources")) == [1, 2]
    assert context["answer"] == ANSWER
    keys = context["keys"]
    assert isinstance(keys, dict)
    assert set(keys) == {"relsel", "pseudo_answer", "utilsel"}
    assert context["n_useful"] == 1


def test_a_query_of_which_nothing_is_relevant_is_kept_with_the_reason_and_no_answer_is_made_up() -> None:
    """Disaster: queries with no positive silently dropped, as in the released code, or an answer from nothing."""
    with ScriptedLLM(says_by_step()) as server:
        found = by_pair(collect(judge_at(server), pool("other", "noise", "noise")))
        assert [step(request) for request in server.requests] == ["relsel"]
    assert {(p.grade, p.reason) for p in found.values()} == {(0, NOTHING_RELEVANT)}
    assert all(p.context is not None and p.context["n_useful"] == 0 for p in found.values())
    assert all("answer" not in (p.context or {}) for p in found.values())


def test_ranking_makes_the_first_tenth_useful_rounded_down_and_at_least_one() -> None:
    """Disaster: a floor of zero for a pool of nine, or index -1 for the last of the list."""
    for size, top in ((3, 1), (19, 1), (20, 2), (31, 3)):
        marks = ["useful"] * 3 + ["relevant"] * (size - 3)
        with ScriptedLLM(says_by_step()) as server:
            found = by_pair(collect(judge_at(server, method=UtilityMethod.RANK), pool(*marks)))
        useful = [pair for pair, p in found.items() if p.grade == 3]
        assert len(useful) == top
        assert set(useful) <= {1, 2, 3}
        assert sum(p.grade == 0 for p in found.values()) == size - top


def test_a_passage_that_the_ranking_leaves_out_is_unreadable() -> None:
    """Disaster: what the model forgot counts as useless."""

    def forgets(request: Request) -> Behaviour:
        labels = [label for label, text in request.passages.items() if "noise" not in text]
        return says(json.dumps({"ranking": labels}))

    with ScriptedLLM(says_by_step(utilrank=forgets)) as server:
        found = by_pair(collect(judge_at(server, method=UtilityMethod.RANK), pool("useful", "relevant", "noise")))
    assert found[3].status is SuggestionStatus.UNREADABLE
    assert sorted(p.grade for pair, p in found.items() if pair != 3 and p.grade is not None) == [0, 3]


@pytest.mark.parametrize("broken", ["relsel", "pseudo_answer", "utilsel"])
@pytest.mark.parametrize(
    "reply",
    [
        says(""),
        says("I would rather not."),
        says('{"selected": ["1"], "answer": ""}'),
        says('{"selected": "all", "answer": ["x"]}'),
        says('{"selected": [], "answer": "x"}', finish_reason="length"),
    ],
)
def test_a_step_that_cannot_be_read_leaves_every_pair_unreadable(broken: str, reply: Behaviour) -> None:
    """Disaster: the model's thinking, or half a reply, read as a selection; or nothing read as nothing useful."""
    with ScriptedLLM(says_by_step(**{broken: lambda _: reply})) as server:
        found = by_pair(collect(judge_at(server), pool("useful", "other")))
    assert {(p.status, p.grade) for p in found.values()} == {(SuggestionStatus.UNREADABLE, None)}
    assert all(p.reason and p.raw_reply == reply.text for p in found.values())


def test_labels_in_the_models_thinking_are_not_its_selection() -> None:
    """Disaster: the released code's regular expression over text that includes the thinking."""

    def thinks(request: Request) -> Behaviour:
        first, second = list(request.passages)[:2]
        return says(f'<think>maybe {{"selected": ["{first}"]}}?</think>{{"selected": ["{second}"], "rest": 0.7}}')

    with ScriptedLLM(says_by_step(utilsel=thinks)) as server:
        found = by_pair(collect(judge_at(server), pool("useful", "relevant")))
    order = ids_in(found[1], "pool")
    assert [found[pair].grade for pair in order] == [0, 3]


def test_a_failed_call_in_any_step_fails_every_pair_and_keeps_what_was_paid() -> None:
    """Disaster: the first step bought again after the last one failed."""
    broken = says_by_step(utilsel=lambda _: server_error())
    with ScriptedLLM(broken) as server:
        judge = judge_at(server)
        results = collect(judge, pool("useful", "other"))
        assert all(isinstance(result, JudgeFailure) and result.retryable for result in results)
        assert len(results) == 2
        collect(judge, pool("useful", "other"))
        assert [step(r) for r in server.requests] == ["relsel", "pseudo_answer", "utilsel", "utilsel"]


def test_a_pool_beyond_one_call_is_picked_from_in_parts_and_refused_where_it_would_be_ranked() -> None:
    """Disaster: a ranking of halves sold as one, or passages that no call ever showed."""
    marks = ["useful", "relevant", "other", "useful", "other", "noise"]
    limits = ListLimits(passages=3)
    with ScriptedLLM(says_by_step()) as server:
        found = by_pair(collect(judge_at(server, limits=limits), pool(*marks)))
        assert [step(r) for r in server.requests].count("pseudo_answer") == 1
        assert [len(r.passages) for r in server.requests if step(r) != "pseudo_answer"] == [3, 3, 3, 3]
    assert {pair for pair, p in found.items() if p.grade == 3} == {1, 4}
    with ScriptedLLM(says_by_step()) as server:
        results = collect(judge_at(server, method=UtilityMethod.RANK, limits=limits), pool(*marks))
        assert server.requests == []
    assert all(isinstance(r, JudgeFailure) and not r.retryable and "6 passages" in r.reason for r in results)


def test_what_all_steps_used_is_shared_by_the_pool_and_adds_up() -> None:
    """Disaster: the price of the pipeline shown is that of its last call."""
    with ScriptedLLM(says_by_step()) as server:
        found = by_pair(collect(judge_at(server), pool("useful", "other", "other")))
    assert sum(p.usage.prompt_tokens for p in found.values()) == 3 * PROMPT_TOKENS


def test_a_prompt_of_another_criterion_is_refused_and_any_change_of_a_prompt_is_another_judge() -> None:
    """Disaster: relevance and utility mixed in one pipeline."""
    good = prompts(UtilityMethod.SELECT)
    assert good.version != prompts(UtilityMethod.RANK).version
    assert load_prompt().criterion is Criterion.RELEVANCE
    wrong = UtilityPrompts(load_text_prompt("listwise_relevance"), good.pseudo_answer, good.last)
    with ScriptedLLM() as server, pytest.raises(ValueError, match="not about utility"):
        UtilityJudge(judge_at(server).chat, prompts=wrong, method=UtilityMethod.SELECT, scale=Scale())
