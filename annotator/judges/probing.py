"""What one model at one endpoint can do, found out by one small call, so that workers need not find out by refusals."""

from __future__ import annotations

from dataclasses import dataclass

import openai

from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.judges.chat import ChatModel, ChatRequest
from annotator.judges.server_features import Features, ReplyFormat
from annotator.prompts.loader import Message
from annotator.reply_json import ReplyUnreadable, read_object

PROBE_TOKENS = 2_000
"""Room for the reply of a model that thinks before it answers; others use about ten tokens of it."""
PROBE_VERSION = "probe-1"
_CONTEXT_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "n_ctx_train")
_MESSAGES = (
    Message("system", 'You reply with one JSON object and nothing else: {"grade": a whole number from 0 to 3}.'),
    Message("user", "Query: what colour is the sky by day?\nPassage: The sky is blue by day.\nGive the grade."),
)
_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["grade"],
    "properties": {"grade": {"type": "integer", "enum": [0, 1, 2, 3]}},
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the probe found; `context_length` is in tokens and None where the server does not tell.

    `features` are the optional parts of the protocol that the server takes and answers to. `reasons`: the model thought
    before it answered, so that token confidence is refused. `obeys_format`: the reply was the JSON object asked for.
    """

    features: Features
    reasons: bool
    obeys_format: bool
    context_length: int | None
    prompt_tokens: int
    completion_tokens: int

    @property
    def token_confidence(self) -> bool:
        """Whether a confidence can be read from token probabilities."""
        return self.features.logprobs and not self.reasons

    def to_json(self) -> dict[str, object]:
        """The capabilities as plain JSON, to be stored; `from_json` gives them back."""
        return {
            "reply_format": self.features.reply_format.name,
            "temperature": self.features.temperature,
            "logprobs": self.features.logprobs,
            "max_completion_tokens": self.features.max_completion_tokens,
            "reasons": self.reasons,
            "obeys_format": self.obeys_format,
            "context_length": self.context_length,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }

    @staticmethod
    def from_json(stored: dict[str, object]) -> Capabilities:
        """The capabilities that `to_json` stored."""
        context = stored["context_length"]
        return Capabilities(
            features=Features(
                reply_format=ReplyFormat[str(stored["reply_format"])],
                temperature=bool(stored["temperature"]),
                logprobs=bool(stored["logprobs"]),
                max_completion_tokens=bool(stored["max_completion_tokens"]),
            ),
            reasons=bool(stored["reasons"]),
            obeys_format=bool(stored["obeys_format"]),
            context_length=None if context is None else int(str(context)),
            prompt_tokens=int(str(stored["prompt_tokens"])),
            completion_tokens=int(str(stored["completion_tokens"])),
        )


def probe_request() -> ChatRequest:
    """The one small call of a probe."""
    return ChatRequest(
        messages=_MESSAGES,
        schema=_SCHEMA,
        schema_name="probe",
        prompt_version=PROBE_VERSION,
        max_completion_tokens=PROBE_TOKENS,
    )


async def probe(client: openai.AsyncOpenAI, *, model: str) -> Capabilities:
    """What the model can do: one call, repeated with less where the server refuses a part, and a look at its listing.

    Nothing is stored and no earlier reply is used: an answer from last week says nothing of today's server.

    Raises:
        CallFailed: no reply came.
        JudgeUnavailable: the server refuses the key, the model or the account.
    """
    chat = ChatModel(client, model=model, ledger=InMemoryCallLedger(), concurrency=1)
    async with chat.session() as session:
        reply = (await session.ask(probe_request())).reply
    features = chat.features
    reasons = reply.reasoned or "</think" in reply.text.casefold()
    if not reply.logprobs:
        # Taken without a word and not answered: asking again would only be ignored again.
        features = features.common_with(Features(logprobs=False))
    try:
        found = read_object(reply.text, key="grade", finish_reason=reply.finish_reason)
        obeys = reasons or found.leads
    except ReplyUnreadable:
        obeys = False
    return Capabilities(
        features=features,
        reasons=reasons,
        obeys_format=obeys,
        context_length=await _context_length(client, model),
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
    )


async def _context_length(client: openai.AsyncOpenAI, model: str) -> int | None:
    """The context length that the server's listing states for the model, under the names that servers use for it."""
    async with openai.DefaultAsyncHttpxClient() as connections:
        try:
            listed = [entry async for entry in client.copy(http_client=connections).models.list()]
        except (openai.OpenAIError, TypeError, ValueError):
            return None
    for entry in listed:
        if entry.id != model:
            continue
        extra = dict(entry.model_extra or {})
        meta = extra.get("meta")
        for place in (extra, meta if isinstance(meta, dict) else {}):
            for key in _CONTEXT_KEYS:
                value = place.get(key)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
    return None
