"""Blind grades of people and judges' grades laid out as arrays, and the figures of each two raters and each period.

Raters are ids here. What they are called, and who may see them, is decided in `agreement_views`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from app.services.agreement_figures import AgreementFigure, Floats, Ints, alpha_figure, kappa_figure

Bools = NDArray[np.bool_]

MOST_ROWS = 60
"""No more pairs of raters than these, those with most in common, are measured for one table. Our choice."""

WEEKS_UP_TO = 70
"""Days between the first and the last blind grade up to which agreement is told by week; by month after that."""

MOST_PERIODS = 24
_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Grades:
    """First blind grades in the order of the pairs and, within a pair, of the people; (n,) int64 each.

    place, question: which of the pairs and questions, numbered from 0. at: seconds since 1970. pair_question: of each
    pair, (n_pairs,). judged: by judge, its grade of each pair, (n_pairs,), -1 where it gave none or where people's
    grades test retrievers. max_grade: K.
    """

    place: Ints
    person: Ints
    question: Ints
    grade: Ints
    at: Ints
    pair_question: Ints
    judged: Mapping[int, Ints]
    max_grade: int

    def only(self, chosen: Bools) -> Grades:
        """The chosen grades; the pairs stay as they are."""
        return Grades(
            self.place[chosen],
            self.person[chosen],
            self.question[chosen],
            self.grade[chosen],
            self.at[chosen],
            self.pair_question,
            self.judged,
            self.max_grade,
        )


def lay_out(graded: Sequence[Sequence[int]], proposed: Sequence[Sequence[int]], *, max_grade: int) -> Grades:
    """The rows of `list_first_blind_grades` and `list_judge_grades` as arrays.

    Grades off the scale, as of an older and longer one, are left out: no figure is defined for them.
    """
    table = _table(graded, width=6)
    table = table[(table[:, 3] >= 0) & (table[:, 3] <= max_grade)]
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    pairs, first, place = np.unique(table[:, 0], return_index=True, return_inverse=True)
    _, question = np.unique(table[:, 2], return_inverse=True)
    said = _table(proposed, width=3)
    said = said[(said[:, 2] >= 0) & (said[:, 2] <= max_grade) & np.isin(said[:, 1], pairs)]
    held_out = table[first, 4] == 1
    judged = {}
    for judge in np.unique(said[:, 0]).tolist():
        of_judge = said[said[:, 0] == judge]
        answers = np.full(len(pairs), -1, dtype=np.int64)
        answers[np.searchsorted(pairs, of_judge[:, 1])] = of_judge[:, 2]  # as they were said, so the latest stays
        answers[held_out] = -1
        if (answers >= 0).any():
            judged[int(judge)] = answers
    return Grades(
        place.astype(np.int64),
        table[:, 1],
        question.astype(np.int64),
        table[:, 3],
        table[:, 5],
        question[first].astype(np.int64),
        judged,
        max_grade,
    )


def counts_of(grades: Grades) -> Floats:
    """How many people gave each grade to each pair, (n_pairs, K + 1) float64."""
    size, n = grades.max_grade + 1, len(grades.pair_question)
    return np.bincount(grades.place * size + grades.grade, minlength=n * size).reshape(n, size).astype(np.float64)


def against_people(grades: Grades, judge: int, *, weights: Floats) -> AgreementFigure:
    """κ of a judge and people: each blind grade beside the judge's of that pair."""
    said = grades.judged[judge][grades.place]
    used = said >= 0
    return kappa_figure(
        grades.grade[used], said[used], grades.question[used], max_grade=grades.max_grade, weights=weights
    )


def alpha_with(grades: Grades, counts: Floats, judge: int, *, weights: Floats) -> AgreementFigure:
    """α of people and the judge together on the pairs that the judge graded; elsewhere it would be people's alone."""
    answers = grades.judged[judge]
    asked = np.flatnonzero(answers >= 0)
    both = counts[asked]
    both[np.arange(len(asked)), answers[asked]] += 1.0
    return alpha_figure(both, grades.pair_question[asked], weights=weights)


