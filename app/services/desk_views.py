"""What the review desk hands to screens beside the card itself: frozen values with no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.services.views import Card

ReviewWord = Literal["graded", "adjudicated", "kept", "revised", "skipped", "flagged"]

SideState = Literal["open", "yours", "done", "elsewhere"]
"""Of a candidate beside the card: to be graded; graded by this person; graded by as many as are wanted; not to be
graded by this person now (somebody else has it open, it is flagged, or it is judged blind and was seen)."""


@dataclass(frozen=True, slots=True)
class CardReview:
    """What somebody said of the pair before; `kept` and `revised` follow a blind grade whose proposal was shown."""

    person: str
    grade: int | None
    what: ReviewWord
    blind: bool
    note: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Revealed:
    """The blind grade is stored; the same pair's card now shows what was proposed, to be kept or revised."""

    card: Card


@dataclass(frozen=True, slots=True)
class SidePair:
    """Another candidate of the card's question; `current` is the card's own pair.

    `own_grade` is this person's, `curated_grade` the one that holds, `proposed_grade` and `confidence` a judge's: each
    None where there is none, or where it must not be seen before the pair is graded blind.
    """

    pair_id: int
    passage_id: str
    title: str
    start: str  # of the passage's text
    own_grade: int | None
    curated_grade: int | None
    proposed_grade: int | None
    confidence: float | None
    state: SideState
    current: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A pair that was not graded in bulk, and why, in words for the person."""

    pair_id: int
    why: str


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What came of grading many pairs at once."""

    graded: tuple[int, ...]
    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class NeighbourView:
    """A passage that stands next to another one in the same document."""

    passage_id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class NeighboursView:
    """The passages before and after; None where the document begins or ends, or where nothing tells of one."""

    before: NeighbourView | None
    after: NeighbourView | None
