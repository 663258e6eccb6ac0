"""What people were told at the desk, held against what is stored: nothing twice, nothing lost, nothing wrong derived.

Each person's lines are those of `desk_reviewer.Log`. A pair counts as open at a person from the moment that they were
served it until they ask for the next thing, which is less than the server holds it for them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace, open_workspace
from db.enums import ReviewAction
from db.models import PairState, Person, QueueEntry, Review
from db.queries.standing import GRADING
from db.queries.states import refresh_states

Line = Mapping[str, Any]
CROWD = "Reviewer "
"""What the names of those who were let loose begin with; others reviewed before."""


@dataclass(frozen=True, slots=True)
class Account:
    """What came of a crowd at one desk; `seconds` from the first card served to the last answer returned.

    duplicates: above_quota (pairs that more people graded at one time than were wanted) and open_twice (moments when
    more people had a pair open than were wanted). lost: answers that returned and are not stored as given. errors:
    lines of the log that a person would have seen as a failure, people who came to no end, answers stored that nobody
    gave, and states or places in the queue that contradict the reviews.
    """

    reviews: int
    grades_returned: int
    kills: int
    seconds: float
    above_quota: int
    open_twice: int
    lost: int
    shown_errors: int
    unfinished: int
    unasked: int
    contradicted: int
    problems: tuple[str, ...]

    @property
    def duplicates(self) -> int:
        return self.above_quota + self.open_twice

    @property
    def errors(self) -> int:
        return self.shown_errors + self.unfinished + self.unasked + self.contradicted

    @property
    def holds(self) -> bool:
        return self.duplicates == self.lost == self.errors == 0

    @property
    def reviews_a_second(self) -> float:
        return self.reviews / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A review as it is stored, `undoes` by the id of another one."""

    id: int
    pair: int
    person: str
    action: ReviewAction
    grade: int | None
    card: str | None
    undoes: int | None
    hidden_check: bool


def account_of(folder: Path, people: Sequence[Sequence[Line]], *, kills: int) -> Account:
    """What the crowd's logs say, held against the workspace in that directory; `people` are by number."""
    workspace = open_workspace(folder)
    try:
        with workspace.sessions.read() as session:
            everybody = _stored(session)
            wanted = _wanted(session)
            crowd = [review for review in everybody if review.person.startswith(CROWD)]
            contradicted = _contradicted(workspace, session, {review.pair for review in crowd})
    finally:
        workspace.close()
    hidden = {review.card for review in crowd if review.hidden_check}
    above = above_quota(everybody, wanted, watched={review.pair for review in crowd})
    twice = open_twice(people, wanted, hidden=hidden)
    lost = lost_answers(people, crowd)
    unasked = stored_unasked(people, crowd)
    lines = [line for person in people for line in person]
    shown = [f"{line['what']}: {line.get('shown') or line['why']}" for line in lines if line["what"] in _SHOWN]
    unfinished = [f"Reviewer {n:02} came to no end" for n, person in enumerate(people) if not _ended(person)]
    moments = [line["at"] for line in lines if line["what"] in ("served", "done")]
    return Account(
        reviews=len(crowd),
        grades_returned=sum(line["what"] == "done" and line["grade"] is not None for line in lines),
        kills=kills,
        seconds=max(moments, default=0.0) - min(moments, default=0.0),
        above_quota=len(above),
        open_twice=len(twice),
        lost=len(lost),
        shown_errors=len(shown),
        unfinished=len(unfinished),
        unasked=len(unasked),
        contradicted=len(contradicted),
        problems=(*above, *twice, *lost, *unasked, *contradicted, *unfinished, *shown),
    )


_SHOWN = ("error", "refused")


def _ended(person: Sequence[Line]) -> bool:
    return bool(person) and person[-1]["what"] == "ended" and person[-1]["left"] <= 0


def above_quota(reviews: Iterable[Stored], wanted: Mapping[int, int], *, watched: set[int]) -> list[str]:
    """The watched pairs that at any time were graded by more people than wanted, in order of the reviews.

    Hidden checks ask about graded pairs on purpose and are left out; a pair that is in no queue wants one person.
    """
    grading: dict[int, Stored] = {}
    standing: defaultdict[int, Counter[str]] = defaultdict(Counter)
    found: dict[int, str] = {}
    for review in reviews:
        if review.hidden_check or review.pair not in watched:
            continue
        if review.action in GRADING:
            grading[review.id] = review
            standing[review.pair][review.person] += 1
        elif review.undoes in grading:
            taken = grading.pop(review.undoes)
            standing[taken.pair][taken.person] -= 1
        people = sorted(person for person, n in standing[review.pair].items() if n > 0)
        if len(people) > wanted.get(review.pair, 1):
            found[review.pair] = f"pair {review.pair} wants {wanted.get(review.pair, 1)}, graded by {', '.join(people)}"
    return list(found.values())


