"""Definitions written by a real client from a real server's replies."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any, cast

import pytest

from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.chat import ChatModel, make_client
from annotator.judges.definitions import DefinitionRequest, DefinitionWriter, WrittenDefinition, parse_definition
from annotator.judges.retrying import RetryPolicy
from annotator.prompts.loader import load_text_prompt
from annotator.reply_json import ReplyUnreadable
from servers.scripted_llm import ScriptedLLM, says, server_error

GOOD = {"meaning": "Why dough stays flat.", "counts": ["causes", "remedies\nfor it"], "does_not_count": ["history"]}
TEXT = "Why dough stays flat.\nWould count:\n- causes\n- remedies for it\nWould not count:\n- history"


def written(server: ScriptedLLM, *queries: str) -> list[WrittenDefinition]:
    chat = ChatModel(
        make_client(api_key="test", base_url=server.base_url, timeout=10.0),
        model="scripted",
        ledger=InMemoryCallLedger(),
        retry=RetryPolicy(max_attempts=1),
    )
    writer = DefinitionWriter(chat, prompt=load_text_prompt("definition"))

    async def run() -> list[WrittenDefinition]:
        async with aclosing(
            cast("Any", writer.write([DefinitionRequest(n, q) for n, q in enumerate(queries)]))
        ) as all_:
            return [one async for one in all_]

    return sorted(asyncio.run(run()), key=lambda one: one.query_id)


def test_a_definition_is_meaning_and_examples_in_plain_lines() -> None:
    """Disaster: raw JSON shown to experts as their guideline."""
    with ScriptedLLM(otherwise=says(json.dumps(GOOD))) as server:
        (one,) = written(server, "why does dough stay flat")
    assert (one.text, one.problem) == (TEXT, None)
    assert one.usage.prompt_tokens > 0
    assert one.reply_key


def test_the_writer_is_shown_the_query_and_no_passage() -> None:
    """Disaster: the guideline says that what the retriever found first is what counts."""
    with ScriptedLLM(otherwise=says(json.dumps(GOOD))) as server:
        written(server, "why does dough stay flat")
        user = server.requests[0].user_message
    assert "why does dough stay flat" in user
    assert "passage" not in user.lower()


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "It is about bread.",
        json.dumps({**GOOD, "counts": []}),
        json.dumps({**GOOD, "counts": "causes"}),
        json.dumps({**GOOD, "meaning": " "}),
        json.dumps({"meaning": "x", "counts": ["y"]}),
        json.dumps({**GOOD, "counts": [1]}),
    ],
)
def test_a_definition_that_cannot_be_read_is_none_at_all(reply: str) -> None:
    """Disaster: an empty or half definition by which every passage of the query is then graded."""
    with ScriptedLLM(otherwise=says(reply)) as server:
        (one,) = written(server, "q")
    assert one.text is None
    assert one.problem


def test_a_failed_call_leaves_its_query_without_a_definition_and_the_others_are_written() -> None:
    """Disaster: one server error loses all definitions of a run."""

    def answer(request: Any) -> Any:
        return server_error() if "second" in request.user_message else says(json.dumps(GOOD))

    with ScriptedLLM(answer) as server:
        first, second, third = written(server, "first", "second", "third")
    assert (first.text, third.text) == (TEXT, TEXT)
    assert second.text is None
    assert "500" in (second.problem or "")


def test_a_definition_of_megabytes_is_cut_to_what_a_card_can_show() -> None:
    """Disaster: a runaway reply becomes part of every later prompt."""
    long = {"meaning": "m" * 5_000, "counts": ["c" * 5_000] * 20, "does_not_count": []}
    text = parse_definition(json.dumps(long))
    assert len(text) < 4_000
    assert "Would not count" not in text
    with pytest.raises(ReplyUnreadable):
        parse_definition(json.dumps(long), finish_reason="length")
