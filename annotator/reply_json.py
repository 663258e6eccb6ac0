"""The one JSON object of a reply that is no bare grade: found strictly, or the reason why there is none to be had."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from annotator.cleaning import one_line

MAX_REPLY_CHARACTERS = 200_000
MAX_OBJECTS = 50
_THINKING = re.compile(r"</?think(?:ing)?>", re.I)
_FENCE = re.compile(r"^```[a-z]*\s*$", re.I | re.M)


class ReplyUnreadable(Exception):
    """Why a reply cannot be read; a judge turns it into an unreadable proposal."""


class Pairs(list[tuple[str, object]]):
    """A JSON object with every key that was written, so that a key given twice is seen."""

    def the(self, key: str) -> object:
        """The value of a key that was written exactly once.

        Raises:
            ReplyUnreadable: the key is missing, or was written twice.
        """
        values = [value for name, value in self if name.strip().casefold() == key]
        if len(values) != 1:
            raise ReplyUnreadable(f"the reply has {len(values)} values for {key!r}")
        return values[0]


@dataclass(frozen=True, slots=True)
class ReplyObject:
    """The object, where it starts in the reply (characters), and whether anything but a code fence precedes it."""

    pairs: Pairs
    start: int
    leads: bool


_DECODER = json.JSONDecoder(object_pairs_hook=Pairs)


def read_object(text: str, *, key: str, finish_reason: str | None = None) -> ReplyObject:
    """The only object in the reply that has `key`, after one closed block of thinking, fenced or with prose around.

    Raises:
        ReplyUnreadable: the reply is empty, cut off, withheld or endless, or holds no such object or several.
    """
    if finish_reason in ("length", "content_filter"):
        cut = finish_reason == "length"
        raise ReplyUnreadable("the reply was cut off" if cut else "the reply was withheld by a filter")
    if not text.strip():
        raise ReplyUnreadable("the reply is empty")
    if len(text) > MAX_REPLY_CHARACTERS:
        raise ReplyUnreadable(f"the reply is longer than {MAX_REPLY_CHARACTERS} characters")
    named = re.compile(rf"[\"']{re.escape(key)}[\"']\s*:", re.I)
    start = _after_thinking(text, named)
    found: list[tuple[int, int, Pairs]] = []
    position = text.find("{", start)
    for _ in range(MAX_OBJECTS):
        if position < 0:
            break
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            if any(name.strip().casefold() == key for name, _ in value):
                found.append((position, end, value))
        position = text.find("{", end)
    else:
        if position >= 0:
            raise ReplyUnreadable("the reply holds too many braces")
    if len(found) != 1:
        raise ReplyUnreadable(f"the reply holds {len(found)} readable objects with {key!r}")
    at, end, pairs = found[0]
    if named.search(text, start, at) or named.search(text, end):
        raise ReplyUnreadable(f"the reply speaks of {key!r} outside of its object, too")
    leads = start == 0 and not _FENCE.sub("", text[:at]).strip()
    return ReplyObject(pairs, at, leads)


def whole_number(value: object, *, low: int, high: int) -> int:
    """A whole number in low..high, written as a number or in digits.

    Raises:
        ReplyUnreadable: it is anything else.
    """
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value.strip()) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ReplyUnreadable(f"{one_line(repr(value), limit=40)} is no whole number")
    if not low <= value <= high:
        raise ReplyUnreadable(f"a grade off the scale {low}..{high}")
    return value


def short_text(value: object, *, limit: int) -> str:
    """A text that is not empty, its white space kept, cut at `limit` characters.

    Raises:
        ReplyUnreadable: it is no text, or says nothing.
    """
    if not isinstance(value, str) or not value.strip():
        raise ReplyUnreadable("the reply leaves a text empty")
    return value.strip()[:limit]


def _after_thinking(text: str, named: re.Pattern[str]) -> int:
    """Where the answer starts: after one closed block of thinking at the beginning, else 0."""
    tags = list(_THINKING.finditer(text))
    if not tags or text.lstrip().startswith(("{", "```")):
        return 0  # a reply that begins with its object may well quote such a tag from a passage
    opened = not tags[0].group().startswith("</")
    closing = 1 if opened else 0
    if opened and text[: tags[0].start()].strip():
        raise ReplyUnreadable("thinking in the middle of the reply")
    if len(tags) <= closing or not tags[closing].group().startswith("</"):
        raise ReplyUnreadable("the reply's thinking never ends clearly")
    # Some chat templates write the opening tag into the prompt, so a closing tag alone ends thinking too.
    if not opened and named.search(text, 0, tags[0].start()):
        raise ReplyUnreadable("the reply's thinking does not begin clearly")
    return tags[closing].end()