def open_twice(people: Sequence[Sequence[Line]], wanted: Mapping[int, int], *, hidden: set[str | None]) -> list[str]:
    """The moments at which a pair came to be open at more people than it wants."""
    events: list[tuple[float, int, int]] = []
    for person in people:
        for begun, ended, pair, card in held(person):
            if card not in hidden:
                events += [(begun, 1, pair), (ended, -1, pair)]
    at_once: Counter[int] = Counter()
    found = []
    for at, change, pair in sorted(events, key=lambda event: (event[0], event[1])):
        at_once[pair] += change
        if change > 0 and at_once[pair] > wanted.get(pair, 1):
            found.append(f"pair {pair} wants {wanted.get(pair, 1)}, open at {at_once[pair]} at {at:.3f}")
    return found


def held(person: Sequence[Line]) -> list[tuple[float, float, int, str]]:
    """(from, until, pair, card) of each card that was served to this person to be graded.

    Whatever the person's next line is, from then on they ask for nothing on that card that needs it to be theirs
    alone. A card that is served again to the same person, as after a kill, is held in pieces.
    """
    found = []
    for line, following in pairwise((*person, *person[-1:])):
        if line["what"] == "served" and line["phase"] == "grade":
            found.append((line["at"], following["at"], int(line["pair"]), str(line["card"])))
    return found


def lost_answers(people: Sequence[Sequence[Line]], stored: Sequence[Stored]) -> list[str]:
    """Answers that returned and are not stored exactly once as they were given."""
    by_card: defaultdict[str | None, list[Stored]] = defaultdict(list)
    for review in stored:
        by_card[review.card].append(review)
    undone = Counter(review.person for review in stored if review.action is ReviewAction.UNDO)
    found = []
    for number, person in enumerate(people):
        name = f"{CROWD}{number:02}"
        for line in person:
            if line["what"] != "done" or line["action"] == "undo":
                continue
            action = ReviewAction.GRADE if line["grade"] is not None else ReviewAction(line["action"])
            given = [(name, line["pair"], action, line["grade"])]
            there = [(one.person, one.pair, one.action, one.grade) for one in by_card[line["card"]]]
            if there != given:
                found.append(f"{given} was given on card {line['card']}, stored is {there}")
        returned = sum(line["what"] == "done" and line["action"] == "undo" and line["undone"] for line in person)
        if undone[name] < returned:
            found += [f"{name} took back {returned} reviews, stored are {undone[name]}"] * (returned - undone[name])
    return found


def stored_unasked(people: Sequence[Sequence[Line]], stored: Sequence[Stored]) -> list[str]:
    """Reviews that nobody asked for, and more undos than were asked for."""
    asked = {line["card"] for person in people for line in person if line["what"] == "asked"}
    found = [
        f"{review.person} never answered card {review.card}"
        for review in stored
        if review.action is not ReviewAction.UNDO and review.card not in asked
    ]
    undone = Counter(review.person for review in stored if review.action is ReviewAction.UNDO)
    for number, person in enumerate(people):
        n = sum(line["what"] == "asked" and line["action"] == "undo" for line in person)
        name = f"{CROWD}{number:02}"
        found += [f"{name} asked for {n} undos, stored are {undone[name]}"] * max(0, undone[name] - n)
    return found


def _stored(session: Session) -> list[Stored]:
    rows = session.execute(
        sa.select(
            Review.id,
            Review.pair_id,
            Person.name,
            Review.action,
            Review.grade,
            Review.card,
            Review.undoes_id,
            Review.hidden_check,
        )
        .join(Person, Person.id == Review.person_id)
        .where(Review.criterion == Criterion.RELEVANCE)
        .order_by(Review.id)
    )
    return [Stored(*row) for row in rows]


def _wanted(session: Session) -> dict[int, int]:
    rows = session.execute(
        sa.select(QueueEntry.pair_id, sa.func.max(QueueEntry.wanted))
        .where(QueueEntry.criterion == Criterion.RELEVANCE)
        .group_by(QueueEntry.pair_id)
    )
    return {pair_id: wanted for pair_id, wanted in rows}


def _contradicted(workspace: Workspace, session: Session, pair_ids: set[int]) -> list[str]:
    """States and places in the queue that change when the product computes them anew; the session is rolled back."""
    columns = [column for column in PairState.__table__.columns if column.name != "updated_at"]
    states = sa.select(*columns).where(PairState.review_id.is_not(None) | PairState.flagged).order_by(PairState.pair_id)
    places = sa.select(QueueEntry.pair_id, QueueEntry.version, QueueEntry.open, QueueEntry.wanted).order_by(
        QueueEntry.version, QueueEntry.pair_id
    )
    before = [tuple(row) for statement in (states, places) for row in session.execute(statement)]
    refresh_states(session, pair_ids=pair_ids, criterion=Criterion.RELEVANCE, now=workspace.now())
    after = [tuple(row) for statement in (states, places) for row in session.execute(statement)]
    return [f"{one} is stored, but follows from no review" for one in sorted(set(before) - set(after), key=repr)] + [
        f"{one} follows from the reviews, but is not stored" for one in sorted(set(after) - set(before), key=repr)
    ]
