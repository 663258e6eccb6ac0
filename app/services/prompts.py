"""The effective prompt of any suggestion: rendered again from what is stored, and checked against what was sent.

A reply is stored under a hash of model, parameters, prompt version and messages. Where the prompt rendered now gives
the same hash, it is to the letter what the judge was shown; where it does not, a text has changed since: that is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from annotator.errors import PromptInvalid
from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.chat import ChatModel, ChatRequest, make_client
from annotator.judges.listwise import ListwiseJudge
from annotator.judges.openai_chat import OpenAIChatJudge
from annotator.judges.pools import ListLimits, Pool
from annotator.judges.utility import UtilityJudge, UtilityMethod, UtilityPrompts
from annotator.prompts.loader import Prompt, TextPrompt, parse_prompt
from annotator.types import Criterion, JudgeKind, JudgeRequest, Scale
from app.bootstrap import Workspace
from app.errors import NotAllowed, NothingToDo
from db.errors import NotFound
from db.models import JudgeRow, Suggestion
from db.queries import prompts as prompt_queries
from db.queries.pairs import get_record_or_raise


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """One message as it was sent; hostile text, to be shown escaped."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class PromptStep:
    """One call behind a suggestion.

    `verified` is true when this is to the letter what was sent, false when a text has changed since, None when the
    suggestion does not tell.
    """

    name: str
    prompt: str
    prompt_version: str
    messages: tuple[ShownMessage, ...]
    verified: bool | None


@dataclass(frozen=True, slots=True)
class EffectivePrompt:
    """All that a judge was shown before it proposed; `note` says why there is nothing to show, or is empty."""

    suggestion_id: int
    pair_id: int
    judge: str
    model: str
    steps: tuple[PromptStep, ...]
    note: str


def get_effective_prompt(workspace: Workspace, suggestion_id: int) -> EffectivePrompt:
    """The prompt of one suggestion.

    Raises:
        NotFound: there is no such suggestion.
        NotAllowed: people judge the pair blind, and a later step's prompt tells what an earlier one said.
    """
    with workspace.sessions.read() as session:
        suggestion, judge = prompt_queries.get_suggestion_or_raise(session, suggestion_id)
        record = get_record_or_raise(session, pair_id=suggestion.pair_id, criterion=suggestion.criterion)
        if record.concealed:
            raise NotAllowed(
                f"pair {suggestion.pair_id} is judged blind",
                user_message="This pair is judged blind: nothing that a judge was shown or said of it is shown.",
            )
        return _effective(session, suggestion, judge)


def get_effective_prompt_of_pair(
    workspace: Workspace, pair_id: int, *, criterion: Criterion = Criterion.RELEVANCE
) -> EffectivePrompt:
    """The prompt of a pair's current suggestion.

    Raises:
        NotFound: there is no such pair.
        NothingToDo: no judge has proposed anything for it.
        NotAllowed: people judge the pair blind.
    """
    with workspace.sessions.read() as session:
        record = get_record_or_raise(session, pair_id=pair_id, criterion=criterion)
    if record.suggestion is None:
        raise NothingToDo(f"no judge has proposed anything for pair {pair_id}")
    return get_effective_prompt(workspace, record.suggestion.id)


class _Lost(Exception):
    """Why a prompt cannot be rendered again; becomes a note."""


def _effective(session: Session, suggestion: Suggestion, judge: JudgeRow) -> EffectivePrompt:
    steps: tuple[PromptStep, ...] = ()
    note = ""
    try:
        if judge.kind is JudgeKind.ENSEMBLE:
            steps = _of_members(session, suggestion)
        elif judge.kind is JudgeKind.LLM:
            steps = _Rendering(session, suggestion, judge.model, judge.prompt_version, judge.parameters).steps()
        else:
            raise _Lost(f"a judge of the kind {judge.kind} is shown no prompt")
    except _Lost as why:
        note = str(why)
    return EffectivePrompt(
        suggestion_id=suggestion.id,
        pair_id=suggestion.pair_id,
        judge=judge.name,
        model=judge.model,
        steps=steps,
        note=note,
    )


