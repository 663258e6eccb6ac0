"""One model at one endpoint: every call of the product to an LLM goes through here, reserved before, stored after.

What is asked and how replies are read belongs to the judges; waits, caches and fallbacks have modules of their own.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import openai

from annotator.cleaning import one_line
from annotator.errors import JudgeUnavailable
from annotator.judges.call_ledger import CallLedger
from annotator.judges.chat_reply import NoReply, reply_of
from annotator.judges.reply_cache import CachedReply, reply_key
from annotator.judges.retrying import RetryPolicy, retry_after_seconds
from annotator.judges.server_features import Features
from annotator.prompts.loader import Message
from annotator.types import Usage

TOP_LOGPROBS = 10
MESSAGE_OVERHEAD = 16
CALL_OVERHEAD = 256
_SCHEMAS_KEPT = 100
_AS_A_USER: Any = {"security": {"bearer_auth": True}}
"""The key of the account, never an administrator's that happens to be in the environment."""
_RETRIED = frozenset({408, 409, 425, 429})
_FLAGGED = re.compile(r"flagged|moderation|content[ _](?:filter|policy)", re.I)
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars a million tokens."""

    prompt_usd_per_million: float
    completion_usd_per_million: float

    def cost(self, *, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for one call."""
        micro = prompt_tokens * self.prompt_usd_per_million + completion_tokens * self.completion_usd_per_million
        return micro / 1_000_000


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call: what to ask, in which form to be answered, and at most how long the answer may be, in tokens."""

    messages: tuple[Message, ...]
    schema: Mapping[str, object] | None
    schema_name: str
    prompt_version: str
    max_completion_tokens: int
    want_logprobs: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply with the key it is stored under; `cost_usd` is 0 for a stored one and None where the price is unknown."""

    reply: CachedReply
    key: str
    cached: bool
    cost_usd: float | None

    @property
    def usage(self) -> Usage:
        """The reply's tokens and what it cost now."""
        return Usage(self.reply.prompt_tokens, self.reply.completion_tokens, self.cached, self.cost_usd)


