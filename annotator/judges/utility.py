"""The utility pipeline: pick what is relevant, write an answer from that alone, then pick or rank what it needs.

Its grades are of the criterion utility and stand beside no grade of relevance. What is stated here as useful is the
highest grade of the scale and all else grade 0: the pipeline tells two things apart, and inventing steps between them
would be guessing. Our choice; so are the confidences that are asked for, and that a pool which one call cannot hold is
picked from in several calls but never ranked.

Source: "Utility-Focused LLM Annotation for Retrieval and Retrieval-Augmented Generation" (arXiv 2504.05220).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from annotator.cleaning import clean
from annotator.judges.chat import Answer, CallFailed, ChatModel, ChatRequest, ChatSession
from annotator.judges.listwise import TOKENS_A_PASSAGE
from annotator.judges.pools import ListLimits, Pool, add_usage, pools_of, split, split_usage
from annotator.judges.reply_cache import CachedReply
from annotator.judges.running import run_all
from annotator.list_parsing import parse_ranking, parse_selection
from annotator.prompts.loader import TextPrompt
from annotator.reply_json import ReplyUnreadable, read_object, short_text
from annotator.types import (
    ConfidenceKind,
    Criterion,
    JudgeFailure,
    JudgeIdentity,
    JudgeKind,
    JudgeRequest,
    Proposal,
    Scale,
    SuggestionStatus,
)

TOP_SHARE = 10
"""One in ten of a ranked pool is useful: the share that the source takes as positive, rounded down, at least one."""
DEFAULT_LIMITS = ListLimits(passages=40, characters=160_000)
MAX_ANSWER_PASSAGES = 20
"""How many picked passages the answer is written from, in the order shown. Our choice."""
NOTHING_RELEVANT = "no passage of the pool was picked as relevant, so no answer was written and none can be useful"


class UtilityMethod(StrEnum):
    """How the last step says what is useful."""

    SELECT = "utilsel"
    RANK = "utilrank"


@dataclass(frozen=True, slots=True)
class UtilityPrompts:
    """The prompts of the three steps; `last` is that of the method."""

    relsel: TextPrompt
    pseudo_answer: TextPrompt
    last: TextPrompt

    @property
    def version(self) -> str:
        """A hash of the three versions: a change of any step is another judge."""
        joined = "\n".join((self.relsel.version, self.pseudo_answer.version, self.last.version))
        return hashlib.sha256(f"utility\n{joined}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the last step says of one pair: useful or not, or why that is unreadable."""

    useful: bool | None
    confidence: float | None
    reason: str


class _StepUnreadable(Exception):
    """An early step's reply cannot be read, so that nothing can be said of any pair of the query."""

    def __init__(self, step: str, why: str, reply: str) -> None:
        super().__init__(f"{step}: {why}")
        self.reply = reply


