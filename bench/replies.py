"""Are the raw replies of real models read without a wrong grade, and without a crash?

Measured on the public corpus of 6,000 replies to judging prompts (grades 0..3) and on a hand-checked sample of 300 of
them; see replies_sample.py for how it was drawn and read. A wrong grade is one that the parser returns where the
careful reader extracts another or none. Over the whole corpus, each reply that is one JSON object of grade and
explanation must give the grade that the standard library reads in it. Mutations of the sampled replies follow: cut at
every position, control and invisible characters strewn in, floods of white space or of the parser's own words, two
replies of different grades glued together, one megabyte. A mutated reply may become unreadable; it must never yield
another grade, nor raise.

`wrong_share_upper_95` is the exact upper bound that a random sample of so many correct readings would give. Ours is
drawn in halves with the hard shapes oversampled, so it is for orientation.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from annotator.parsing import parse_reply
from annotator.types import Scale
from bench.replies_sample import CheckedReply, Reply, read_checked, read_replies, shape_of
from bench.result import Result

NAME = "replies"
SCALE = Scale()
SEED = 20261121
STREWN = ("\x00", "\x07", "\x1b[31m", "\u200b", "\u202e", "\ufeff", "\r", "\x85", "\u2028", "\ud800")
STREWN_PER_REPLY = 40
FLOOD = 150_000
FLOODS = ("\n", " ", "\t\n", "{", "Grade is ", "the final ", "```\n", "# ", "1 - ")
"""Repeated up to FLOOD characters, just under what is read at all: a pattern that takes quadratic time never ends."""

MEGABYTE = 1_000_000
QUICK_CUT = 60
_SPECIFIC = re.compile(r"'.*'|\[[^\]]*\]|\b\d+(?:\.\.\d+)?\b")

TARGET = (
    "no crash over all replies and their mutations, zero wrong grades on the hand-checked sample of 300 to either"
    " of its two readers, JSON read as JSON says, and no mutation yields another grade"
)


@dataclass(slots=True)
class _Fuzz:
    """What mutations did; each list holds lines of the corpus."""

    tried: int = 0
    crashes: list[int] = field(default_factory=list)
    other_grade: list[int] = field(default_factory=list)
    read_where_refused: int = 0


def run(quick: bool) -> Result:
    """The figures over the corpus, the sample and the mutations; quick cuts only some of the sampled replies."""
    replies = read_replies()
    checked = read_checked(replies)
    readings, crashes = _read_all(replies)
    kinds = Counter(_SPECIFIC.sub("…", problem) for _, problem in readings.values() if problem is not None)
    wrong, refused, same, both_none = _compare(checked, readings)
    wrong_to_second = [one.reply.line for one in checked if readings[one.reply.line][0] not in (None, one.second)]
    plain = {reply.line: grade for reply in replies if (grade := _grade_of_json(reply.text)) is not None}
    unlike = [line for line, grade in plain.items() if readings[line][0] != grade]
    fuzz = _fuzz(checked, cut_only=QUICK_CUT if quick else None)
    read = sum(grade is not None for grade, _ in readings.values())
    readable = sum(one.grade is not None for one in checked)
    shapes = Counter(shape_of(one.reply.text) for one in checked)
    figures = {
        "replies": len(replies),
        "crashes": len(crashes),
        "read": read,
        "unreadable": len(replies) - read,
        "json_objects": len(plain),
        "json_objects_read_otherwise": len(unlike),
        "unreadable_by_kind": dict(kinds.most_common()),
        "unreadable_by_shape": dict(
            Counter(shape_of(reply.text) for reply in replies if readings[reply.line][0] is None).most_common()
        ),
        "sample": len(checked),
        "sample_by_shape": dict(shapes.most_common()),
        "sample_wrong": len(wrong),
        "sample_wrong_lines": wrong,
        "sample_same_grade": same,
        "sample_both_unreadable": both_none,
        "sample_readable": readable,
        "sample_readable_refused": len(refused),
        "sample_readable_refused_lines": refused,
        "sample_recall": same / readable,
        "sample_wrong_to_second_reader": len(wrong_to_second),
        "sample_readers_agree": sum(one.grade == one.second for one in checked),
        "wrong_share_upper_95": 1.0 - 0.05 ** (1.0 / max(1, same)) if not wrong else None,
        "mutations": fuzz.tried,
        "mutation_crashes": len(fuzz.crashes),
        "mutation_other_grade": len(fuzz.other_grade),
        "mutation_other_grade_lines": sorted(set(fuzz.other_grade)),
        "mutation_read_where_whole_is_refused": fuzz.read_where_refused,
    }
    holds = (
        not (crashes or wrong or wrong_to_second or unlike or fuzz.crashes or fuzz.other_grade) and len(checked) == 300
    )
    return Result(NAME, holds, TARGET, figures, _lines(figures, checked, refused))


def _lines(figures: dict[str, object], checked: Sequence[CheckedReply], refused: Sequence[int]) -> tuple[str, ...]:
    whys = {one.reply.line: one.why for one in checked}
    return (
        f"{figures['replies']} replies: {figures['read']} read, {figures['unreadable']} unreadable,"
        f" {figures['crashes']} crashes",
        *(f"  {count:>5}  {kind}" for kind, count in _counted(figures["unreadable_by_kind"])),
        f"sample of {figures['sample']}: {figures['sample_wrong']} wrong, {figures['sample_same_grade']} read alike,"
        f" {figures['sample_both_unreadable']} unreadable to both,"
        f" {figures['sample_readable_refused']} of {figures['sample_readable']} readable ones refused:",
        *(f"  line {line}: {whys[line]}" for line in refused),
        f"the two readers agree on {figures['sample_readers_agree']} of {figures['sample']};"
        f" wrong to the second: {figures['sample_wrong_to_second_reader']}",
        f"{figures['mutations']} mutations: {figures['mutation_crashes']} crashes,"
        f" {figures['mutation_other_grade']} other grades;"
        f" {figures['mutation_read_where_whole_is_refused']} read where the whole reply is refused",
    )


def _counted(counts: object) -> Iterator[tuple[str, int]]:
    if isinstance(counts, dict):
        yield from counts.items()


def _read_all(replies: Sequence[Reply]) -> tuple[dict[int, tuple[int | None, str | None]], list[int]]:
    """Line → (grade, problem), and the lines at which the parser raised."""
    readings: dict[int, tuple[int | None, str | None]] = {}
    crashes = []
    for reply in replies:
        try:
            parsed = parse_reply(reply.text, scale=SCALE)
        except Exception:
            crashes.append(reply.line)
            readings[reply.line] = (None, "the parser raised")
        else:
            readings[reply.line] = (parsed.grade, parsed.problem)
    return readings, crashes


def _grade_of_json(text: str) -> int | None:
    """The grade as the standard library reads it, where the reply is one object of grade and explanation."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return int(value["relevance"]) if isinstance(value, dict) and set(value) == {"explanation", "relevance"} else None