def between_people(
    grades: Grades, *, only: int | None, weights: Floats
) -> tuple[list[tuple[int, int, AgreementFigure]], int]:
    """Each two people with κ on the pairs that both graded, most pairs first, and how many more there are.

    only: those that this person is one of.
    """
    left, right = _meetings(grades.place)
    first, second = grades.person[left], grades.person[right]
    if only is not None:
        mine = (first == only) | (second == only)
        left, right, first, second = left[mine], right[mine], first[mine], second[mine]
    both, which, often = np.unique(np.stack([first, second], axis=1), axis=0, return_inverse=True, return_counts=True)
    order = np.lexsort((both[:, 1], both[:, 0], -often))
    found = []
    for number in order[:MOST_ROWS].tolist():
        there = which.reshape(-1) == number
        figure = kappa_figure(
            grades.grade[left[there]],
            grades.grade[right[there]],
            grades.question[left[there]],
            max_grade=grades.max_grade,
            weights=weights,
        )
        found.append((int(both[number, 0]), int(both[number, 1]), figure))
    return found, max(0, len(order) - MOST_ROWS)


def beside_judges(
    grades: Grades, *, only: int | None, weights: Floats
) -> tuple[list[tuple[int, int, AgreementFigure]], int]:
    """Each person and judge with κ on the pairs that both graded, most pairs first, and how many more there are."""
    often = []
    for judge, answers in grades.judged.items():
        people, counts = np.unique(grades.person[answers[grades.place] >= 0], return_counts=True)
        often += [(-n, person, judge) for person, n in zip(people.tolist(), counts.tolist(), strict=True)]
    often = sorted(one for one in often if only in (None, one[1]))
    found = [
        (person, judge, against_people(grades.only(grades.person == person), judge, weights=weights))
        for _, person, judge in often[:MOST_ROWS]
    ]
    return found, max(0, len(often) - MOST_ROWS)


@dataclass(frozen=True, slots=True)
class Period:
    """A week or a month from its first moment on: α of people, and κ of each judge against them."""

    start: datetime
    alpha: AgreementFigure
    judges: Mapping[int, AgreementFigure]


def by_period(grades: Grades, counts: Floats, *, weights: Floats) -> tuple[str, list[Period]]:
    """ "week" or "month", and the last periods in which anybody graded, oldest first.

    For α a pair counts where the last of its people graded it, so that no agreement is told before it was reached.
    """
    if not len(grades.place):
        return "month", []
    begin, end = int(grades.at.min()), int(grades.at.max())
    name = "week" if end - begin <= WEEKS_UP_TO * _DAY else "month"
    starts = _weeks(begin, end) if name == "week" else _months(begin, end)
    edges = np.array([int(start.timestamp()) for start in starts], dtype=np.int64)
    last = np.zeros(len(grades.pair_question), dtype=np.int64)
    np.maximum.at(last, grades.place, grades.at)
    of_grade, of_pair = (np.searchsorted(edges, at, side="right") - 1 for at in (grades.at, last))
    found = []
    for number in np.unique(of_grade)[-MOST_PERIODS:].tolist():
        there, pairs = grades.only(of_grade == number), of_pair == number
        found.append(
            Period(
                starts[number],
                alpha_figure(counts[pairs], grades.pair_question[pairs], weights=weights),
                {judge: against_people(there, judge, weights=weights) for judge in grades.judged},
            )
        )
    return name, found


def _table(rows: Sequence[Sequence[int]], *, width: int) -> Ints:
    """Rows of whole numbers as an array, (n, width) int64."""
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(rows) * width)
    return flat.reshape(-1, width)


def _meetings(place: Ints) -> tuple[Ints, Ints]:
    """Positions of each two grades of one pair, the one of the person of the smaller id first."""
    left, right = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    apart = 1
    while apart < len(place):
        same = np.flatnonzero(place[apart:] == place[:-apart])
        if not len(same):
            break
        left.append(same)
        right.append(same + apart)
        apart += 1
    return np.concatenate(left), np.concatenate(right)


def _weeks(begin: int, end: int) -> list[datetime]:
    """The Mondays, at midnight UTC, from that before `begin` to `end`."""
    day = _EPOCH + timedelta(days=begin // _DAY)
    monday = day - timedelta(days=day.weekday())
    n = int((_EPOCH + timedelta(seconds=end) - monday).days) // 7 + 1
    return [monday + timedelta(weeks=week) for week in range(n)]


def _months(begin: int, end: int) -> list[datetime]:
    """The first days of months, at midnight UTC, from that before `begin` to `end`."""
    first, last = (_EPOCH + timedelta(seconds=at) for at in (begin, end))
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months]
