"""What the Adjudicate screen shows: cases, what was said of them without names, and what was decided with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.services.views import PairView
from db.queries.disputes import CaseRow

__all__ = ["Act", "Case", "CasePage", "CaseRow", "Settled", "Voice"]

Act = Literal["graded", "flagged", "adjudicated"]


@dataclass(frozen=True, slots=True)
class Voice:
    """What one person said of a pair. `who`: "Reviewer A" until it is decided, then the name.

    `grade` is None of a flag. `how`: whether the proposal was seen, in words; empty until it is decided.
    """

    who: str
    act: Act
    grade: int | None
    note: str
    how: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A pair to be decided by one adjudicator; `card` is the id that a key press must carry to count.

    `pair` holds nothing that a judge proposed. `own`: why the adjudicator may decide on their own grade, or empty.
    """

    card: str
    pair: PairView
    voices: tuple[Voice, ...]
    disputed: bool
    flagged: bool
    own: str


@dataclass(frozen=True, slots=True)
class CasePage:
    """A page of what waits, by query, the longest waiting first; the counts are of all that waits."""

    rows: tuple[CaseRow, ...]
    offset: int
    total: int
    disputed: int
    flagged: int
    queries: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What an adjudicator last decided, with the names and the proposal that were hidden until then.

    `grade` is None where the pair was sent back instead. `pair` shows what was proposed only where that may be read.
    """

    pair: PairView
    grade: int | None
    note: str
    at: datetime
    voices: tuple[Voice, ...]