class CallFailed(Exception):
    """One request got no valid reply; `retryable` says whether asking again later could help."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


class CallStopped(Exception):
    """The session was stopped before this call began: nothing failed, and nothing is known. Judges let it pass."""


def make_client(*, api_key: str, base_url: str | None = None, timeout: float = 60.0) -> openai.AsyncOpenAI:
    """A client that makes each call once, for retries of its own would escape every cap.

    `timeout` is in seconds: the client's own holds for each read, and `ChatModel` holds a whole call to it.
    """
    return openai.AsyncOpenAI(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=0)


class ChatModel:
    """One model at one endpoint, with what is known of it: price, limits, and the features its server refused.

    The client lends its settings only: every session opens connections of its own, for a pool cannot outlive its event
    loop, and a caller may well run one loop a batch.

    Raises:
        ValueError: the client retries by itself, or `concurrency` is not positive.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        *,
        model: str,
        ledger: CallLedger,
        concurrency: int = 8,
        price: Price | None = None,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        if client.max_retries != 0:
            raise ValueError("the client retries by itself; make it with max_retries=0 (see make_client)")
        if concurrency < 1:
            raise ValueError(f"concurrency {concurrency} must be positive")
        self.model = model
        self.price = price
        self.concurrency = concurrency
        self.ledger = ledger
        self.features = Features()
        self._schemas: dict[int, tuple[Mapping[str, object], str]] = {}
        self._client = client
        self.seconds_a_call = client.timeout.read if isinstance(client.timeout, openai.Timeout) else client.timeout
        self.retry = retry or RetryPolicy()
        self.sleep = sleep
        self.draw = draw
        self.now = now

    def parameters(self, request: ChatRequest) -> dict[str, str | int | float | bool]:
        """What is asked for beside the messages: those parameters that were meant, whatever a server refused since."""
        return {
            "temperature": 0,
            "max_completion_tokens": request.max_completion_tokens,
            "top_logprobs": TOP_LOGPROBS if request.want_logprobs else 0,
            "schema": self._schema_text(request.schema),
        }

    def key_of(self, request: ChatRequest) -> str:
        """Under which key the reply to this request is stored."""
        return reply_key(
            model=self.model,
            parameters=self.parameters(request),
            prompt_version=request.prompt_version,
            messages=request.messages,
        )

    def _schema_text(self, schema: Mapping[str, object] | None) -> str:
        """The schema as JSON; written once a schema, for a judge shows thousands of pairs the same one."""
        if schema is None:
            return ""
        known = self._schemas.get(id(schema))
        if known is None or known[0] is not schema:
            if len(self._schemas) >= _SCHEMAS_KEPT:
                self._schemas.clear()
            known = self._schemas[id(schema)] = (schema, json.dumps(schema, ensure_ascii=True))
        return known[1]

    def worst_case(self, request: ChatRequest) -> tuple[int, float | None]:
        """The most tokens one call can use, and their price, or None where it is unknown.

        No byte-level tokenizer makes more tokens of a text than it has bytes in UTF-8. To messages and schema comes an
        allowance for what a chat template puts around them (our choice: 16 tokens a message and 256 a call) and the
        limit on the reply. A tokenizer that expands characters before it splits them is not bounded so.
        """
        schema = len(self._schema_text(request.schema))
        texts = sum(len(m.content.encode("utf-8", "replace")) + MESSAGE_OVERHEAD for m in request.messages)
        prompt = texts + schema + CALL_OVERHEAD
        cost = None
        if self.price is not None:
            cost = self.price.cost(prompt_tokens=prompt, completion_tokens=request.max_completion_tokens)
        return prompt + request.max_completion_tokens, cost

    def learn(self, features: Features) -> None:
        """Remembers which features a call did without, so that no later call tries them."""
        self.features = self.features.common_with(features)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[ChatSession]:
        """Open connections, for as long as the block lasts."""
        async with openai.DefaultAsyncHttpxClient() as connections:
            client = self._client.copy(http_client=cast(Any, connections), max_retries=0)
            yield ChatSession(self, client)


class CallCount:
    """How many calls a worker of `run_all`, and the tasks it started, have under way."""

    def __init__(self) -> None:
        self.under_way = 0


calls_of_worker: ContextVar[CallCount | None] = ContextVar("calls_of_worker", default=None)