class UtilityJudge:
    """Says of a query's pairs which are useful: three calls a pool, more when it is split.

    Each proposal's context names the pool's pair ids (`pool`), those picked in step one (`picked`), those the answer
    was written from (`sources`), the answer itself, how many were found useful (`n_useful`: a query without any stays,
    and can be counted), and the key of each step's reply, so that every step's prompt can be shown.

    Raises:
        ValueError: `max_completion_tokens` is not positive, or a prompt is of another criterion.
    """

    def __init__(
        self,
        chat: ChatModel,
        *,
        prompts: UtilityPrompts,
        method: UtilityMethod,
        scale: Scale,
        max_completion_tokens: int = 400,
        limits: ListLimits | None = None,
    ) -> None:
        if max_completion_tokens < 1:
            raise ValueError(f"max_completion_tokens {max_completion_tokens} must be positive")
        for prompt in (prompts.relsel, prompts.pseudo_answer, prompts.last):
            if prompt.criterion is not Criterion.UTILITY:
                raise ValueError(f"the prompt {prompt.name} is about {prompt.criterion}, not about utility")
        self.chat = chat
        self.prompts = prompts
        self.method = method
        self._scale = scale
        self._max_completion_tokens = max_completion_tokens
        self._limits = limits or DEFAULT_LIMITS
        self.identity = JudgeIdentity(
            name=f"{chat.model}/{method}",
            kind=JudgeKind.LLM,
            model=chat.model,
            prompt_version=prompts.version,
            criterion=Criterion.UTILITY,
            certifiable=True,
            parameters={
                "temperature": 0,
                "max_completion_tokens": max_completion_tokens,
                "tokens_a_passage": TOKENS_A_PASSAGE,
                "relsel": prompts.relsel.version,
                "pseudo_answer": prompts.pseudo_answer.version,
                str(method): prompts.last.version,
                "top_share": TOP_SHARE,
                "max_answer_passages": MAX_ANSWER_PASSAGES,
                "max_grade": scale.max_grade,
                "relevant_from": scale.relevant_from,
                "labels": json.dumps(scale.labels, ensure_ascii=False),
                "max_passages": self._limits.passages,
                "max_characters": self._limits.characters,
            },
        )

    async def judge(self, requests: Sequence[JudgeRequest]) -> AsyncIterator[Proposal | JudgeFailure]:
        """One result a request, a query's results together.

        Closed early, it starts no further call, but waits for those under way and stores their replies.

        Raises:
            JudgeUnavailable: the server refuses the key, the model or the account.
            CapReached: the next call could cost more than the job may still spend.
        """
        async with self.chat.session() as session:

            async def one(pool: Pool) -> list[Proposal | JudgeFailure]:
                try:
                    return list(await _PoolRun(self, session, pool).proposals())
                except CallFailed as failure:
                    return list(pool.failures(failure.reason, retryable=failure.retryable))

            pools = pools_of(requests)
            async with aclosing(run_all(session, pools, one, concurrency=self.chat.concurrency)) as results:
                async for some in results:
                    for result in some:
                        yield result

    def relsel_request(self, part: Pool) -> tuple[ChatRequest, tuple[str, ...]]:
        """Step one's call about a part of the pool, and the label of each passage in it."""
        return self._list_request(self.prompts.relsel, part, part.texts())

    def answer_request(self, sources: Pool) -> ChatRequest:
        """Step two's call: an answer from these passages and no others."""
        request, _ = self._list_request(self.prompts.pseudo_answer, sources, sources.texts())
        return request

    def last_request(self, part: Pool, answer: str) -> tuple[ChatRequest, tuple[str, ...]]:
        """Step three's call about a part of the pool, and the label of each passage in it."""
        return self._list_request(self.prompts.last, part, {**part.texts(), "answer": answer})

    def parts(self, pool: Pool, prompt: TextPrompt) -> list[Pool]:
        """The pool as one prompt is asked about it, one part a call."""
        return split(pool, prompt=prompt, limits=self._limits)

    def sources(self, pool: Pool, picked: Sequence[int]) -> Pool:
        """The pairs that the answer is written from: of those picked, as many as fit one call, in the order shown."""
        chosen = [request for request in pool.requests if request.pair_id in set(picked)]
        return self.parts(pool.part(chosen[:MAX_ANSWER_PASSAGES]), self.prompts.pseudo_answer)[0]

    def _list_request(
        self, prompt: TextPrompt, part: Pool, texts: dict[str, str]
    ) -> tuple[ChatRequest, tuple[str, ...]]:
        rendered = prompt.render(texts, items=part.items(), scale=self._scale)
        request = ChatRequest(
            messages=rendered.messages,
            schema=prompt.schema_for(self._scale),
            schema_name=prompt.name.replace("-", "_"),
            prompt_version=prompt.version,
            max_completion_tokens=self._max_completion_tokens + TOKENS_A_PASSAGE * len(part.requests),
            want_logprobs=False,
        )
        return request, rendered.labels


