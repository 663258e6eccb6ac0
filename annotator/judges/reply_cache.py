"""Replies already paid for, as they are stored, and the key that finds them again by what was asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from annotator.confidence import TokenLogprob
from annotator.prompts.loader import Message


@dataclass(frozen=True, slots=True)
class CachedReply:
    """A reply as the server gave it, before anyone tried to understand it.

    `logprobs` holds only the tokens in which a grade can stand, or None when the server sent none; `reasoned` is true
    when the server thought out of sight before it answered, which makes token probabilities meaningless.
    """

    text: str
    finish_reason: str | None
    logprobs: tuple[TokenLogprob, ...] | None
    prompt_tokens: int
    completion_tokens: int
    model: str
    reasoned: bool = False

    def to_json(self) -> str:
        """The reply as one line of JSON, to be stored; `from_json` gives it back unchanged."""
        logprobs = None
        if self.logprobs is not None:
            logprobs = [[entry.offset, entry.token, entry.logprob, entry.alternatives] for entry in self.logprobs]
        return json.dumps(
            {
                "text": self.text,
                "finish_reason": self.finish_reason,
                "logprobs": logprobs,
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "model": self.model,
                "reasoned": self.reasoned,
            }
        )

    @staticmethod
    def from_json(stored: str) -> CachedReply:
        """The reply that `to_json` stored."""
        fields = json.loads(stored)
        logprobs = None
        if fields["logprobs"] is not None:
            logprobs = tuple(
                TokenLogprob(offset, token, logprob, tuple((t, p) for t, p in alternatives))
                for offset, token, logprob, alternatives in fields["logprobs"]
            )
        return CachedReply(**{**fields, "logprobs": logprobs})


def reply_key(
    *,
    model: str,
    parameters: Mapping[str, str | int | float | bool],
    prompt_version: str,
    messages: Sequence[Message],
) -> str:
    """SHA-256, in hexadecimal, of everything that decides the reply: model, parameters asked for, prompt and messages.

    The parameters are those that were meant, not those left after a server refused some: another process that has yet
    to learn of the refusal must find the reply too.
    """
    canonical = json.dumps(
        {
            "model": model,
            "parameters": dict(parameters),
            "prompt_version": prompt_version,
            "messages": [[message.role, message.content] for message in messages],
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
