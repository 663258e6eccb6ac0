"""Writes questions from one passage with an LLM, each with verbatim evidence; what cannot be checked is dropped.

Nothing here says that the passage answers its question: that is graded later, like any other pair.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from annotator.cleaning import clean
from annotator.evidence import locate
from annotator.judges.chat import Answer, CallFailed, ChatModel, ChatRequest, ChatSession
from annotator.judges.running import run_all
from annotator.prompts.loader import TextPrompt
from annotator.question_patterns import pattern_of
from annotator.reply_json import Pairs, ReplyUnreadable, read_object
from annotator.types import Evidence, JudgeIdentity, JudgeKind, Usage

MAX_QUESTION_CHARACTERS = 300
MIN_EVIDENCE_WORDS = 3
MIN_EVIDENCE_CHARACTERS = 12
"""Evidence shorter than both proves nothing: any word of the passage is a verbatim span. Our choice."""

COPIED_CHARACTERS = 25
"""A question of at least so many characters that stands in the passage word for word was copied from it. Our choice."""

TOKENS_A_QUESTION = 120
"""Room for one entry of the reply: a question, its evidence, and what surrounds them. Our choice."""

_LOOKED_AT = 5
"""So many times the questions that were asked for are checked; a reply of thousands is not."""

_SEARCHED = 10
"""So many times what the prompt may show is searched for evidence: rendering looks at no more of a longer passage."""

_REFERS = re.compile(
    r"\b(?:(?:this|above|given|following|provided)\s+(?:passage|text|paragraph|excerpt|article|document|snippet)"
    r"|the\s+(?:passage|excerpt|snippet|author)|(?:in|from|to)\s+the\s+(?:text|article|document|paragraph))\b",
    re.I,
)


class Dropped(StrEnum):
    """Why a question that was written is not kept."""

    MALFORMED = "the entry is no question with evidence"
    TOO_LONG = "the question is too long"
    REFERS = "the question refers to the passage instead of its subject"
    COPIED = "the question is copied from the passage"
    SHORT_EVIDENCE = "the evidence is too short to prove anything"
    NOT_VERBATIM = "the evidence is not in the passage word for word"
    TOO_MANY = "more questions than were asked for"
    NEAR_DUPLICATE = "a near-duplicate of another question"


@dataclass(frozen=True, slots=True)
class QuestionRequest:
    """One passage to write questions from, and the examples to show, each of another pattern."""

    passage_id: int
    title: str
    passage: str
    demonstrations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenQuestion:
    """One question, its pattern, and the verbatim stretch of its passage that answers it."""

    text: str
    pattern: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class WrittenQuestions:
    """What one reply gave: questions kept, how many were dropped and why.

    `problem` is why the reply could not be read, None when it could; an empty list is a readable reply.
    """

    passage_id: int
    questions: tuple[WrittenQuestion, ...]
    dropped: Mapping[Dropped, int]
    problem: str | None
    demonstrations: tuple[str, ...]
    usage: Usage
    reply_key: str


@dataclass(frozen=True, slots=True)
class PassageFailure:
    """No reply came for a passage; `retryable` says whether asking again later could help."""

    passage_id: int
    reason: str
    retryable: bool


class QuestionWriter:
    """Writes questions with one model and one prompt, at most as many a passage as examples are shown.

    Raises:
        ValueError: `max_questions` is not positive.
    """

    def __init__(self, chat: ChatModel, *, prompt: TextPrompt, max_questions: int) -> None:
        if max_questions < 1:
            raise ValueError(f"max_questions {max_questions} must be positive")
        self.chat = chat
        self.max_questions = max_questions
        self.prompt = prompt
        self._max_completion_tokens = 40 + max_questions * TOKENS_A_QUESTION
        self.identity = JudgeIdentity(
            name=f"{chat.model}/{prompt.name}",
            kind=JudgeKind.LLM,
            model=chat.model,
            prompt_version=prompt.version,
            criterion=prompt.criterion,
            certifiable=False,  # it grades nothing
            parameters={"temperature": 0, "max_completion_tokens": self._max_completion_tokens},
        )

    async def write(self, requests: Sequence[QuestionRequest]) -> AsyncIterator[WrittenQuestions | PassageFailure]:
        """One result a passage, in order of completion.

        Closed early, it starts no further call, but waits for those under way and stores their replies.

        Raises:
            JudgeUnavailable: the server refuses the key, the model or the account.
            CapReached: the next call could cost more than the job may still spend.
        """
        async with self.chat.session() as session:

            async def one(request: QuestionRequest) -> WrittenQuestions | PassageFailure:
                return await self._one(session, request)

            async with aclosing(run_all(session, requests, one, concurrency=self.chat.concurrency)) as results:
                async for result in results:
                    yield result

    def chat_request(self, request: QuestionRequest) -> ChatRequest:
        """The call that asks for one passage's questions."""
        shown = request.demonstrations[: self.max_questions]
        rendered = self.prompt.render(
            {"title": request.title, "passage": request.passage}, items=[{"example": example} for example in shown]
        )
        return ChatRequest(
            messages=rendered.messages,
            schema=self.prompt.schema,
            schema_name="questions_of_a_passage",
            prompt_version=self.prompt.version,
            max_completion_tokens=self._max_completion_tokens,
            want_logprobs=False,
        )

    async def _one(self, session: ChatSession, request: QuestionRequest) -> WrittenQuestions | PassageFailure:
        try:
            answer = await session.ask(self.chat_request(request))
        except CallFailed as failure:
            return PassageFailure(request.passage_id, failure.reason, failure.retryable)
        return self._written(request, answer)

    def _written(self, request: QuestionRequest, answer: Answer) -> WrittenQuestions:
        reply, problem = answer.reply, None
        questions: tuple[WrittenQuestion, ...] = ()
        dropped: Mapping[Dropped, int] = {}
        try:
            questions, dropped = read_questions(
                reply.text,
                passage=request.passage[: _SEARCHED * self.prompt.limits["passage"]],
                at_most=min(self.max_questions, len(request.demonstrations)),
                finish_reason=reply.finish_reason,
            )
        except ReplyUnreadable as why:
            problem = str(why)
        return WrittenQuestions(
            passage_id=request.passage_id,
            questions=questions,
            dropped=dropped,
            problem=problem,
            demonstrations=request.demonstrations[: self.max_questions],
            usage=answer.usage,
            reply_key=answer.key,
        )


