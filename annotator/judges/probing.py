"""What one model at one endpoint can do, found out by one small call, so that workers need not find out by refusals."""

from __future__ import annotations

import secrets

import openai

from annotator.judges.call_ledger import CallLedger, InMemoryCallLedger
from annotator.judges.capabilities import Capabilities
from annotator.judges.chat import ChatModel, ChatRequest, Price
from annotator.judges.server_features import Features
from annotator.prompts.loader import Message
from annotator.reply_json import ReplyUnreadable, read_object
from annotator.types import Criterion, JudgeIdentity, JudgeKind

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


def probe_identity(model: str) -> JudgeIdentity:
    """Whom the calls of a probe are charged to; it judges nothing."""
    return JudgeIdentity(
        name=f"{model}/probe",
        kind=JudgeKind.LLM,
        model=model,
        prompt_version=PROBE_VERSION,
        criterion=Criterion.RELEVANCE,
        certifiable=False,
        parameters={"temperature": 0, "max_completion_tokens": PROBE_TOKENS},
    )


def probe_request() -> ChatRequest:
    """The one small call of a probe, never twice the same to a ledger: no stored reply may answer it."""
    return ChatRequest(
        messages=_MESSAGES,
        schema=_SCHEMA,
        schema_name="probe",
        prompt_version=f"{PROBE_VERSION} {secrets.token_hex(8)}",
        max_completion_tokens=PROBE_TOKENS,
    )


async def probe(
    client: openai.AsyncOpenAI, *, model: str, ledger: CallLedger | None = None, price: Price | None = None
) -> Capabilities:
    """What the model can do: one call, repeated with less where the server refuses a part, and a look at its listing.

    The call goes through the ledger, where there is one. No earlier reply is used: an answer from last week says
    nothing of today's server.

    Raises:
        CallFailed: no reply came.
        JudgeUnavailable: the server refuses the key, the model or the account.
        CapReached: the ledger's job may not spend what the call could cost.
    """
    chat = ChatModel(client, model=model, ledger=ledger or InMemoryCallLedger(), concurrency=1, price=price)
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
