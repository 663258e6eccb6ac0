"""The places of one process for calls under way: how many it may use now, and who waits for one."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class CallPlaces:
    """So many calls at once as were last allowed; a smaller allowance lets those under way end first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allowed = 0
        self._in_use = 0
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    def shrink(self, places: int) -> int:
        """Lets no more than so many calls begin, and says how many places are held: those in use may be more."""
        with self._lock:
            self._allowed = min(self._allowed, places)
            return max(places, self._in_use)

    def allow(self, places: int) -> None:
        """Sets how many calls may be under way; from any thread."""
        with self._lock:
            self._allowed = places
            self._hand_out()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One place, as long as the block lasts; whoever waited longest comes first."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.append((loop, future))
            self._hand_out()
        try:
            await future
        except asyncio.CancelledError:
            with self._lock, suppress(ValueError):
                self._waiting.remove((loop, future))
                raise
            self._give_back()  # handed out in the very moment in which the caller gave up
            raise
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        with self._lock:
            self._in_use -= 1
            self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._in_use < self._allowed:
            loop, future = self._waiting.popleft()
            self._in_use += 1
            try:
                loop.call_soon_threadsafe(_grant, future)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._in_use -= 1


def _grant(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
