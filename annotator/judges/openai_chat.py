"""The LLM judge: asks any server that speaks OpenAI's chat protocol, pays for nothing twice, and guesses nothing.

Reading replies, prompts, caches and waits live in modules of their own; here is the traffic.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import openai
from openai.types.chat import ChatCompletionMessageParam

from annotator.cleaning import one_line
from annotator.confidence import side_probability, token_distribution
from annotator.errors import JudgeUnavailable
from annotator.evidence import locate
from annotator.judges.chat_reply import NoReply, reply_of
from annotator.judges.reply_cache import CachedReply, ReplyCache, reply_key
from annotator.judges.retrying import RetryPolicy, retry_after_seconds
from annotator.judges.server_features import Features
from annotator.parsing import parse_reply
from annotator.prompts.loader import Message, Prompt
from annotator.types import (
    ConfidenceKind,
    JudgeFailure,
    JudgeIdentity,
    JudgeKind,
    JudgeRequest,
    Proposal,
    Scale,
    SuggestionStatus,
    Usage,
)

TOP_LOGPROBS = 10
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


def make_client(*, api_key: str, base_url: str | None = None, timeout: float = 60.0) -> openai.AsyncOpenAI:
    """A client that makes each call once, for retries of its own would escape every cap; `timeout` is in seconds."""
    return openai.AsyncOpenAI(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=0)


class _GaveUp(Exception):
    """One request got no valid reply; becomes a `JudgeFailure`."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


