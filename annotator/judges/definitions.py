"""Writes what counts as relevant for a query, once, from the query alone; people edit it afterwards.

Source: per-query relevance definitions (meaning and examples of what would count) follow DIRAS (arXiv 2406.14162); that
they are written without seeing passages, and the limits here, are our choice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from annotator.cleaning import one_line
from annotator.judges.chat import CallFailed, ChatModel, ChatRequest
from annotator.judges.running import run_all
from annotator.prompts.loader import TextPrompt
from annotator.reply_json import Pairs, ReplyUnreadable, read_object, short_text
from annotator.types import JudgeIdentity, JudgeKind, Usage

MAX_MEANING = 1_000
MAX_EXAMPLE = 300
MAX_EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class DefinitionRequest:
    """One query that needs a definition."""

    query_id: int
    query: str


@dataclass(frozen=True, slots=True)
class WrittenDefinition:
    """What was written for one query; `text` is None when no reply came or it could not be read, and `problem` why."""

    query_id: int
    text: str | None
    problem: str | None
    usage: Usage
    reply_key: str | None = None


class DefinitionWriter:
    """One model with the prompt for definitions."""

    def __init__(self, chat: ChatModel, *, prompt: TextPrompt, max_completion_tokens: int = 400) -> None:
        if max_completion_tokens < 1:
            raise ValueError(f"max_completion_tokens {max_completion_tokens} must be positive")
        self.chat = chat
        self.prompt = prompt
        self._max_completion_tokens = max_completion_tokens
        self.identity = JudgeIdentity(
            name=f"{chat.model}/{prompt.name}",
            kind=JudgeKind.LLM,
            model=chat.model,
            prompt_version=prompt.version,
            criterion=prompt.criterion,
            certifiable=False,
            parameters={"temperature": 0, "max_completion_tokens": max_completion_tokens},
        )

    def chat_request(self, query: str) -> ChatRequest:
        """The call that asks for one query's definition."""
        return ChatRequest(
            messages=self.prompt.render({"query": query}).messages,
            schema=dict(self.prompt.schema),
            schema_name="definition_of_relevance",
            prompt_version=self.prompt.version,
            max_completion_tokens=self._max_completion_tokens,
            want_logprobs=False,
        )

    async def write(self, requests: Sequence[DefinitionRequest]) -> AsyncIterator[WrittenDefinition]:
        """One result a query, in order of completion; closed early, what is under way is still stored.

        Raises:
            JudgeUnavailable, CapReached: no further call may be made.
        """
        async with self.chat.session() as session:

            async def one(request: DefinitionRequest) -> WrittenDefinition:
                try:
                    answer = await session.ask(self.chat_request(request.query))
                except CallFailed as failure:
                    return WrittenDefinition(request.query_id, None, failure.reason, Usage())
                reply = answer.reply
                try:
                    text = parse_definition(reply.text, finish_reason=reply.finish_reason)
                except ReplyUnreadable as why:
                    return WrittenDefinition(request.query_id, None, str(why), answer.usage, answer.key)
                return WrittenDefinition(request.query_id, text, None, answer.usage, answer.key)

            async with aclosing(run_all(session, requests, one, concurrency=self.chat.concurrency)) as results:
                async for written in results:
                    yield written


def parse_definition(text: str, *, finish_reason: str | None = None) -> str:
    """The definition in a reply as plain text: its meaning, then what would count and what would not, one a line.

    Raises:
        ReplyUnreadable: a part is missing or says nothing.
    """
    reply = read_object(text, key="meaning", finish_reason=finish_reason)
    meaning = one_line(short_text(reply.pairs.the("meaning"), limit=MAX_MEANING), limit=MAX_MEANING)
    lines = [meaning, "Would count:", *_examples(reply.pairs, "counts")]
    if excluded := _examples(reply.pairs, "does_not_count", may_be_empty=True):
        lines += ["Would not count:", *excluded]
    return "\n".join(lines)


def _examples(pairs: Pairs, key: str, *, may_be_empty: bool = False) -> list[str]:
    values = pairs.the(key)
    if isinstance(values, Pairs) or not isinstance(values, list):
        raise ReplyUnreadable(f"{key!r} is no list")
    examples = [f"- {one_line(short_text(v, limit=MAX_EXAMPLE), limit=MAX_EXAMPLE)}" for v in values[:MAX_EXAMPLES]]
    if not examples and not may_be_empty:
        raise ReplyUnreadable(f"{key!r} is empty")
    return examples
