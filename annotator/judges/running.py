"""Many pieces of work over one chat session: a pool of workers, bounded, and stopped without losing what is paid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from annotator.judges.chat import CallCount, CallStopped, ChatSession, calls_of_worker

Item = TypeVar("Item")
Result = TypeVar("Result")


async def run_all(
    session: ChatSession, items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, concurrency: int
) -> AsyncGenerator[Result, None]:
    """The result of `work` for each item, in order of completion; a slow taker holds the work back.

    A quarter more items are in work than calls may be under way, so that the next calls are reserved by the time a
    place comes free; the session bounds the calls. After an exception of `work` no further call is
    begun; what was under way is handed over before the exception is raised. Closed early, it begins no further call
    either, and waits for those under way until their replies are stored.
    """
    waiting: asyncio.Queue[Result | None] = asyncio.Queue(concurrency)
    todo = iter(items)
    crew = _Crew(session)
    for _ in range(concurrency + max(1, concurrency // 4)):
        count = CallCount()
        crew.workers.append((asyncio.create_task(crew.run(todo, work, waiting, count)), count))
    finished = 0
    try:
        while finished < len(crew.workers):
            result = await waiting.get()
            if result is None:
                finished += 1
            else:
                yield result
    finally:
        crew.stop()
        draining = asyncio.create_task(_drain(waiting))
        await asyncio.gather(*(worker for worker, _ in crew.workers), return_exceptions=True)
        draining.cancel()
    if crew.exception is not None:
        raise crew.exception


class _Crew:
    """The workers of one run, what they have under way, and the first exception among them."""

    def __init__(self, session: ChatSession) -> None:
        self._session = session
        self.workers: list[tuple[asyncio.Task[None], CallCount]] = []
        self.exception: BaseException | None = None

    def stop(self) -> None:
        """Begins nothing more; whoever waits and has no call under way ends at once."""
        self._session.stop()
        for worker, count in self.workers:
            if count.under_way == 0:
                worker.cancel()

    async def run(
        self,
        todo: Iterator[Item],
        work: Callable[[Item], Awaitable[Result]],
        waiting: asyncio.Queue[Result | None],
        count: CallCount,
    ) -> None:
        calls_of_worker.set(count)
        try:
            for item in todo:
                if self.exception is not None:
                    break
                await waiting.put(await work(item))
        except CallStopped:
            pass
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError):
                raise
            if self.exception is None:
                self.exception = exc
            self._session.stop()
        await waiting.put(None)


async def _drain(waiting: asyncio.Queue[Result | None]) -> None:
    """Takes what nobody takes any more, so that the last workers can end."""
    while True:
        await waiting.get()
