"""Finds a quoted span in its passage, or says that it is not there. What a judge invents is dropped, never repaired."""

from __future__ import annotations

import unicodedata

from annotator.cleaning import CONTROL, INVISIBLE
from annotator.types import Evidence

_SINGLE = "\u2018\u2019\u201a\u201b\u2032\u0060\u00b4\u02bc"
_DOUBLE = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_FOLDED = {
    **{ord(mark): "'" for mark in _SINGLE},
    **{ord(mark): '"' for mark in _DOUBLE},
    **{ord(mark): "-" for mark in _DASHES},
}


def locate(passage: str, quoted: str) -> Evidence | None:
    """The first place where the passage says what was quoted, as offsets into the passage as given; None if nowhere.

    Equal up to runs of white space, Unicode compatibility (two texts match when their NFKC forms do), kinds of
    quotation marks and dashes, invisible characters, and one pair of quotation marks around the whole quote. Case and
    wording count.
    """
    quoted = quoted.strip()
    if not any(character.isalnum() for character in quoted):
        return None
    exact = passage.find(quoted)
    if exact >= 0:
        return Evidence(exact, exact + len(quoted), quoted)
    haystack, starts, ends = _comparable(passage)
    needle = _comparable(quoted)[0].strip()
    found = _find_whole(haystack, needle, starts, ends)
    if found is None and len(needle) > 2 and needle[0] == needle[-1] and needle[0] in "'\"":
        found = _find_whole(haystack, needle[1:-1].strip(), starts, ends)
    if found is None:
        return None
    start, end = found
    return Evidence(start, end, passage[start:end])


def _find_whole(haystack: str, needle: str, starts: list[int], ends: list[int]) -> tuple[int, int] | None:
    """Offsets in the original of the first occurrence that splits no character of the original."""
    if not any(character.isalnum() for character in needle):
        return None
    at = haystack.find(needle)
    while at >= 0:
        last = at + len(needle) - 1
        cuts_front = at > 0 and starts[at - 1] == starts[at]
        cuts_back = last + 1 < len(haystack) and ends[last + 1] == ends[last]
        if not cuts_front and not cuts_back:
            return starts[at], ends[last]
        at = haystack.find(needle, at + 1)
    return None


def _comparable(text: str) -> tuple[str, list[int], list[int]]:
    """The text in comparable form, and for each of its characters where the original cluster starts and ends."""
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    while position < len(text):
        character = text[position]
        end = position + 1
        if not character.isascii() or (end < len(text) and not text[end].isascii()):
            while end < len(text) and unicodedata.combining(text[end]):
                end += 1
        if character.isspace() or CONTROL.match(character):
            if out and out[-1] != " ":
                out.append(" ")
                starts.append(position)
                ends.append(end)
        elif not INVISIBLE.match(character):
            cluster = text[position:end]
            if not cluster.isascii():
                # Two texts have the same NFKC form exactly when they have the same NFKD form; NFKD needs no look-ahead.
                cluster = unicodedata.normalize("NFKD", cluster.translate(_FOLDED)).translate(_FOLDED)
            out.extend(cluster)
            starts.extend([position] * len(cluster))
            ends.extend([end] * len(cluster))
        position = end
    return "".join(out), starts, ends
