"""What a value must be to enter the workspace: ids, texts, grades, probabilities. Every refusal is a `BadLine`."""

from __future__ import annotations

import json
import math
import re

from app.services.importing.rows import BadLine

MAX_ID = 500
"""Characters of an id; the column's length."""
MAX_GUESSED_GRADE = 10
"""The highest grade taken for real while the source's scale is unknown; one stray 99 must not stretch it."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")


def shown(value: object) -> str:
    """The value as a message may show it: quoted, on one line, and cut."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + '..."'


def clean_id(value: object, what: str) -> str:
    """The id as text: a non-empty string, kept exactly, or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "":
        raise BadLine(f"the {what} is missing")
    if not isinstance(value, str):
        raise BadLine(f"the {what} is {shown(value)}; it must be text or a whole number")
    if not value.strip():
        raise BadLine(f"the {what} is empty")
    if len(value) > MAX_ID:
        raise BadLine(f"the {what} {shown(value)} has {len(value)} characters; at most {MAX_ID} are allowed")
    if _SURROGATE.search(value):
        raise BadLine(f"the {what} {shown(value)} holds half a surrogate pair, which is no character")
    if _CONTROL.search(value):
        raise BadLine(f"the {what} {shown(value)} holds a control character or line break")
    return value


def clean_text(value: object, what: str) -> tuple[str, int]:
    """The text without NUL characters (PostgreSQL cannot store them), and how many were removed."""
    if value is None:
        return "", 0
    if not isinstance(value, str):
        raise BadLine(f"the {what} is {shown(value)}; it must be text")
    if _SURROGATE.search(value):
        raise BadLine(f"the {what} holds half a surrogate pair, which is no character")
    nuls = value.count("\0")
    return (value.replace("\0", "") if nuls else value), nuls


def whole_grade(value: object) -> int:
    """The grade as a whole number; "2", 2 and 2.0 are the same."""
    if isinstance(value, bool) or value is None or value == "":
        raise BadLine(f"the grade is {shown(value)}; it must be a whole number")
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value.strip()):
            raise BadLine(f"the grade is {shown(value)}; it must be a whole number")
        return int(value.strip().split(".")[0])
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    raise BadLine(f"the grade is {shown(value)}; it must be a whole number")


def finite_number(value: object, what: str) -> float:
    """The value as a finite float."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadLine(f"the {what} is {shown(value)}; it must be a number")
    return number


def probability(value: object, what: str) -> float | None:
    """The value as a probability in [0, 1], or None when it is absent."""
    if value is None or value == "":
        return None
    number = finite_number(value, what)
    if not 0.0 <= number <= 1.0:
        raise BadLine(f"the {what} is {shown(value)}; it must lie in 0..1")
    return number
