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


@dataclass(slots=True)
class DeskMemory:
    """Of one workspace. `starts`: how far into an order one person's own work reaches without a gap; `numbers`: counts
    and when they were taken, in the seconds of `time.monotonic`; `done`: people's work by person and criterion.
    """

    starts: dict[Hashable, int] = field(default_factory=dict)
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
