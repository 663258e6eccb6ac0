"""The 300 replies of the public corpus that were read one by one: how they were drawn, what was written down.

`replies_checked.jsonl` holds for each its line in the corpus, the SHA-256 of its text, its source, the grades that two
careful readers extract (null: it cannot be read without guessing) and, where that is not obvious, why. No text of a
reply is copied: its licence is the corpus's.

How they were read: in shuffled order, without the parser's readings in view, and every judgement written down before
the parser was run on the sample; the rules below were settled while reading the first half. A grade counts only when
the reply states it beyond doubt as the one final grade of the one pair; a list over several passages is no such grade;
a reply that sets out a query and passage of its own is not surely about the pair that was asked, nor is one that goes
on to a second pair; words such as "perfectly relevant" without the number are no grade; a grade that contradicts its
own explanation is still the stated grade; an object that lacks only its last brace states its grade. The first reader
(an AI engineer of this project) knew the parser's rules and which shapes it refuses. The second (another AI) read all
300 in another order and saw neither the parser nor the first reader's grades; `second` is what it wrote down. They
differ on 7, each null to the first and a grade to the second. No judgement was changed after the comparison.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.public_data import data_folder, read_lines

CHECKED = Path(__file__).parent / "replies_checked.jsonl"
SEED = 20261121
HALF = 150
DRAWN_WITH = "a4e004d"
# Shapes in which a misreading is likelier fill their strata faster.
WEIGHTS = {
    "cut JSON": 3,
    "echo": 3,
    "prose": 2,
    "prose with a grade": 2,
    "broken JSON": 2,
    "prose and JSON": 2,
}
_KEY = re.compile(r'"(?:relevance|score|grade)"\s*:', re.I)
_SAID = re.compile(r"(?:score|grade|relevance)\W{0,4}\s*\d", re.I)
_ECHO = re.compile(r"^\s*(?:query|passage)\s*:", re.I | re.M)
_SHORT = 40

Stratum = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """One raw reply of a real model; `line` counts from 0 in the corpus."""

    line: int
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class CheckedReply:
    """What two careful readers extract from one reply, each for itself; None where that would be guessing."""

    reply: Reply
    grade: int | None
    second: int | None
    why: str


def read_replies() -> list[Reply]:
    """All replies of the corpus, in its order.

    Raises:
        PublicDataMissing: the corpus is not there.
    """
    rows = read_lines(data_folder() / "llm-replies" / "replies.jsonl.gz")
    return [Reply(line, str(row["source"]), str(row["reply"])) for line, row in enumerate(rows)]


def read_checked(replies: Sequence[Reply], *, path: Path = CHECKED) -> list[CheckedReply]:
    """The hand-checked sample, each joined to its reply.

    Raises:
        ValueError: a reply of the corpus is not the one that was read.
    """
    checked = []
    for row in read_lines(path):
        reply = replies[int(str(row["line"]))]
        if hashlib.sha256(reply.text.encode("utf-8")).hexdigest() != row["sha256"] or reply.source != row["source"]:
            raise ValueError(f"line {reply.line} of the corpus is not the reply that was read; is it another version?")
        first, second = (None if row[name] is None else int(str(row[name])) for name in ("grade", "second"))
        checked.append(CheckedReply(reply, first, second, str(row.get("why", ""))))
    return checked


def shape_of(text: str) -> str:
    """What a reply looks like, by patterns that share nothing with the parser."""
    bare = text.strip()
    keys = len(_KEY.findall(text))
    if not bare:
        return "empty"
    if "<think" in text.casefold() or "</think" in text.casefold():
        return "thinking"
    if keys > 1 or text.count('"pid"') > 1:
        return "several grades"
    if _ECHO.search(text):
        return "echo"
    if keys == 1:
        return _shape_of_json(bare)
    if bare.startswith("{"):
        return "JSON without a grade"
    said = len(_SAID.findall(text))
    if said > 1:
        return "several grades"
    if said == 1:
        return "plain grade" if len(bare) < _SHORT else "prose with a grade"
    return "plain" if len(bare) < _SHORT else "prose"


def _shape_of_json(bare: str) -> str:
    try:
        json.loads(bare)
    except ValueError:
        pass
    else:
        return "JSON"
    if not bare.startswith("{"):
        return "prose and JSON"
    if bare.endswith("}"):
        return "broken JSON"
    return "JSON then prose" if "}" in bare else "cut JSON"


def draw(replies: Sequence[Reply], *, refused: Callable[[str], bool]) -> list[int]:
    """Lines of the 300 replies to read, in the order of reading: half refused by the parser, half read by it.

    Each half is spread over its strata (source × shape) in turn, hard shapes faster, a stratum ending when it is
    exhausted; within one the draw is random (seeded). The committed sample took `refused` from the parser of commit
    DRAWN_WITH.
    """
    halves: tuple[dict[Stratum, list[int]], dict[Stratum, list[int]]] = ({}, {})
    for reply in replies:
        halves[refused(reply.text)].setdefault((reply.source, shape_of(reply.text)), []).append(reply.line)
    rng = random.Random(SEED)
    picked: list[int] = []
    for strata in halves:
        quotas = _quotas(strata)
        for stratum in sorted(strata):
            picked += rng.sample(strata[stratum], quotas[stratum])
    rng.shuffle(picked)
    return picked


def _quotas(strata: Mapping[Stratum, Sequence[int]]) -> dict[Stratum, int]:
    quotas = dict.fromkeys(strata, 0)
    left = min(HALF, sum(len(lines) for lines in strata.values()))
    while left:
        for stratum in sorted(stratum for stratum in strata if quotas[stratum] < len(strata[stratum])):
            taken = min(WEIGHTS.get(stratum[1], 1), left, len(strata[stratum]) - quotas[stratum])
            quotas[stratum] += taken
            left -= taken
    return quotas
