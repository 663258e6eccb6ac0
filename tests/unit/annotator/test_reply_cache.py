"""Keys that separate what differs and join what is the same; replies that survive being stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.confidence import TokenLogprob
from annotator.judges.reply_cache import CachedReply, reply_key
from annotator.judges.retrying import RetryPolicy, retry_after_seconds
from annotator.judges.server_features import Features, ReplyFormat
from annotator.prompts.loader import Message

MESSAGES = (Message("system", "judge"), Message("user", "this"))


def key(**changes: object) -> str:
    parts = {"model": "m", "parameters": {"t": 0, "n": 5}, "prompt_version": "v", "messages": MESSAGES, **changes}
    return reply_key(**parts)  # type: ignore[arg-type]


def test_the_key_depends_on_everything_that_decides_the_reply_and_not_on_order() -> None:
    """Disaster: one model's replies served as another's."""
    different = [
        key(),
        key(model="n"),
        key(parameters={"t": 1, "n": 5}),
        key(prompt_version="w"),
        key(messages=MESSAGES[::-1]),
        key(messages=(Message("system", "judgethis"), Message("user", ""))),
    ]
    assert len(set(different)) == len(different)
    assert key(parameters={"n": 5, "t": 0}) == key()


@given(
    st.text(), st.one_of(st.none(), st.lists(st.tuples(st.integers(0, 9), st.text(), st.floats(-99, 0)), max_size=3))
)
def test_a_stored_reply_comes_back_unchanged(text: str, tokens: list[tuple[int, str, float]] | None) -> None:
    """Disaster: a cached reply that reads differently from the fresh one."""
    logprobs = None if tokens is None else tuple(TokenLogprob(o, t, p, ((t, p), ("x", -1.0))) for o, t, p in tokens)
    reply = CachedReply(text, "stop", logprobs, 1, 2, "m", reasoned=True)
    assert CachedReply.from_json(reply.to_json()) == reply


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 -0000"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Thu, 99 Foo 1970"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_the_wait_a_server_names_is_read_or_passed_over(headers: dict[str, str], seconds: float | None) -> None:
    """Disaster: an odd header that ends the job, or a wait in the past that never ends."""
    assert retry_after_seconds(headers, now=10.0) == seconds


def test_a_retry_policy_without_attempts_is_refused() -> None:
    """Disaster: a setting of 0 that makes no call and loses every pair."""
    with pytest.raises(ValueError, match="at least one attempt"):
        RetryPolicy(max_attempts=0)


def test_two_refusals_learnt_at_once_are_both_remembered() -> None:
    """Disaster: two calls that undo each other's lesson for ever."""
    one, two = Features(logprobs=False), Features(reply_format=ReplyFormat.json_object, temperature=False)
    both = one.common_with(two)
    assert both == two.common_with(one)
    assert (both.logprobs, both.temperature, both.reply_format) == (False, False, ReplyFormat.json_object)


def test_an_error_about_nothing_in_use_changes_nothing() -> None:
    """Disaster: an endless loop over a refusal that no fallback answers."""
    bare = Features(ReplyFormat.none, temperature=False, logprobs=False, max_completion_tokens=False)
    for message in ("response_format", "temperature", "logprobs", "use max_completion_tokens", "bad input"):
        assert bare.without_refused(parameter=None, message=message) is None
