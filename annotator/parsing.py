"""Reads a judge's reply, or says that it cannot be read. Nothing is guessed: an unreadable reply is never grade 0."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from annotator.cleaning import clean, one_line
from annotator.confidence import verbal_confidence
from annotator.types import Scale

MAX_REPLY_CHARACTERS = 200_000
MAX_OBJECTS = 50
MAX_REASON_CHARACTERS = 1_000

_GRADE_KEYS = frozenset(
    {"grade", "relevance", "relevance_grade", "relevance_score", "score", "final_grade", "final_score", "rating"}
)
_SCALE_KEYS = frozenset({"scale", "max_grade", "max_score", "out_of"})
_REASON_KEYS = ("reason", "explanation", "rationale")
_ONE_OF_SEVERAL_KEYS = frozenset(
    {"pid", "id", "doc", "doc_id", "docid", "document", "document_id", "passage", "passage_id", "passage_number"}
)
_COMPLETE_VALUE = ('"', "]", "}", "null", "true", "false")
_QUOTED_GRADE_KEY = re.compile(r"[\"'](?:" + "|".join(k.replace("_", "[ _-]?") for k in _GRADE_KEYS) + r")[\"']", re.I)
_BROKEN_OBJECT = re.compile(r"\{\s*(?:[\"']|$)")
_THINKING = re.compile(r"</?think(?:ing)?>", re.I)
_FENCE = re.compile(r"^```[a-z]*\s*$", re.I | re.M)

_SAID = r"(?:the\s+)?(?:final\s+|relevance\s+|overall\s+)*(?:grade|score|answer|rating|relevance)"
_STATEMENT = re.compile(rf"^[\s#*>_-]*{_SAID}[\s*_]*(?:[:=：]|\bis\b)[\s*_]*(?P<value>.*)$", re.I)
_MENTION = re.compile(  # without \b: an escape sequence may stick to the word
    r"(?:(?:grade|score|rating|relevance)[\s*_\"']*(?:(?:is|was|would\s+be|of|as|[:=：])[\s*_\"']*)+"
    r"|(?:scored?|graded?|rated?)\s+(?:(?:it|this|that|the|passage|document|pair|query|as|an?|at|with)\s+){1,5})"
    r"(?P<grade>\d{1,9})",
    re.I,
)
_VALUE = re.compile(r"^(?P<grade>\d+)(?:\s*(?:/|out\s+of)\s*(?P<outof>\d+))?\s*[*_#.]*\s*(?P<rest>.*)$", re.I)
_OTHER_SCALE = re.compile(
    r"\bscale\s+(?:of|from)\s+(\d+)\s*(?:to|-|–)\s*(\d+)|\b(\d+)\s*(?:to|-|–)\s*(\d+)\s+scale\b", re.I
)
_ECHO = re.compile(r"^[^\S\n]*(?:query|question|passage|document)(?:\s+\d+)?\s*:", re.I | re.M)


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """What a reply says; `problem` tells why the grade is None, and is None when there is a grade.

    `grade_at` is the offset of the grade's first digit in the reply as given, or None where anything precedes the
    grade, for then its log-probability says little.
    """

    grade: int | None
    confidence: float | None
    evidence_text: str | None
    reason: str
    problem: str | None
    grade_at: int | None = None


class _Unreadable(Exception):
    """Why a reply cannot be read; never leaves this module."""


class _Pairs(list[tuple[str, object]]):
    """A JSON object with every key that was written, so that a key given twice is seen."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs)


def parse_reply(text: str, *, scale: Scale, finish_reason: str | None = None) -> ParsedReply:
    """The grade that a reply states beyond doubt, with confidence, quote and reason; else the problem. Never raises.

    Read are one JSON object with a grade (alone, fenced, or with prose around it), lines such as "Grade: 2" or "##final
    score: 1", and a reply that is nothing but the grade; each after one closed <think> block. Unreadable is whatever is
    empty, cut off, contradictory, off the scale, on another scale, about several passages, or prose without a stated
    grade. An object that lacks nothing but its last brace is read when its grade is the first thing it states and
    something complete follows, for then neither a cut number nor a passage's words can be taken for the grade (our
    choice; about one reply in thirty of the public corpus ends so).
    """
    try:
        return _read(text, scale=scale, finish_reason=finish_reason)
    except _Unreadable as why:
        return ParsedReply(None, None, None, "", str(why))


