"""Takes out of a chat completion what is worth keeping. Whether a grade can be read in it is not asked here."""

from __future__ import annotations

import re
from typing import Any

from annotator.confidence import TokenLogprob
from annotator.judges.reply_cache import CachedReply

_MOST_TOKENS = 2**31 - 1
_HUGE = 1e300
_DIGIT = re.compile(r"\d")


class NoReply(Exception):
    """The server answered with success, but its answer holds no reply."""


def reply_of(answer: object, *, model: str) -> CachedReply:
    """The reply in a server's answer, which is JSON of any shape; of a wrong shape is what is not there.

    Read without the client's own types: building them costs more than all that is done with a reply afterwards.

    Raises:
        NoReply: there is none.
    """
    choices = _mapping(answer).get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        raise NoReply("an answer without choices")
    text = _text(message.get("content"))
    usage = _mapping(_mapping(answer).get("usage"))
    thought = _count(_mapping(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    shown = message.get("reasoning_content") or message.get("reasoning")
    finish_reason = choice.get("finish_reason")
    return CachedReply(
        text=text or _text(message.get("refusal")),
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        logprobs=_digit_tokens(choice.get("logprobs"), text) if text else None,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        model=_text(_mapping(answer).get("model")) or model,
        reasoned=bool(shown) or thought > 0,
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """A text, or the texts of a list of parts one after the other; nothing for anything else."""
    if isinstance(value, list):
        return "".join(_text(_mapping(part).get("text")) for part in value)
    return value if isinstance(value, str) else ""


def _count(stated: object) -> int:
    """A number of tokens as a server states it, in what a database takes; 0 for anything else."""
    return min(max(stated, 0), _MOST_TOKENS) if isinstance(stated, int) and not isinstance(stated, bool) else 0


def _digit_tokens(logprobs: object, text: str) -> tuple[TokenLogprob, ...] | None:
    """The tokens with a digit in them, where a grade can stand, or None when the tokens do not spell the text."""
    content = _mapping(logprobs).get("content")
    if not isinstance(content, list) or not content:
        return None
    kept: list[TokenLogprob] = []
    offset = 0
    for entry in content:
        token, logprob = _mapping(entry).get("token"), _number(_mapping(entry).get("logprob"))
        if not isinstance(token, str) or logprob is None:
            return None
        if not text.startswith(token, offset):
            # Beyond this point (half a character in a token, for one) offsets would be guesses; the grade comes early.
            break
        if _DIGIT.search(token):
            kept.append(TokenLogprob(offset, token, logprob, _rivals(entry.get("top_logprobs"))))
        offset += len(token)
    return tuple(kept)


def _rivals(listed: object) -> tuple[tuple[str, float], ...]:
    found = []
    for rival in listed if isinstance(listed, list) else ():
        token, logprob = _mapping(rival).get("token"), _number(_mapping(rival).get("logprob"))
        if isinstance(token, str) and logprob is not None:
            found.append((token, logprob))
    return tuple(found)


def _number(value: object) -> float | None:
    """A finite number, or None for anything else, NaN and numbers beyond what a float holds included."""
    sound = isinstance(value, int | float) and not isinstance(value, bool) and -_HUGE <= value <= _HUGE
    return float(value) if sound else None  # type: ignore[arg-type]