def read_questions(
    text: str, *, passage: str, at_most: int, finish_reason: str | None = None
) -> tuple[tuple[WrittenQuestion, ...], Mapping[Dropped, int]]:
    """The questions of a reply that stand every check, in its order, and how many were dropped for which reason.

    Raises:
        ReplyUnreadable: there is no list of questions to be read.
    """
    entries = read_object(text, key="questions", finish_reason=finish_reason).pairs.the("questions")
    if isinstance(entries, Pairs) or not isinstance(entries, list):
        raise ReplyUnreadable("the reply holds no list of questions")
    kept: list[WrittenQuestion] = []
    looked_at = _LOOKED_AT * at_most
    dropped: Counter[Dropped] = Counter({Dropped.TOO_MANY: max(0, len(entries) - looked_at)})
    for entry in entries[:looked_at]:
        checked = _checked(entry, passage)
        if isinstance(checked, Dropped):
            dropped[checked] += 1
        elif checked.text in [question.text for question in kept]:
            dropped[Dropped.NEAR_DUPLICATE] += 1
        elif len(kept) == at_most:
            dropped[Dropped.TOO_MANY] += 1
        else:
            kept.append(checked)
    return tuple(kept), dict(+dropped)


def _checked(entry: object, passage: str) -> WrittenQuestion | Dropped:
    try:
        question, quoted = (entry.the("question"), entry.the("evidence")) if isinstance(entry, Pairs) else (None, None)
    except ReplyUnreadable:
        return Dropped.MALFORMED
    if not isinstance(question, str) or not isinstance(quoted, str):
        return Dropped.MALFORMED
    text = " ".join(clean(question[: 10 * MAX_QUESTION_CHARACTERS]).split())
    if not any(character.isalpha() for character in text):
        return Dropped.MALFORMED
    if len(text) > MAX_QUESTION_CHARACTERS:
        return Dropped.TOO_LONG
    if _REFERS.search(text):
        return Dropped.REFERS
    if len(text) >= COPIED_CHARACTERS and locate(passage, text) is not None:
        return Dropped.COPIED
    evidence = locate(passage, quoted)
    if evidence is None:
        return Dropped.NOT_VERBATIM
    if len(evidence.text.split()) < MIN_EVIDENCE_WORDS and len(evidence.text) < MIN_EVIDENCE_CHARACTERS:
        return Dropped.SHORT_EVIDENCE
    return WrittenQuestion(text, pattern_of(text), evidence)