def _read(text: str, *, scale: Scale, finish_reason: str | None) -> ParsedReply:
    if finish_reason in ("length", "content_filter"):
        raise _Unreadable(
            "the reply was cut off" if finish_reason == "length" else "the reply was withheld by a filter"
        )
    if not text.strip():
        raise _Unreadable("the reply is empty")
    if len(text) > MAX_REPLY_CHARACTERS:
        raise _Unreadable(f"the reply is longer than {MAX_REPLY_CHARACTERS} characters")
    whole = _whole_object(text, start=0) or _object_without_last_brace(text, start=0)
    if whole is not None:
        return _from_object(whole, scale=scale, grade_at=_leading_grade(text, start=0))
    start = _after_thinking(text)
    if start:
        whole = _whole_object(text, start=start) or _object_without_last_brace(text, start=start)
        if whole is not None:
            return _from_object(whole, scale=scale, grade_at=None)
        if _THINKING.search(text, start):
            raise _Unreadable("the reply's thinking does not end clearly")
    return _from_mixed(text, start=start, scale=scale)


def _after_thinking(text: str) -> int:
    """Where the answer starts: after one closed block of thinking at the beginning, else 0."""
    tags = list(_THINKING.finditer(text))
    if not tags:
        return 0
    opened = not tags[0].group().startswith("</")
    if opened and text[: tags[0].start()].strip():
        raise _Unreadable("thinking in the middle of the reply")
    if opened and len(tags) == 1:
        raise _Unreadable("the reply's thinking never ends")
    if opened and not tags[1].group().startswith("</"):
        raise _Unreadable("the reply's thinking does not end clearly")
    # Some chat templates write the opening tag into the prompt, so a closing tag alone ends thinking too.
    end = tags[1 if opened else 0].end()
    if not opened and _QUOTED_GRADE_KEY.search(text, 0, end):
        raise _Unreadable("the reply's thinking does not begin clearly")
    return end


def _from_mixed(text: str, *, start: int, scale: Scale) -> ParsedReply:
    """Reads a reply of prose, of prose with an object inside, or of a bare grade."""
    found = [(at, end, value) for at, end, value in _objects(text, start=start) if _grades_of(value)]
    pieces: list[str] = []
    position = start
    for at, end, _ in found:
        pieces.append(text[position:at])
        position = end
    # Cleaned, so that no invisible character hides a second statement.
    prose = _FENCE.sub("", clean("\n".join([*pieces, text[position:]])))
    if _QUOTED_GRADE_KEY.search(prose) or _BROKEN_OBJECT.search(prose):
        raise _Unreadable("the reply holds broken or unfinished JSON")
    if len(found) > 1:
        raise _Unreadable(f"the reply holds {len(found)} objects with a grade")
    if _ECHO.search(prose):
        # Runaway models go on with an example of their own; its grade is about that example.
        raise _Unreadable("the reply makes up or repeats a query or a passage")
    stated = _stated_grade(prose, scale=scale)
    if found:
        at, _, value = found[0]
        leads = start == 0 and not _FENCE.sub("", text[:at]).strip()
        parsed = _from_object(value, scale=scale, grade_at=_leading_grade(text, start=at) if leads else None)
        if stated is not None and stated != parsed.grade:
            raise _Unreadable(f"the reply states the grades {parsed.grade} and {stated}")
        _refuse_other_mention(prose, grade=parsed.grade)
        return parsed
    if stated is None:
        bare = prose.strip().strip("*#. ")
        if not bare.isdecimal():
            raise _Unreadable("the reply states no grade")
        stated = _on_scale(bare, scale=scale)
    _refuse_other_scale(prose, scale=scale)
    _refuse_other_mention(prose, grade=stated)
    return ParsedReply(stated, None, None, "", None, _first_line_digit(text, stated) if start == 0 else None)


def _objects(text: str, *, start: int) -> Iterator[tuple[int, int, _Pairs]]:
    """Each outermost JSON object in the text with its start and end."""
    position = text.find("{", start)
    for _ in range(MAX_OBJECTS):
        if position < 0:
            return
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            yield position, end, value
        position = text.find("{", end)
    if position >= 0:
        raise _Unreadable("the reply holds too many braces")


def _whole_object(text: str, *, start: int) -> _Pairs | None:
    """The object when the rest of the text is one JSON object with a grade, fenced or not, and nothing else."""
    body = text[start:].strip()
    if body.startswith("```") and body.endswith("```"):
        body = _FENCE.sub("", body).strip()
    if not body.startswith("{"):
        return None
    try:
        value = _DECODER.decode(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, _Pairs) and _grades_of(value) else None