def _of_members(session: Session, suggestion: Suggestion) -> tuple[PromptStep, ...]:
    members = (suggestion.context or {}).get("members")
    if not isinstance(members, list) or not members:
        raise _Lost("the suggestion names no members")
    steps: list[PromptStep] = []
    for member in members:
        name = str(member.get("judge"))
        try:
            if member.get("suggestion_id") is not None:
                own, judge = prompt_queries.get_suggestion_or_raise(session, int(member["suggestion_id"]))
                found = _effective(session, own, judge).steps
            else:
                found = _Rendering(
                    session,
                    suggestion,
                    str(member.get("model")),
                    str(member.get("prompt_version")),
                    dict(member.get("parameters") or {}),
                    context=member.get("context"),
                    reply_key=member.get("reply_key"),
                ).steps()
        except (_Lost, NotFound) as why:
            found = (PromptStep(f"not shown: {why}", "", str(member.get("prompt_version")), (), None),)
        steps += [replace(step, name=f"{name}: {step.name}") for step in found]
    return tuple(steps)


class _Rendering:
    """One suggestion on its way back to what its judge was shown."""

    def __init__(
        self,
        session: Session,
        suggestion: Suggestion,
        model: str,
        prompt_version: str,
        parameters: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
        reply_key: str | None = None,
    ) -> None:
        self._session = session
        self._suggestion = suggestion
        self._prompt_version = prompt_version
        self._parameters = parameters
        own = context is None and reply_key is None
        self._context: Mapping[str, Any] = (suggestion.context if own else context) or {}
        self._reply_key = suggestion.reply_key if own else reply_key
        # It makes no call: it is here for the key that the same request would be stored under.
        self._chat = ChatModel(make_client(api_key="none"), model=model, ledger=InMemoryCallLedger())

    def steps(self) -> tuple[PromptStep, ...]:
        """Every call, in order.

        Raises:
            _Lost: something that is needed is not stored.
        """
        try:
            if "relsel" in self._parameters:
                return self._utility()
            prompt = self._prompt(self._prompt_version)
            limit = int(self._parameters["max_completion_tokens"])
            if isinstance(prompt, Prompt):
                pointwise = OpenAIChatJudge(self._chat, prompt=prompt, scale=self._scale(), max_completion_tokens=limit)
                request = pointwise.chat_request(self._requests([self._suggestion.pair_id], examples=True)[0])
                return (self._step("grade", prompt, request, self._reply_key),)
            listwise = ListwiseJudge(self._chat, prompt=prompt, scale=self._scale(), max_completion_tokens=limit)
            request, _ = listwise.chat_request(self._pool("order"))
            return (self._step("grades of the list", prompt, request, self._reply_key),)
        except (KeyError, TypeError, ValueError) as exc:
            raise _Lost(f"the judge is described in a way that is not understood any more ({exc})") from exc

    def _utility(self) -> tuple[PromptStep, ...]:
        method = UtilityMethod.RANK if "utilrank" in self._parameters else UtilityMethod.SELECT
        prompts = UtilityPrompts(
            self._text_prompt(self._parameters["relsel"]),
            self._text_prompt(self._parameters["pseudo_answer"]),
            self._text_prompt(self._parameters[method.value]),
        )
        judge = UtilityJudge(
            self._chat,
            prompts=prompts,
            method=method,
            scale=self._scale(),
            max_completion_tokens=int(self._parameters["max_completion_tokens"]),
            limits=_limits(self._parameters),
        )
        pool = self._pool("pool")
        keys: Mapping[str, Sequence[str]] = self._context.get("keys") or {}
        steps: list[PromptStep] = []
        parts = judge.parts(pool, prompts.relsel)
        for part, key in zip(parts, keys.get("relsel", ()), strict=False):
            steps.append(self._step("1. what is relevant", prompts.relsel, judge.relsel_request(part)[0], key))
        listed = [int(id_) for name in ("pool", "sources") for id_ in self._context.get(name) or ()]
        if prompt_queries.has_concealed(self._session, listed):
            hidden = "2. and 3. not shown: they tell what was said of pairs that people judge blind"
            return (*steps, PromptStep(hidden, prompts.last.name, prompts.last.version, (), None))
        if "sources" in self._context:
            sources = self._pool("sources")
            for key in keys.get("pseudo_answer", ()):
                request = judge.answer_request(sources)
                steps.append(self._step("2. an answer from these", prompts.pseudo_answer, request, key))
        if "answer" in self._context:
            parts = judge.parts(pool, prompts.last)
            for part, key in zip(parts, keys.get(method.value, ()), strict=False):
                request, _ = judge.last_request(part, str(self._context["answer"]))
                steps.append(self._step("3. what is useful", prompts.last, request, key))
        return tuple(steps)

    def _step(self, name: str, prompt: Prompt | TextPrompt, request: ChatRequest, key: str | None) -> PromptStep:
        return PromptStep(
            name=name,
            prompt=prompt.name,
            prompt_version=prompt.version,
            messages=tuple(ShownMessage(message.role, message.content) for message in request.messages),
            verified=None if key is None else self._chat.key_of(request) == key,
        )

    def _prompt(self, version: str) -> Prompt | TextPrompt:
        row = prompt_queries.get_prompt(self._session, version)
        if row is None:
            raise _Lost(f"the text of prompt version {version} is not stored: it is older than the store of prompts")
        try:
            prompt = parse_prompt(row.content, name=row.name)
        except PromptInvalid as exc:
            raise _Lost(f"the stored prompt {row.name} cannot be read by this version of Relabel") from exc
        return prompt

    def _text_prompt(self, version: str) -> TextPrompt:
        prompt = self._prompt(version)
        if not isinstance(prompt, TextPrompt):
            raise _Lost(f"the prompt {prompt.name} is not of the kind that this judge needs")
        return prompt

    def _scale(self) -> Scale:
        return Scale(
            max_grade=int(self._parameters["max_grade"]),
            relevant_from=int(self._parameters["relevant_from"]),
            labels=tuple(json.loads(self._parameters["labels"])),
        )

    def _pool(self, name: str) -> Pool:
        ids = self._context.get(name)
        if not isinstance(ids, list) or not ids:
            raise _Lost("the suggestion does not say with which other passages it was judged")
        requests = self._requests([int(pair_id) for pair_id in ids])
        return Pool(requests[0].query, requests[0].definition, tuple(requests))

    def _requests(self, pair_ids: Sequence[int], *, examples: bool = False) -> list[JudgeRequest]:
        texts = prompt_queries.list_texts(self._session, pair_ids)
        definition = prompt_queries.get_definition_text(self._session, self._suggestion.definition_id)
        reviews = [int(id_) for id_ in self._context.get("examples") or ()] if examples else []
        shown = prompt_queries.list_examples(self._session, reviews)
        if set(pair_ids) - set(texts) or set(reviews) - set(shown):
            raise _Lost("a passage or an example that the judge was shown is not in the workspace any more")
        return [
            JudgeRequest(
                pair_id=pair_id,
                query=texts[pair_id].query,
                definition=definition,
                title=texts[pair_id].title,
                passage=texts[pair_id].passage,
                query_id=texts[pair_id].query_id,
                examples=tuple(shown[review] for review in reviews),
            )
            for pair_id in pair_ids
        ]


def _limits(parameters: Mapping[str, Any]) -> ListLimits:
    return ListLimits(passages=int(parameters["max_passages"]), characters=int(parameters["max_characters"]))
