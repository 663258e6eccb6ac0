"""What a server can do, found out against servers that can do this or that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from annotator.errors import JudgeUnavailable
from annotator.judges.capabilities import Capabilities
from annotator.judges.chat import CallFailed, make_client
from annotator.judges.probing import probe
from annotator.judges.server_features import Features, ReplyFormat
from servers.scripted_llm import Behaviour, ScriptedLLM, fails, good, says, unauthorized


def probed(server: ScriptedLLM) -> Capabilities:
    return asyncio.run(probe(make_client(api_key="test", base_url=server.base_url, timeout=10.0), model="scripted"))


def test_a_server_that_can_everything_is_found_out_by_one_call() -> None:
    """Disaster: a probe that costs more than the labels it serves."""
    with ScriptedLLM([good(grade=3)]) as server:
        found = probed(server)
        assert len(server.requests) == 1
    assert found.features == Features()
    assert found.token_confidence
    assert found.obeys_format
    assert not found.reasons
    assert found.context_length is None


@pytest.mark.parametrize(
    ("refuses", "expected"),
    [
        (["logprobs"], Features(logprobs=False)),
        (["json_schema"], Features(reply_format=ReplyFormat.json_object)),
        (["response_format"], Features(reply_format=ReplyFormat.none)),
        (["temperature", "logprobs"], Features(temperature=False, logprobs=False)),
        (["max_completion_tokens"], Features(max_completion_tokens=False)),
    ],
)
def test_each_part_that_a_server_refuses_is_known_afterwards(refuses: list[str], expected: Features) -> None:
    """Disaster: each worker learns each refusal anew, one refused call after another."""
    with ScriptedLLM(refuses=refuses) as server:
        assert probed(server).features == expected


def test_log_probabilities_taken_in_silence_and_not_given_are_not_there() -> None:
    """Disaster: token confidence promised by doctor and missing in every label."""
    with ScriptedLLM([says('{"grade": 3}')]) as server:
        found = probed(server)
    assert not found.features.logprobs
    assert not found.token_confidence


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(text='{"grade": 3}', grade_probabilities={3: 0.99, 2: 0.01}, reasoning_tokens=80),
        says('<think>The sky is blue.</think>{"grade": 3}'),
    ],
)
def test_a_model_that_thinks_first_has_no_token_confidence(behaviour: Behaviour) -> None:
    """Disaster: 596 of 660 confidences at 100 %, because the grade was settled before its token came."""
    with ScriptedLLM([behaviour]) as server:
        found = probed(server)
    assert found.reasons
    assert found.obeys_format
    assert not found.token_confidence


def test_a_model_that_answers_in_prose_is_said_to() -> None:
    """Disaster: every label unreadable, and doctor found nothing wrong."""
    with ScriptedLLM([says("The passage is certainly relevant.")]) as server:
        assert not probed(server).obeys_format


def test_a_server_without_a_listing_or_an_answer_says_so() -> None:
    """Disaster: a traceback where an engineer asks what is wrong."""
    with ScriptedLLM([unauthorized()]) as server, pytest.raises(JudgeUnavailable):
        probed(server)
    with ScriptedLLM(otherwise=fails(400, message="no")) as server, pytest.raises(CallFailed):
        probed(server)


@pytest.mark.parametrize(
    ("extra", "length"),
    [({"max_model_len": 8192}, 8192), ({"meta": {"n_ctx_train": 4096}}, 4096), ({"context_length": "x"}, None)],
)
def test_the_context_length_is_taken_from_the_listing_where_it_is_told(
    extra: dict[str, Any], length: int | None
) -> None:
    """Disaster: list-wise calls of 60,000 characters to a model that holds 4,096 tokens."""
    with ScriptedLLM([good()], model_details={"scripted": extra}) as server:
        assert probed(server).context_length == length


def test_capabilities_survive_being_stored() -> None:
    """Disaster: workers start with other features than were found."""
    found = Capabilities(Features(ReplyFormat.json_object, logprobs=False), True, False, 4096, 12, 34)
    assert Capabilities.from_json(found.to_json()) == found
