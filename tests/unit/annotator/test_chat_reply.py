"""What is kept of a server's answer, whatever its shape; and the worst case of a call before it is made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.chat import CALL_OVERHEAD, MESSAGE_OVERHEAD, ChatModel, ChatRequest, Price, make_client
from annotator.judges.chat_reply import NoReply, reply_of
from annotator.judges.reply_cache import CachedReply
from annotator.prompts.loader import Message

KEYS = st.sampled_from(
    ["choices", "message", "content", "refusal", "usage", "prompt_tokens", "logprobs", "token", "logprob", "model"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


def answer(**message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


@given(ANYTHING, ANYTHING, ANYTHING)
def test_no_shape_of_an_answer_breaks_the_job(choice: Any, usage: Any, logprobs: Any) -> None:
    """Disaster: one odd server whose answer ends a job of a hundred thousand calls with a traceback."""
    for shape in (choice, {"choices": choice}, {"choices": [choice], "usage": usage}):
        try:
            assert isinstance(reply_of(shape, model="m"), CachedReply)
        except NoReply:
            continue
    shaped = {**answer(content="grade 2"), "usage": usage}
    shaped["choices"][0]["logprobs"] = logprobs
    reply = reply_of(shaped, model="m")
    assert (reply.text, reply.model) == ("grade 2", "m")
    assert 0 <= reply.prompt_tokens < 2**31
    assert CachedReply.from_json(reply.to_json()) == reply


@pytest.mark.parametrize("shape", [None, [], {}, "<html>", {"choices": []}, {"choices": [{}]}, {"choices": "none"}])
def test_an_answer_without_a_message_is_no_reply(shape: object) -> None:
    """Disaster: nothing at all, stored as an empty reply and never asked for again."""
    with pytest.raises(NoReply):
        reply_of(shape, model="m")


@pytest.mark.parametrize("logprob", [10**400, float("nan"), float("-inf"), True, "-1", None])
def test_a_log_probability_that_is_none_makes_no_distribution(logprob: object) -> None:
    """Disaster: a number that no float holds ends the job, or NaN becomes a confidence."""
    shaped = answer(content="2")
    shaped["choices"][0]["logprobs"] = {"content": [{"token": "2", "logprob": logprob, "top_logprobs": []}]}
    assert reply_of(shaped, model="m").logprobs is None


def test_content_in_parts_is_one_text_and_a_refusal_is_a_text() -> None:
    """Disaster: a server that sends parts judged unreadable throughout."""
    parts = [{"type": "text", "text": '{"grade"'}, {"type": "text", "text": ": 2}"}]
    assert reply_of(answer(content=parts), model="m").text == '{"grade": 2}'
    assert reply_of(answer(content=None, refusal="I will not."), model="m").text == "I will not."


def model(price: Price | None = None) -> ChatModel:
    client = make_client(api_key="k", base_url="http://127.0.0.1:9/v1")
    return ChatModel(client, model="m", ledger=InMemoryCallLedger(), price=price)


@settings(deadline=None)  # a client takes its time to make on a busy machine
@given(st.lists(st.text(), min_size=1, max_size=3), st.integers(1, 5_000))
def test_the_worst_case_holds_every_byte_of_the_prompt_and_the_limit_of_the_reply(texts: list[str], most: int) -> None:
    """Disaster: a cap that a text in another script runs past, because its tokens were counted as English."""
    schema = {"type": "object", "properties": {"grade": {"type": "integer"}}}
    messages = tuple(Message("user", text) for text in texts)
    request = ChatRequest(messages, schema, "s", "v", most)
    tokens, cost = model(Price(1.0, 10.0)).worst_case(request)
    in_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts)
    expected = in_bytes + len(texts) * MESSAGE_OVERHEAD + len(json.dumps(schema)) + CALL_OVERHEAD
    assert tokens == expected + most
    assert cost == pytest.approx((expected * 1.0 + most * 10.0) / 1e6)
    assert model().worst_case(request) == (tokens, None)


def test_schemas_that_differ_never_share_a_key() -> None:
    """Disaster: the replies to one form served for another, because the first schema's text was remembered."""
    asking = model()
    keys = set()
    for n in range(300):
        schema = {"type": "object", "title": f"form {n}"}
        keys.add(asking.key_of(ChatRequest((Message("user", "x"),), schema, "s", "v", 10)))
    assert len(keys) == 300