class OpenAIChatJudge:
    """Proposes grades with one model and one prompt.

    At most `concurrency` calls are under way, and no more than that many results wait to be taken, however many
    requests there are. The client lends its settings only: every `judge` opens connections of its own, for a pool
    cannot outlive its event loop, and a caller may well run one loop a batch.

    Raises:
        ValueError: the client retries by itself, or a number is not positive.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        *,
        model: str,
        prompt: Prompt,
        scale: Scale,
        cache: ReplyCache,
        concurrency: int = 8,
        max_completion_tokens: int = 400,
        price: Price | None = None,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        if client.max_retries != 0:
            raise ValueError("the client retries by itself; make it with max_retries=0 (see make_client)")
        if concurrency < 1 or max_completion_tokens < 1:
            raise ValueError(
                f"concurrency {concurrency} and max_completion_tokens {max_completion_tokens} must be positive"
            )
        self._client = client
        self._model = model
        self._prompt = prompt
        self._scale = scale
        self._cache = cache
        self._concurrency = concurrency
        self._max_completion_tokens = max_completion_tokens
        self._price = price
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        self._draw = draw
        self._now = now
        self._features = Features()
        self._schema = prompt.schema_for(scale)
        self.identity = JudgeIdentity(
            name=f"{model}/{prompt.name}",
            kind=JudgeKind.LLM,
            model=model,
            prompt_version=prompt.version,
            criterion=prompt.criterion,
            certifiable=True,
            parameters={
                "temperature": 0,
                "max_completion_tokens": max_completion_tokens,
                "top_logprobs": TOP_LOGPROBS,
                "max_grade": scale.max_grade,
                "relevant_from": scale.relevant_from,
                "labels": json.dumps(scale.labels, ensure_ascii=False),
            },
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """One result a request, in order of completion.

        Closed early, it starts no further call, but waits for those under way and stores their replies: they are paid
        for.

        Raises:
            JudgeUnavailable: the server refuses the key, the model or the account.
        """
        async with openai.DefaultAsyncHttpxClient() as connections:
            client = self._client.copy(http_client=cast(Any, connections), max_retries=0)
            run = _Run(self, client)
            try:
                async for result in run.results(requests):
                    yield result
            finally:
                await run.stop()

    def cache_key(self, messages: Sequence[Message]) -> str:
        """Under which key the reply to these messages is stored."""
        return reply_key(
            model=self._model,
            parameters=self.identity.parameters,
            prompt_version=self._prompt.version,
            messages=messages,
        )

    def _proposal(self, request: JudgeRequest, reply: CachedReply, *, cached: bool) -> Proposal:
        parsed = parse_reply(reply.text, scale=self._scale, finish_reason=reply.finish_reason)
        cost = 0.0 if cached else None
        if not cached and self._price is not None:
            cost = self._price.cost(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)
        usage = Usage(reply.prompt_tokens, reply.completion_tokens, cached, cost)
        if parsed.grade is None:
            return Proposal(
                pair_id=request.pair_id,
                status=SuggestionStatus.UNREADABLE,
                grade=None,
                grade_distribution=None,
                confidence=None,
                confidence_kind=None,
                evidence=None,
                evidence_dropped=False,
                reason=parsed.problem or "the reply could not be read",
                raw_reply=reply.text,
                usage=usage,
            )
        distribution = token_distribution(
            reply.logprobs,
            grade_at=None if reply.reasoned else parsed.grade_at,
            grade=parsed.grade,
            scale=self._scale,
        )
        confidence, kind = parsed.confidence, ConfidenceKind.VERBAL
        if distribution is not None:
            confidence = side_probability(distribution, grade=parsed.grade, scale=self._scale)
            kind = ConfidenceKind.TOKEN
        evidence = locate(request.passage, parsed.evidence_text) if parsed.evidence_text else None
        return Proposal(
            pair_id=request.pair_id,
            status=SuggestionStatus.OK,
            grade=parsed.grade,
            grade_distribution=distribution,
            confidence=confidence,
            confidence_kind=kind if confidence is not None else None,
            evidence=evidence,
            evidence_dropped=parsed.evidence_text is not None and evidence is None,
            reason=parsed.reason,
            raw_reply=reply.text,
            usage=usage,
        )


class _Run:
    """One pass over one batch: its workers, its connections, and the calls that it has under way."""

    def __init__(self, judge: OpenAIChatJudge, client: openai.AsyncOpenAI) -> None:
        self._judge = judge
        self._client = client
        self._under_way: dict[str, asyncio.Future[CachedReply]] = {}
        self._calling: set[asyncio.Task[None]] = set()
        self._workers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def results(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """Results as they come; an exception of a worker is raised after the results that came before it."""
        waiting: asyncio.Queue[Proposal | JudgeFailure | BaseException | None] = asyncio.Queue(self._judge._concurrency)
        todo = iter(requests)
        count = min(self._judge._concurrency, len(requests))
        self._workers = [asyncio.create_task(self._work(todo, waiting)) for _ in range(count)]
        finished = 0
        while finished < count:
            result = await waiting.get()
            if result is None:
                finished += 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result

    async def stop(self) -> None:
        """Ends the workers: at once where they wait, after the reply is stored where a call is under way."""
        self._stopping = True
        for worker in self._workers:
            if worker not in self._calling:
                worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(
        self, todo: Iterator[JudgeRequest], waiting: asyncio.Queue[Proposal | JudgeFailure | BaseException | None]
    ) -> None:
        try:
            for request in todo:
                result = await self._one(request)
                if self._stopping:
                    return
                await waiting.put(result)
            await waiting.put(None)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:
            if not self._stopping:
                await waiting.put(exc)

    async def _one(self, request: JudgeRequest) -> Proposal | JudgeFailure:
        messages = self._judge._prompt.render(request, self._judge._scale)
        key = self._judge.cache_key(messages)
        try:
            reply, cached = await self._reply(key, messages)
        except _GaveUp as failure:
            return JudgeFailure(request.pair_id, failure.reason, failure.retryable)
        return self._judge._proposal(request, reply, cached=cached)

    async def _reply(self, key: str, messages: Sequence[Message]) -> tuple[CachedReply, bool]:
        """The stored reply, that of an identical request under way, or a new one, and whether it cost nothing."""
        stored = self._judge._cache.get(key)
        if stored is not None:
            return stored, True
        if key in self._under_way:
            return await asyncio.shield(self._under_way[key]), True
        future: asyncio.Future[CachedReply] = asyncio.get_running_loop().create_future()
        self._under_way[key] = future
        try:
            reply = await self._call_until_answered(key, messages)
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(exc)
                future.exception()  # marks it as seen: mostly nobody else waits for it
            raise
        else:
            future.set_result(reply)
            return reply, False
        finally:
            del self._under_way[key]

    async def _call_until_answered(self, key: str, messages: Sequence[Message]) -> CachedReply:
        attempt = 0
        features = Features()
        while True:
            features = features.common_with(self._judge._features)
            try:
                reply = await self._call(key, messages, features)
            except openai.APIStatusError as exc:
                weaker = _weaker_features(features, exc)
                if weaker is not None:
                    features = weaker
                    continue
                reason, retry_after = self._judge_status(exc)
            except openai.APITimeoutError:
                reason, retry_after = "the server did not answer in time", None
            except openai.APIConnectionError as exc:
                reason, retry_after = (
                    f"no connection to the server: {one_line(str(exc.__cause__ or exc), limit=200)}",
                    None,
                )
            except (openai.OpenAIError, NoReply, json.JSONDecodeError) as exc:
                reason, retry_after = f"the server sent no reply: {one_line(str(exc), limit=200)}", None
            else:
                # Remembered only now that it helped: an error may name a field just because it repeats a passage.
                self._judge._features = self._judge._features.common_with(features)
                return reply
            attempt += 1
            wait = self._judge._retry.wait(attempt=attempt, retry_after=retry_after, draw=self._judge._draw())
            if self._stopping:
                raise _GaveUp("stopped", retryable=True)
            if wait is None:
                raise _GaveUp(f"gave up after {attempt} attempts: {reason}", retryable=True)
            await self._judge._sleep(wait)

    async def _call(self, key: str, messages: Sequence[Message], features: Features) -> CachedReply:
        """One call; the reply is stored before anyone looks at it."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        body = features.body(
            schema=self._judge._schema,
            schema_name="grade_of_a_passage",
            max_completion_tokens=self._judge._max_completion_tokens,
            top_logprobs=TOP_LOGPROBS,
        )
        chat = [{"role": message.role, "content": message.content} for message in messages]
        self._calling.add(task)
        try:
            completion = await self._client.chat.completions.create(
                model=self._judge._model,
                messages=cast("list[ChatCompletionMessageParam]", chat),
                stream=False,
                extra_body=body,
            )
            reply = reply_of(completion, model=self._judge._model)
            self._judge._cache.put(key, reply)
        finally:
            self._calling.discard(task)
        if features.max_completion_tokens and reply.completion_tokens > self._judge._max_completion_tokens:
            # The server knows only the older name of the limit and passed over this one in silence.
            self._judge._features = self._judge._features.common_with(Features(max_completion_tokens=False))
        return reply

    def _judge_status(self, exc: openai.APIStatusError) -> tuple[str, float | None]:
        """Why a refused call may be tried again, and after how many seconds if the server says so.

        Raises:
            JudgeUnavailable: no call can succeed.
            _GaveUp: this call cannot succeed.
        """
        status, said = exc.status_code, one_line(str(exc.message), limit=300)
        model = self._judge._model
        if status == 402 or (status == 429 and (exc.code in _NO_CREDIT or exc.type in _NO_CREDIT)):
            raise JudgeUnavailable(
                f"no credit ({status}): {said}", user_message="The account of the LLM service has no credit left."
            ) from exc
        if status == 403 and _FLAGGED.search(f"{exc.code} {said}"):
            raise _GaveUp(f"the service refuses these texts ({status}): {said}", retryable=False) from exc
        if status in (401, 403):
            raise JudgeUnavailable(
                f"access refused ({status}): {said}",
                user_message=f"The LLM service refused the key or its right to use {model}. Check OPENAI_API_KEY.",
            ) from exc
        if status == 404:
            raise JudgeUnavailable(
                f"model {model!r} not found (404): {said}",
                user_message=f"The LLM service knows no model called {model}. Check the model and OPENAI_BASE_URL.",
            ) from exc
        if status in _RETRIED or status >= 500:
            return f"HTTP {status}: {said}", retry_after_seconds(exc.response.headers, now=self._judge._now())
        raise _GaveUp(f"HTTP {status}: {said}", retryable=False) from exc


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
