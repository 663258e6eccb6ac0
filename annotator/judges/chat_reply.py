"""Takes out of a chat completion what is worth keeping. Whether a grade can be read in it is not asked here."""

from __future__ import annotations

from typing import Any

from openai.types.chat import ChatCompletion

from annotator.confidence import TokenLogprob
from annotator.judges.reply_cache import CachedReply

_MOST_TOKENS = 2**31 - 1


class NoReply(Exception):
    """The server answered with success, but its answer holds no reply."""


def reply_of(completion: object, *, model: str) -> CachedReply:
    """The reply in a completion.

    Raises:
        NoReply: there is none.
    """
    if not isinstance(completion, ChatCompletion) or not completion.choices or completion.choices[0].message is None:
        raise NoReply("an answer without choices")
    choice, usage = completion.choices[0], completion.usage
    text = choice.message.content or ""
    details = usage.completion_tokens_details if usage is not None else None
    shown = getattr(choice.message, "reasoning_content", None) or getattr(choice.message, "reasoning", None)
    return CachedReply(
        text=text or choice.message.refusal or "",
        finish_reason=choice.finish_reason,
        logprobs=_digit_tokens(choice.logprobs, text) if text else None,
        prompt_tokens=_count(usage.prompt_tokens) if usage is not None else 0,
        completion_tokens=_count(usage.completion_tokens) if usage is not None else 0,
        model=completion.model or model,
        reasoned=bool(shown) or bool(details is not None and details.reasoning_tokens),
    )


def _count(stated: object) -> int:
    """A number of tokens as a server states it, in what a database takes; 0 for anything else."""
    return min(max(stated, 0), _MOST_TOKENS) if isinstance(stated, int) else 0


def _digit_tokens(logprobs: Any, text: str) -> tuple[TokenLogprob, ...] | None:
    """The tokens with a digit in them, where a grade can stand, or None when the tokens do not spell the text."""
    content = getattr(logprobs, "content", None)
    if not content:
        return None
    kept: list[TokenLogprob] = []
    offset = 0
    for entry in content:
        if not isinstance(entry.token, str) or not isinstance(entry.logprob, int | float):
            return None
        if not text.startswith(entry.token, offset):
            # Beyond this point (half a character in a token, for one) offsets would be guesses; the grade comes early.
            break
        if any(character.isdigit() for character in entry.token):
            rivals = tuple((rival.token, float(rival.logprob)) for rival in entry.top_logprobs or ())
            kept.append(TokenLogprob(offset, entry.token, float(entry.logprob), rivals))
        offset += len(entry.token)
    return tuple(kept)
