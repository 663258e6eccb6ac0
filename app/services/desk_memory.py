"""What a process remembers from card to card, so that a card costs after a year's work what it cost on the first day.

Nothing here decides who may have what. Were it all forgotten, cards would be found as before, only more slowly; what is
remembered too long makes a number some seconds old, or a pair that came back wait until the rest is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from weakref import WeakKeyDictionary

from app.bootstrap import Workspace
from db.queries.queue_search import Match
from db.session import Sessions

MOST = 10_000
"""Things remembered of one kind; then all of them are forgotten."""


@dataclass(slots=True)
class Done:
    """One person's standing work as counted up to a review: how much of it, and of the day that began at `midnight`."""

    last_id: int
    last_at: datetime | None
    midnight: datetime
    graded: int = 0
    graded_today: int = 0
    skipped: int = 0
    flagged: int = 0
    counted: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Ahead:
    """Places with the words that one person looks for, in their order; all up to the place `searched` were found,
    or, where that is None, all there were.
    """

    matches: tuple[Match, ...]
    searched: int | None


@dataclass(slots=True)
class DeskMemory:
    """Of one workspace. `starts`: how far into an order one person's own work reaches without a gap; `aheads`: where
    the words they look for are found next; `nothing`: when one person found nothing to do in a part of the queue;
    `served`: under which choice a card was served; `numbers`: counts and when they were taken, in the seconds of
    `time.monotonic`; `done`: people's work by person and criterion.
    """

    starts: dict[Hashable, int] = field(default_factory=dict)
    aheads: dict[Hashable, Ahead] = field(default_factory=dict)
    nothing: dict[Hashable, float] = field(default_factory=dict)
    served: dict[str, Hashable] = field(default_factory=dict)
    numbers: dict[Hashable, tuple[float, int]] = field(default_factory=dict)
    done: dict[Hashable, Done] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def remember_start(self, key: Hashable, start: int) -> None:
        """Keeps where to look on for one person, part of the queue and version."""
        with self.lock:
            if len(self.starts) >= MOST:
                self.starts.clear()
            self.starts[key] = start

    def forget_starts(self) -> None:
        """To be called when something a person did is taken back: the gap is to be found again."""
        with self.lock:
            self.starts.clear()
            self.aheads.clear()
            self.nothing.clear()

    def remember_nothing(self, key: Hashable) -> None:
        """Keeps that one person has nothing to do in a part of the queue and version."""
        with self.lock:
            if len(self.nothing) >= MOST:
                self.nothing.clear()
            self.nothing[key] = time.monotonic()

    def has_nothing(self, key: Hashable, *, younger_than: float) -> bool:
        """Whether that was found out not more than so many seconds ago."""
        with self.lock:
            at = self.nothing.get(key, float("-inf"))
        return time.monotonic() - at < younger_than

    def ahead(self, key: Hashable) -> Ahead | None:
        """What was found ahead of one person in one part of the queue and version; None when nothing was looked for."""
        with self.lock:
            return self.aheads.get(key)

    def remember_ahead(self, key: Hashable, ahead: Ahead) -> None:
        """Keeps what was found ahead."""
        with self.lock:
            if len(self.aheads) >= MOST // 10:  # some hundred places each
                self.aheads.clear()
            self.aheads[key] = ahead

    def remember_served(self, card: str, choice: Hashable) -> None:
        """Keeps under which choice a card was served."""
        with self.lock:
            if len(self.served) >= MOST:
                self.served.clear()
            self.served[card] = choice

    def was_served(self, card: str, choice: Hashable) -> bool:
        """Whether this process served the card under that choice."""
        with self.lock:
            return self.served.get(card) == choice

    def number(self, key: Hashable, *, younger_than: float) -> int | None:
        """A count that is not older than so many seconds, else None."""
        with self.lock:
            at, value = self.numbers.get(key, (float("-inf"), 0))
        return value if time.monotonic() - at < younger_than else None

    def remember_number(self, key: Hashable, value: int) -> None:
        """Keeps a count taken now."""
        with self.lock:
            if len(self.numbers) >= MOST:
                self.numbers.clear()
            self.numbers[key] = (time.monotonic(), value)


_MEMORIES: WeakKeyDictionary[Sessions, DeskMemory] = WeakKeyDictionary()
_LOCK = threading.Lock()


def memory_of(workspace: Workspace) -> DeskMemory:
    """What this process remembers of the workspace's desk; gone with its database connections."""
    with _LOCK:
        return _MEMORIES.setdefault(workspace.sessions, DeskMemory())
