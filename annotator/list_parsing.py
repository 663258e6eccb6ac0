"""Reads replies about several passages at once. What is missing, doubled or unknown is unreadable, never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from annotator.confidence import verbal_confidence
from annotator.reply_json import Pairs, ReplyUnreadable, read_object, whole_number
from annotator.types import Scale


@dataclass(frozen=True, slots=True)
class ListedGrade:
    """What a reply says of one passage.

    `grade_at` is the offset in the reply of the digit that states the grade, or None where prose or thinking came first
    or the place is not plain.
    """

    grade: int
    confidence: float | None
    grade_at: int | None


@dataclass(frozen=True, slots=True)
class ListedGrades:
    """By place from 0: the grades that could be read, and for every other place why not."""

    grades: Mapping[int, ListedGrade]
    problems: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which places a reply selects, with the confidence stated for each where there is one.

    `unreadable` are the places of which the reply leaves open whether they are selected, and why.
    """

    selected: Mapping[int, float | None]
    unreadable: Mapping[int, str]
    rest: float | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Places in the order stated, most useful first, and the places that the reply leaves out."""

    order: tuple[int, ...]
    missing: tuple[int, ...]


def parse_grades(text: str, *, labels: Sequence[str], scale: Scale, finish_reason: str | None = None) -> ListedGrades:
    """The grades of a list-wise reply. Never raises: a reply that says nothing clear leaves every place unreadable.

    A passage that the reply leaves out, names twice, or grades off the scale is unreadable; the others stay, for each
    stands under a label of its own.
    """
    try:
        reply = read_object(text, key="grades", finish_reason=finish_reason)
        entries = _list(reply.pairs.the("grades"))
    except ReplyUnreadable as why:
        return ListedGrades({}, dict.fromkeys(range(len(labels)), str(why)))
    by_place: dict[int, list[Pairs]] = {}
    for entry in entries:
        place = _place_of(entry, labels)
        if place is not None and isinstance(entry, Pairs):
            by_place.setdefault(place, []).append(entry)
    grades: dict[int, ListedGrade] = {}
    problems: dict[int, str] = {}
    for place, label in enumerate(labels):
        stated = by_place.get(place, [])
        if len(stated) != 1:
            problems[place] = "the reply leaves this passage out" if not stated else "the reply grades it twice"
            continue
        try:
            grade = whole_number(stated[0].the("grade"), low=0, high=scale.max_grade)
        except ReplyUnreadable as why:
            problems[place] = str(why)
            continue
        grades[place] = ListedGrade(
            grade=grade,
            confidence=_stated(stated[0], "confidence"),
            grade_at=_grade_at(text, label=label, start=reply.start) if reply.leads else None,
        )
    return ListedGrades(grades, problems)


def parse_selection(text: str, *, labels: Sequence[str], finish_reason: str | None = None) -> Selection:
    """The passages that a reply selects, each a label or an entry with `id` and `confidence`.

    An unknown label may stand for any passage that is not selected by its own: those are then unreadable, the selected
    ones stay. A label named twice is selected all the same, with a confidence only if the two agree.

    Raises:
        ReplyUnreadable: there is no selection to be read.
    """
    reply = read_object(text, key="selected", finish_reason=finish_reason)
    selected: dict[int, float | None] = {}
    unknown = 0
    for entry in _list(reply.pairs.the("selected")):
        place = _place_of(entry, labels)
        if place is None:
            unknown += 1
            continue
        confidence = _stated(entry, "confidence") if isinstance(entry, Pairs) else None
        selected[place] = confidence if selected.get(place, confidence) == confidence else None
    why = f"the reply selects {unknown} passages that do not exist"
    unreadable = {place: why for place in range(len(labels)) if place not in selected} if unknown else {}
    return Selection(selected, unreadable, _stated(reply.pairs, "rest"))


def parse_ranking(text: str, *, labels: Sequence[str], finish_reason: str | None = None) -> Ranking:
    """The passages in the order that a reply states.

    Raises:
        ReplyUnreadable: there is no ranking, or a label in it is unknown or stands twice, so that places are in doubt.
    """
    reply = read_object(text, key="ranking", finish_reason=finish_reason)
    order: list[int] = []
    for entry in _list(reply.pairs.the("ranking")):
        place = _place_of(entry, labels)
        if place is None:
            raise ReplyUnreadable("the reply ranks a passage that does not exist")
        if place in order:
            raise ReplyUnreadable("the reply ranks a passage twice")
        order.append(place)
    return Ranking(tuple(order), tuple(place for place in range(len(labels)) if place not in order))


def _list(value: object) -> list[object]:
    if isinstance(value, Pairs) or not isinstance(value, list):
        raise ReplyUnreadable("the reply holds no list where one was asked for")
    return value


def _place_of(entry: object, labels: Sequence[str]) -> int | None:
    """The place of the passage that an entry names by its exact label, or None."""
    try:
        named = entry.the("id") if isinstance(entry, Pairs) else entry
    except ReplyUnreadable:
        return None
    if not isinstance(named, str):
        return None
    label = named.strip().removeprefix("[").removesuffix("]").casefold()
    return next((place for place, known in enumerate(labels) if known == label), None)


def _stated(pairs: Pairs, key: str) -> float | None:
    try:
        return verbal_confidence(pairs.the(key))
    except ReplyUnreadable:
        return None


def _grade_at(text: str, *, label: str, start: int) -> int | None:
    """Offset of the digit that directly follows the label's key for the grade; None unless there is exactly one."""
    pattern = re.compile(rf"\"id\"\s*:\s*\"\[?{re.escape(label)}\]?\"\s*,\s*\"grade\"\s*:\s*\"?(?=\d)", re.I)
    found = [match.end() for match in pattern.finditer(text, start)]
    return found[0] if len(found) == 1 else None