def _object_without_last_brace(text: str, *, start: int) -> _Pairs | None:
    """The object when one closing brace at the end makes the rest whole, its grade leads and a complete value follows.

    A number at the very end may be cut ("1" of "10"), so a grade there is not complete; a grade behind a quotation may
    be the passage's.
    """
    body = text[start:].strip()
    if not body.startswith("{") or not body.endswith(_COMPLETE_VALUE):
        return None
    try:
        value = _DECODER.decode(body + "}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, _Pairs) or len(value) < 2 or _key(value[0][0]) not in _GRADE_KEYS:
        return None
    return value


def _key(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def _grades_of(pairs: _Pairs) -> list[object]:
    return [value for key, value in pairs if _key(key) in _GRADE_KEYS]


def _from_object(pairs: _Pairs, *, scale: Scale, grade_at: int | None) -> ParsedReply:
    if any(_key(key) in _ONE_OF_SEVERAL_KEYS for key, _ in pairs):
        # A judge that is shown one pair has no reason to name it; the rest of such a list may be cut off.
        raise _Unreadable("the reply grades one of several passages")
    grades = {_on_scale(value, scale=scale) for value in _grades_of(pairs)}
    if len(grades) != 1:
        raise _Unreadable(f"the reply states the grades {sorted(grades)}")
    for key, value in pairs:
        if (
            _key(key) in _SCALE_KEYS
            and not isinstance(value, bool)
            and isinstance(value, int)
            and value != scale.max_grade
        ):
            raise _Unreadable(f"the reply grades on a scale up to {value}")
        if _key(key) in _SCALE_KEYS and isinstance(value, str):
            _refuse_other_scale(f"scale of {value}", scale=scale)
    confidences = [value for key, value in pairs if _key(key) == "confidence"]
    quotes = [value for key, value in pairs if _key(key) == "evidence"]
    reasons = [value for name in _REASON_KEYS for key, value in pairs if _key(key) == name and isinstance(value, str)]
    quote = quotes[0] if len(quotes) == 1 else None
    return ParsedReply(
        grade=grades.pop(),
        confidence=verbal_confidence(confidences[0]) if len(confidences) == 1 else None,
        evidence_text=quote if isinstance(quote, str) and quote.strip() else None,
        reason=one_line(reasons[0], limit=MAX_REASON_CHARACTERS) if reasons else "",
        problem=None,
        grade_at=grade_at,
    )


def _on_scale(value: object, *, scale: Scale) -> int:
    """The value as a grade, when it is one."""
    if isinstance(value, str):
        match = _VALUE.match(value.strip())
        if match is None or len(match["grade"]) > 9 or not _is_label(match["rest"], int(match["grade"]), scale):
            raise _Unreadable(f"the grade {one_line(value, limit=40)!r} is no number")
        if match["outof"] is not None and match["outof"].lstrip("0") != str(scale.max_grade):
            raise _Unreadable(f"the grade {one_line(value, limit=40)!r} is on another scale")
        value = int(match["grade"])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (_INF, -_INF):
        raise _Unreadable(f"the grade {one_line(repr(value), limit=40)} is no whole number")
    if isinstance(value, float):
        if not value.is_integer():
            raise _Unreadable(f"the grade {value} is no whole number")
        value = int(value)
    if value not in scale.grades:
        raise _Unreadable(f"a grade off the scale 0..{scale.max_grade}")
    return value


_INF = float("inf")


def _is_label(rest: str, grade: int, scale: Scale) -> bool:
    """Whether what follows a number is nothing, or the label that the scale gives this very grade."""
    rest = rest.strip(" \t()[]-–—:,.*_\"'").casefold()
    return not rest or (grade in scale.grades and rest == scale.labels[grade].casefold())


def _stated_grade(prose: str, *, scale: Scale) -> int | None:
    """The one grade stated on lines of their own, or None when no line states one."""
    grades: set[int] = set()
    for line in prose.splitlines():
        match = _STATEMENT.match(line)
        if match is None:
            continue
        value = match["value"].strip()
        if not value:
            continue
        grades.add(_on_scale(value, scale=scale))
    if len(grades) > 1:
        raise _Unreadable(f"the reply states the grades {sorted(grades)}")
    return grades.pop() if grades else None


def _refuse_other_mention(prose: str, *, grade: int | None) -> None:
    """Refuses a reply whose sentences speak of another grade than the one it states; which of them holds is unclear."""
    for match in _MENTION.finditer(prose):
        if int(match["grade"]) != grade:
            raise _Unreadable(f"the reply states the grades {grade} and {int(match['grade'])}")


def _refuse_other_scale(prose: str, *, scale: Scale) -> None:
    for match in _OTHER_SCALE.finditer(prose):
        low, high = (int(bound[:9]) for bound in match.groups() if bound is not None)
        if (low, high) != (0, scale.max_grade):
            raise _Unreadable(f"the reply grades on the scale {low}..{high}")


def _leading_grade(text: str, *, start: int) -> int | None:
    """Offset of the grade's digit when the object at or after `start` begins with its grade."""
    at = text.find("{", start)
    if text[start:at].strip() not in ("", "```", "```json"):
        return None
    match = re.compile(r"\{\s*\"([^\"\\]*)\"\s*:\s*\"?(?=\d)").match(text, at)
    return match.end() if match is not None and _key(match[1]) in _GRADE_KEYS else None


def _first_line_digit(text: str, grade: int) -> int | None:
    """Offset of the grade's digit when the first line states it."""
    lead = len(text) - len(text.lstrip())
    line = text[lead:].split("\n", 1)[0]
    at = line.find(str(grade))
    return lead + at if at >= 0 and not any(character.isdigit() for character in line[:at]) else None