class ChatSession:
    """One pass over one batch: its connections and the calls that it has under way.

    At most `concurrency` calls of the model are under way at once. After `stop` no call is begun any more; those under
    way go on until their replies are stored, for they are paid for.
    """

    def __init__(self, model: ChatModel, client: openai.AsyncOpenAI) -> None:
        self._model = model
        self._client = client
        self._slots = asyncio.Semaphore(model.concurrency)
        self._under_way: dict[str, asyncio.Future[CachedReply]] = {}
        self._stopping = False
        self._unavailable: JudgeUnavailable | None = None

    def stop(self) -> None:
        """Begins no further call; whoever asks from now on gets `CallStopped`."""
        self._stopping = True

    async def ask(self, request: ChatRequest) -> Answer:
        """The stored reply, that of an identical request under way, or a new one, stored before it is returned.

        Raises:
            CallFailed: this request got no reply.
            CallStopped: the session was stopped first.
            JudgeUnavailable: no request can succeed with the present settings.
            CapReached: the job may not spend what this call could cost.
        """
        key = self._model.key_of(request)
        if key in self._under_way:
            return Answer(await asyncio.shield(self._under_way[key]), key, cached=True, cost_usd=0.0)
        future: asyncio.Future[CachedReply] = asyncio.get_running_loop().create_future()
        self._under_way[key] = future
        try:
            answer = await self._until_answered(key, request)
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(exc)
                future.exception()  # marks it as seen: mostly nobody else waits for it
            raise
        else:
            future.set_result(answer.reply)
            return answer
        finally:
            del self._under_way[key]

    async def _until_answered(self, key: str, request: ChatRequest) -> Answer:
        attempt = 0
        while True:
            outcome = await self._attempt(key, request)
            if isinstance(outcome, Answer):
                return outcome
            if outcome.unavailable is not None:
                self._unavailable = outcome.unavailable
                raise outcome.unavailable
            if outcome.final:
                raise CallFailed(outcome.reason, retryable=False)
            attempt += 1
            wait = self._model.retry.wait(attempt=attempt, retry_after=outcome.retry_after, draw=self._model.draw())
            if self._stopping:
                raise CallStopped
            if wait is None:
                raise CallFailed(f"gave up after {attempt} attempts: {outcome.reason}", retryable=True)
            await self._model.sleep(wait)

    async def _attempt(self, key: str, request: ChatRequest) -> Answer | _Refusal:
        """One attempt, reserved before and settled after; a call that the server did not understand is part of it."""
        ledger = self._model.ledger
        worst_tokens, worst_cost = self._model.worst_case(request)
        self._raise_if_over()
        ticket = await ledger.begin(key, worst_tokens=worst_tokens, worst_cost_usd=worst_cost)
        if isinstance(ticket, CachedReply):
            return Answer(ticket, key, cached=True, cost_usd=0.0)
        async with AsyncExitStack() as place:
            try:
                await place.enter_async_context(self._slots)
                await place.enter_async_context(ledger.place())
                self._raise_if_over()
            except BaseException:
                await ledger.abandon(ticket, may_have_cost=False)
                raise
            # The place is kept until the reply is stored: a crash loses no more replies than calls may be under way.
            with _counted():
                try:
                    outcome = await self._call_as_understood(request)
                except (Exception, asyncio.CancelledError):  # nobody waits for it any more, and it may be billed
                    with suppress(Exception):
                        await ledger.abandon(ticket, may_have_cost=True)
                    raise
                if isinstance(outcome, _Refusal):
                    await ledger.abandon(ticket, may_have_cost=outcome.may_have_cost)
                    return outcome
                cost = self._cost(outcome, worst=worst_cost)
                await ledger.settle(ticket, outcome, cost_usd=cost)
                return Answer(outcome, key, cached=False, cost_usd=cost)

    def _raise_if_over(self) -> None:
        if self._unavailable is not None:
            raise self._unavailable
        if self._stopping:
            raise CallStopped

    async def _call_as_understood(self, request: ChatRequest) -> CachedReply | _Refusal:
        """One call, made again more simply where the server refuses a field; what it refused cost nothing."""
        features = Features()
        while True:
            features = features.common_with(self._model.features)
            outcome = await self._call(request, features)
            if isinstance(outcome, CachedReply):
                # Remembered only now that it helped: an error may name a field just because it repeats a passage.
                self._model.learn(_learnt(features, request=request, reply=outcome))
                return outcome
            if outcome.weaker is None:
                return outcome
            features = outcome.weaker

    def _cost(self, reply: CachedReply, *, worst: float | None) -> float | None:
        """US dollars for this reply; its worst case where the server named no tokens."""
        price = self._model.price
        if price is None or reply.prompt_tokens <= 0:
            return worst
        return price.cost(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)

    async def _call(self, request: ChatRequest, features: Features) -> CachedReply | _Refusal:
        """One call over the wire: its reply, or why there is none."""
        body = features.body(
            schema=request.schema,
            schema_name=request.schema_name,
            max_completion_tokens=request.max_completion_tokens,
            top_logprobs=TOP_LOGPROBS if request.want_logprobs else None,
        )
        asked = {
            "model": self._model.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "stream": False,
            **body,
        }
        try:
            async with asyncio.timeout(self._model.seconds_a_call):
                completion = await self._client.post(
                    "/chat/completions", cast_to=object, body=asked, options=_AS_A_USER
                )
            return reply_of(completion, model=self._model.model)
        except openai.APIStatusError as exc:
            weaker = _weaker_features(features, exc)
            if weaker is not None:
                return _Refusal(f"HTTP {exc.status_code}", may_have_cost=False, weaker=weaker)
            return self._refusal_of(exc)
        except (openai.APITimeoutError, TimeoutError):  # TimeoutError: each part came in time, the whole did not
            return _Refusal("the server did not answer in time", may_have_cost=True)
        except openai.APIConnectionError as exc:
            reason = f"no connection to the server: {one_line(str(exc.__cause__ or exc), limit=200)}"
            never_sent = type(exc.__cause__).__name__ == "ConnectError"
            return _Refusal(reason, may_have_cost=not never_sent)
        except (openai.OpenAIError, NoReply, json.JSONDecodeError) as exc:
            return _Refusal(f"the server sent no reply: {one_line(str(exc), limit=200)}", may_have_cost=True)

    def _refusal_of(self, exc: openai.APIStatusError) -> _Refusal:
        """What an error status means for this call and for all others."""
        status, said = exc.status_code, one_line(str(exc.message), limit=300)
        model = self._model.model
        unavailable: JudgeUnavailable | None = None
        if status == 402 or (status == 429 and (exc.code in _NO_CREDIT or exc.type in _NO_CREDIT)):
            unavailable = JudgeUnavailable(
                f"no credit ({status}): {said}", user_message="The account of the LLM service has no credit left."
            )
        elif status == 403 and _FLAGGED.search(f"{exc.code} {said}"):
            return _Refusal(f"the service refuses these texts ({status}): {said}", may_have_cost=False, final=True)
        elif status in (401, 403):
            unavailable = JudgeUnavailable(
                f"access refused ({status}): {said}",
                user_message=f"The LLM service refused the key or its right to use {model}. Check OPENAI_API_KEY.",
            )
        elif status == 404:
            unavailable = JudgeUnavailable(
                f"model {model!r} not found (404): {said}",
                user_message=f"The LLM service knows no model called {model}. Check the model and OPENAI_BASE_URL.",
            )
        if unavailable is not None:
            unavailable.__cause__ = exc
            return _Refusal(said, may_have_cost=False, unavailable=unavailable)
        # A server that broke, or that gave up waiting, may have worked and may charge for it.
        may_have_cost = status >= 500 or status == 408
        if status in _RETRIED or status >= 500:
            wait = retry_after_seconds(exc.response.headers, now=self._model.now())
            return _Refusal(f"HTTP {status}: {said}", may_have_cost=may_have_cost, retry_after=wait)
        return _Refusal(f"HTTP {status}: {said}", may_have_cost=False, final=True)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a call brought no reply, and what may be done about it."""

    reason: str
    may_have_cost: bool
    final: bool = False
    retry_after: float | None = None
    weaker: Features | None = None
    unavailable: JudgeUnavailable | None = None


@contextmanager
def _counted() -> Iterator[None]:
    """Says that a call is under way for the worker of `run_all` in whose context this runs."""
    count = calls_of_worker.get()
    if count is None:
        yield
        return
    count.under_way += 1
    try:
        yield
    finally:
        count.under_way -= 1


def _learnt(features: Features, *, request: ChatRequest, reply: CachedReply) -> Features:
    """The features that just served, less the limit that the server passed over in silence for its older name."""
    if features.max_completion_tokens and reply.completion_tokens > request.max_completion_tokens:
        return features.common_with(Features(max_completion_tokens=False))
    return features


def _weaker_features(features: Features, exc: openai.APIStatusError) -> Features | None:
    """The features to try next when the server refused one of those used, else None."""
    # OpenAI answers 403 when a model may not show its log-probabilities.
    if exc.status_code not in (400, 403, 422, 501):
        return None
    parameter = exc.param if isinstance(exc.param, str) else None
    message = str(exc.body if exc.body is not None else exc.message)
    if exc.status_code == 403 and "logprobs" not in message:
        return None
    return features.without_refused(parameter=parameter, message=message)
