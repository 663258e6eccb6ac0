"""What is in the invented workspace of the review desk's benches: texts, proposals, decisions, reviews as plain rows.

The same for the same seed. Of each question's 50 candidates, 10 wait for people. Nothing here knows a database.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from annotator.routing import BareThreshold, Outcome
from annotator.types import ConfidenceKind, Proposal, Scale, SuggestionStatus, Usage
from db.enums import Split

PER_QUERY = 50
WAITING = 10
"""Candidates of a question that wait in the audit queue: rejected ones of train questions, of others the ungraded."""
PASSAGES_A_QUERY = 10
"""Passages for each question, so that a passage is in five pools on average."""
PEOPLE = tuple(f"Person {number:02}" for number in range(1, 13))
SYSTEMS = ("bm25", "dense:bench")
FLAG_NOTE = "The passage breaks off in the middle; is there a better copy?"
CALIBRATE_EVERY = 50
HELD_OUT_EVERY = 50
_SYLLABLES = (
    "ba",
    "den",
    "fi",
    "gor",
    "hal",
    "is",
    "ka",
    "lum",
    "mer",
    "no",
    "pra",
    "rin",
    "sol",
    "ta",
    "ul",
    "ver",
    "yo",
)
_N_WORDS = 20_000
_PASSAGE_WORDS = 40


@dataclass(frozen=True, slots=True)
class DrawnReview:
    """One review: its pair, a place in `PEOPLE`, and a grade, or None for a flag."""

    pair: int
    person: int
    grade: int | None
    blind: bool


@dataclass(slots=True)
class DrawnPool:
    """The candidates of one question; `pairs` counts them from 1 over the whole workspace, at each rank from 1.

    `proposals` is empty for a held-out question and `decisions` for all but train ones; else both are as long as
    `pairs`.
    """

    query: int
    split: Split
    passages: Sequence[int]
    pairs: Sequence[int]
    proposals: list[Proposal] = field(default_factory=list)
    decisions: list[tuple[Outcome, str]] = field(default_factory=list)
    reviews: list[DrawnReview] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of everything; `n_suggestions` is a multiple of 50."""

    n_suggestions: int

    def __post_init__(self) -> None:
        if self.n_suggestions < PER_QUERY or self.n_suggestions % PER_QUERY:
            raise ValueError(f"{self.n_suggestions} suggestions are no multiple of {PER_QUERY}")

    @property
    def n_queries(self) -> int:
        judged = self.n_suggestions // PER_QUERY
        return judged + max(1, judged // HELD_OUT_EVERY)

    @property
    def n_passages(self) -> int:
        return max(self.n_queries * PASSAGES_A_QUERY, PER_QUERY)

    @property
    def n_pairs(self) -> int:
        return self.n_queries * PER_QUERY

    @property
    def n_waiting(self) -> int:
        return self.n_queries * WAITING

    def split_of(self, query: int) -> Split:
        """Of the question of that place: the last ones are held out, every 50th of the others calibrates."""
        if query >= self.n_suggestions // PER_QUERY:
            return Split.HELD_OUT
        return Split.CALIBRATE if query % CALIBRATE_EVERY == CALIBRATE_EVERY - 1 else Split.TRAIN


class Words:
    """Invented words, few of them frequent and most rare, as in a language; the n-th is there 1/n as often."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        found: dict[str, None] = {}
        while len(found) < _N_WORDS:
            found["".join(draw.choices(_SYLLABLES, k=draw.randint(2, 4)))] = None
        self.words = list(found)
        self._weights = list(accumulate(1.0 / (place + 10) for place in range(_N_WORDS)))
        self._draw = draw

    def text(self, n: int) -> str:
        """So many words, separated by spaces."""
        return " ".join(self._draw.choices(self.words, cum_weights=self._weights, k=n))


def passages(size: Size, words: Words) -> Iterator[tuple[str, str, str]]:
    """Id, title of four words and text of forty, of every passage."""
    for number in range(size.n_passages):
        yield f"p{number}", words.text(4), words.text(_PASSAGE_WORDS)


def queries(size: Size, words: Words) -> Iterator[tuple[str, str, Split]]:
    """Id, text and split of every question; no two are near-duplicates, for each has a word of its own."""
    for number in range(size.n_queries):
        yield f"q{number}", f"{words.text(7)} {_own_word(number)}", size.split_of(number)


def _own_word(number: int) -> str:
    letters = "bcdfghjklm"
    return "o".join(letters[int(digit)] for digit in f"{number:07}") + "o"


def pools(size: Size, words: Words, *, scale: Scale, policy: BareThreshold, seed: int) -> Iterator[DrawnPool]:
    """The candidates of every question with what a judge proposed, the policy decided and people said, in order."""
    draw = random.Random(seed)
    for query in range(size.n_queries):
        pairs = range(query * PER_QUERY + 1, (query + 1) * PER_QUERY + 1)
        pool = DrawnPool(query, size.split_of(query), draw.sample(range(size.n_passages), PER_QUERY), pairs)
        places = draw.sample(range(PER_QUERY), PER_QUERY)
        waiting, others = set(places[:WAITING]), places[WAITING:]
        if pool.split is not Split.HELD_OUT:
            rejected = waiting | {others[0]} if pool.split is Split.TRAIN else waiting
            for place, pair in enumerate(pairs):
                pool.proposals.append(_proposal(draw, words, pair=pair, rank=place + 1, sure=place not in rejected))
        if pool.split is Split.TRAIN:
            decided = (policy.decide(proposal, scale) for proposal in pool.proposals)
            pool.decisions = [(decision.outcome, decision.why) for decision in decided]
            pool.reviews = list(_audits(draw, pool, audited=others[0], overturned=others[1], flagged=min(waiting)))
        else:
            pool.reviews = [_review(draw, pairs[place], blind=True) for place in others]
        yield pool


def _proposal(draw: random.Random, words: Words, *, pair: int, rank: int, sure: bool) -> Proposal:
    if not sure and draw.random() < 0.03:
        return Proposal(
            pair_id=pair,
            status=SuggestionStatus.UNREADABLE,
            grade=None,
            grade_distribution=None,
            confidence=None,
            confidence_kind=None,
            evidence=None,
            evidence_dropped=False,
            reason="",
            raw_reply="I would rather talk about something else.",
            usage=Usage(300, 12),
        )
    grade = draw.choices((0, 1, 2, 3), weights=(20 + rank, 20, 90 / (rank + 4), 60 / (rank + 4)))[0]
    confidence = round(0.9 + 0.0999 * draw.random() if sure else 0.35 + 0.5499 * draw.random(), 4)
    rest = round((1 - confidence) / 3, 5)
    reason = words.text(9)
    return Proposal(
        pair_id=pair,
        status=SuggestionStatus.OK,
        grade=grade,
        grade_distribution=tuple(round(1 - 3 * rest, 5) if at == grade else rest for at in range(4)),
        confidence=confidence,
        confidence_kind=ConfidenceKind.TOKEN,
        evidence=None,
        evidence_dropped=False,
        reason=reason,
        raw_reply=f'{{"grade": {grade}, "reason": "{reason}"}}',
        usage=Usage(300, 24),
    )


def _audits(
    draw: random.Random, pool: DrawnPool, *, audited: int, overturned: int, flagged: int
) -> Iterator[DrawnReview]:
    """Of a train question: one rejected pair graded, by two people now and then, one accepted pair overturned now and
    then, one waiting pair flagged rarely.
    """
    first = _review(draw, pool.pairs[audited], blind=False)
    yield first
    if draw.random() < 0.05:
        other = (first.person + draw.randint(1, len(PEOPLE) - 1)) % len(PEOPLE)
        yield DrawnReview(first.pair, other, draw.randint(0, 3), blind=False)
    if draw.random() < 0.1:
        yield _review(draw, pool.pairs[overturned], blind=False)
    if draw.random() < 0.01:
        yield DrawnReview(pool.pairs[flagged], draw.randrange(len(PEOPLE)), None, blind=False)


def _review(draw: random.Random, pair: int, *, blind: bool) -> DrawnReview:
    return DrawnReview(pair, draw.randrange(len(PEOPLE)), draw.choices((0, 1, 2, 3), weights=(5, 3, 2, 2))[0], blind)
