"""Text as a judge may see it: without the characters that are invisible, reorder the line or cannot be encoded."""

from __future__ import annotations

import re

_INVISIBLE = (
    "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"
)
INVISIBLE = re.compile(f"[{_INVISIBLE}]")
"""Direction marks, zero-width spaces, tag characters and the like. Joiners (U+200C, U+200D) stay: scripts need them."""

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """The text with control characters as spaces, invisible ones gone, lone surrogates as U+FFFD, line ends as \\n."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    return _SURROGATE.sub("\ufffd", INVISIBLE.sub("", CONTROL.sub(" ", text)))


def one_line(text: str, *, limit: int) -> str:
    """The cleaned text on one line, cut at `limit` characters with an ellipsis."""
    line = " ".join(clean(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