def _compare(
    checked: Sequence[CheckedReply], readings: dict[int, tuple[int | None, str | None]]
) -> tuple[list[int], list[int], int, int]:
    """Lines read wrongly, lines refused though readable, number read alike, number unreadable to both."""
    wrong, refused, same, both_none = [], [], 0, 0
    for one in checked:
        grade = readings[one.reply.line][0]
        if grade is not None and grade != one.grade:
            wrong.append(one.reply.line)
        elif grade is not None:
            same += 1
        elif one.grade is not None:
            refused.append(one.reply.line)
        else:
            both_none += 1
    return wrong, refused, same, both_none


def _fuzz(checked: Sequence[CheckedReply], *, cut_only: int | None) -> _Fuzz:
    rng = random.Random(SEED)
    fuzz = _Fuzz()
    cut = checked if cut_only is None else rng.sample(list(checked), cut_only)
    for one in cut:
        text = one.reply.text
        for end in range(len(text)):
            _try(fuzz, one, text[:end])
            _try(fuzz, one, text[:end], finish_reason="length", allowed=frozenset())
    for one in checked:
        text = one.reply.text
        for _ in range(STREWN_PER_REPLY):
            at = rng.randrange(len(text) + 1)
            _try(fuzz, one, text[:at] + rng.choice(STREWN) * rng.randint(1, 3) + text[at:])
        for other in rng.sample(list(checked), 5):
            if one.grade is not None and other.grade is not None and one.grade != other.grade:
                _try(fuzz, one, f"{text}\n{other.reply.text}", allowed=frozenset())
        # The whole megabyte once in ten: reading it is refused by its length, before any pattern runs.
        if one.reply.line % 10 == 0:
            for flood in FLOODS:
                _try(fuzz, one, f"{text}{flood * (FLOOD // len(flood))}.")
            _try(fuzz, one, text + " " * MEGABYTE, allowed=frozenset())
            _try(fuzz, one, (text + "\n") * (MEGABYTE // (len(text) + 1) + 1), allowed=frozenset())
    return fuzz


def _try(
    fuzz: _Fuzz,
    one: CheckedReply,
    mutated: str,
    *,
    finish_reason: str | None = None,
    allowed: frozenset[int] | None = None,
) -> None:
    """Reads one mutation; grades allowed are that of the whole reply, unless said otherwise."""
    fuzz.tried += 1
    try:
        grade = parse_reply(mutated, scale=SCALE, finish_reason=finish_reason).grade
    except Exception:
        fuzz.crashes.append(one.reply.line)
        return
    if grade is None:
        return
    if allowed is not None:
        fuzz.other_grade.extend([] if grade in allowed else [one.reply.line])
    elif one.grade is None:
        # Half of a reply may look whole (one of three final scores); only the server's finish_reason tells.
        fuzz.read_where_refused += 1
    elif grade != one.grade:
        fuzz.other_grade.append(one.reply.line)