class _PoolRun:
    """One pool on its way through the steps: the answers it got and what they used."""

    def __init__(self, judge: UtilityJudge, session: ChatSession, pool: Pool) -> None:
        self._judge = judge
        self._session = session
        self._pool = pool
        self._answers: list[Answer] = []
        self._keys: dict[str, list[str]] = {}
        self._context: dict[str, object] = {"pool": pool.pair_ids}
        self._last_reply: dict[int, Answer] = {}

    async def proposals(self) -> list[Proposal]:
        """One proposal a pair.

        Raises:
            CallFailed: a step got no reply, or the pool is too large to be ranked.
        """
        pool = self._pool
        ranks = self._judge.method is UtilityMethod.RANK
        if ranks and len(self._judge.parts(pool, self._judge.prompts.last)) > 1:
            raise CallFailed(
                f"{len(pool.requests)} passages do not fit one call, and several rankings make no whole one; "
                "pick instead of ranking, or pool fewer passages",
                retryable=False,
            )
        try:
            picked = await self._pick()
            self._context["picked"] = picked
            if not picked:
                return self._finish({i: _Verdict(False, None, NOTHING_RELEVANT) for i in pool.pair_ids})
            sources = self._judge.sources(pool, picked)
            self._context["sources"] = sources.pair_ids
            answer = await self._answer(sources)
            self._context["answer"] = answer
        except _StepUnreadable as problem:
            return self._finish({i: _Verdict(None, None, str(problem)) for i in pool.pair_ids}, reply=problem.reply)
        return self._finish(await self._rank(answer) if ranks else await self._select(answer))

    async def _pick(self) -> list[int]:
        picked: list[int] = []
        for part in self._judge.parts(self._pool, self._judge.prompts.relsel):
            request, labels = self._judge.relsel_request(part)
            answer = await self._ask("relsel", request)
            try:
                selection = parse_selection(answer.reply.text, labels=labels, finish_reason=answer.reply.finish_reason)
            except ReplyUnreadable as why:
                raise _StepUnreadable("picking what is relevant", str(why), answer.reply.text) from why
            if selection.unreadable:
                why_not = next(iter(selection.unreadable.values()))
                raise _StepUnreadable("picking what is relevant", why_not, answer.reply.text)
            picked += [part.requests[place].pair_id for place in sorted(selection.selected)]
        return picked

    async def _answer(self, sources: Pool) -> str:
        answer = await self._ask("pseudo_answer", self._judge.answer_request(sources))
        reply = answer.reply
        try:
            stated = read_object(reply.text, key="answer", finish_reason=reply.finish_reason)
            limit = self._judge.prompts.last.limits["answer"]
            return clean(short_text(stated.pairs.the("answer"), limit=limit))
        except ReplyUnreadable as why:
            raise _StepUnreadable("writing an answer", str(why), reply.text) from why

    async def _select(self, answer: str) -> dict[int, _Verdict]:
        verdicts: dict[int, _Verdict] = {}
        for part in self._judge.parts(self._pool, self._judge.prompts.last):
            request, labels = self._judge.last_request(part, answer)
            reply = await self._last(request, part)
            try:
                selection = parse_selection(reply.text, labels=labels, finish_reason=reply.finish_reason)
            except ReplyUnreadable as why:
                verdicts.update((i, _Verdict(None, None, str(why))) for i in part.pair_ids)
                continue
            for place, pair_id in enumerate(part.pair_ids):
                if place in selection.unreadable:
                    verdicts[pair_id] = _Verdict(None, None, selection.unreadable[place])
                elif place in selection.selected:
                    verdicts[pair_id] = _Verdict(True, selection.selected[place], "picked as useful for the answer")
                else:
                    verdicts[pair_id] = _Verdict(False, selection.rest, "not picked as useful for the answer")
        return verdicts

    async def _rank(self, answer: str) -> dict[int, _Verdict]:
        pool = self._pool
        request, labels = self._judge.last_request(pool, answer)
        reply = await self._last(request, pool)
        try:
            ranking = parse_ranking(reply.text, labels=labels, finish_reason=reply.finish_reason)
        except ReplyUnreadable as why:
            return {i: _Verdict(None, None, str(why)) for i in pool.pair_ids}
        top = max(1, len(pool.requests) // TOP_SHARE)
        if len(ranking.order) < top:
            return {i: _Verdict(None, None, "the reply ranks too few passages") for i in pool.pair_ids}
        verdicts = {}
        for rank, place in enumerate(ranking.order, start=1):
            said = f"ranked {rank} of {len(pool.requests)} by use; the first {top} count as useful"
            verdicts[pool.pair_ids[place]] = _Verdict(rank <= top, None, said)
        for place in ranking.missing:
            verdicts[pool.pair_ids[place]] = _Verdict(None, None, "the ranking leaves this passage out")
        return verdicts

    async def _ask(self, step: str, request: ChatRequest) -> Answer:
        answer = await self._session.ask(request)
        self._answers.append(answer)
        self._keys.setdefault(step, []).append(answer.key)
        return answer

    async def _last(self, request: ChatRequest, part: Pool) -> CachedReply:
        answer = await self._ask(str(self._judge.method), request)
        self._last_reply.update((pair_id, answer) for pair_id in part.pair_ids)
        return answer.reply

    def _finish(self, verdicts: dict[int, _Verdict], *, reply: str | None = None) -> list[Proposal]:
        """The proposals; every call's use is shared by all pairs, for each of them needed every step."""
        used = [answer.usage for answer in self._answers]
        n_useful = sum(verdict.useful is True for verdict in verdicts.values())
        context = {**self._context, "keys": self._keys, "n_useful": n_useful}
        shares = split_usage(add_usage(used), len(self._pool.requests))
        proposals = []
        for pair_id, share in zip(self._pool.pair_ids, shares, strict=True):
            verdict = verdicts[pair_id]
            last = self._last_reply.get(pair_id, self._answers[-1])
            grade = None if verdict.useful is None else self._judge._scale.max_grade if verdict.useful else 0
            proposals.append(
                Proposal(
                    pair_id=pair_id,
                    status=SuggestionStatus.UNREADABLE if grade is None else SuggestionStatus.OK,
                    grade=grade,
                    grade_distribution=None,
                    confidence=verdict.confidence,
                    confidence_kind=None if verdict.confidence is None else ConfidenceKind.VERBAL,
                    evidence=None,
                    evidence_dropped=False,
                    reason=verdict.reason,
                    raw_reply=last.reply.text if reply is None else reply,
                    usage=share,
                    reply_key=last.key,
                    context=context,
                )
            )
        return proposals
