"""The ledger of calls in the workspace's database: one writer thread commits many operations together.

The event loop never waits for the disk, and the settling of one call shares a commit with the reservation of the next.
A reservation is committed before its call is made; a reply is committed before anybody sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from annotator.errors import CapReached
from annotator.judges.call_ledger import Ticket, tokens_used
from annotator.judges.reply_cache import CachedReply
from app.bootstrap import Workspace
from app.config import Settings
from app.services.call_owners import CallOwner, bury_the_dead
from app.services.call_places import CallPlaces
from db.enums import SpendState
from db.queries import spending
from db.queries.spending import JobBudget, Settlement

_LOOK_AGAIN = 0.05
_GATHER = 0.002
"""Seconds in which operations are gathered for one commit; next to the seconds of a call nobody notices."""
_SHARE_EVERY = 1.0
_PLACES_LAST = timedelta(seconds=30)
_SLACK = timedelta(seconds=30)
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Operation:
    """Something to be written, and who waits for it, if anybody does."""

    loop: asyncio.AbstractEventLoop | None
    future: asyncio.Future[CachedReply | Ticket | None] | None

    @property
    def given_up(self) -> bool:
        return self.future is not None and self.future.cancelled()


@dataclass(slots=True, eq=False)
class _Begin(_Operation):
    key: str
    worst_tokens: int
    worst_cost_usd: float | None


@dataclass(slots=True, eq=False)
class _Settle(_Operation):
    ticket: Ticket
    reply: CachedReply
    cost_usd: float | None


@dataclass(slots=True, eq=False)
class _Abandon(_Operation):
    ticket: Ticket
    may_have_cost: bool


_Outcome = CachedReply | Ticket | Exception | None


@dataclass(slots=True)
class _Done:
    """What one transaction brought: outcomes, begins that must wait, and for how long at least."""

    outcomes: list[tuple[_Operation, _Outcome]] = field(default_factory=list)
    waiting: list[_Begin] = field(default_factory=list)
    wait: float = _LOOK_AGAIN


class DatabaseLedger:
    """A `CallLedger` that all workers on one database share; close it, or use it as a context manager.

    Limits hold over all workers on the database, by endpoint: `concurrency` calls under way, `requests_per_minute` sent
    (evened out: at most one second's worth at once). The caps are those of the job that calls are charged to.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        job_id: int | None = None,
        concurrency: int | None = None,
        requests_per_minute: float | None = None,
    ) -> None:
        settings = workspace.settings
        self._workspace = workspace
        self._job_id = job_id
        self._endpoint = endpoint_of(settings)
        self._concurrency = concurrency or settings.llm_concurrency
        self._per_minute = requests_per_minute or settings.llm_requests_per_minute
        self._lease = timedelta(seconds=settings.llm_timeout_seconds) + _SLACK
        self._operations: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._places = CallPlaces()
        self._open: dict[int, Ticket] = {}
        self._loops: dict[int, asyncio.AbstractEventLoop | None] = {}
        self._handed_over: set[int] = set()
        self._owner: CallOwner | None = None
        self._writer: threading.Thread | None = None
        self._shared = 0.0

    def __enter__(self) -> DatabaseLedger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def charge_to(self, job_id: int) -> None:
        """Charges calls to this job from now on."""
        self._job_id = job_id

    def close(self) -> None:
        """Writes what is left and gives up the places of calls that nobody will settle; they stay counted as spent."""
        if self._writer is not None:
            self._operations.put(None)
            self._writer.join()
            self._writer = None
        unsent = [ticket for id_, ticket in self._open.items() if id_ not in self._handed_over]
        if unsent:  # their loop ended before it heard of them: these calls were never made
            self._commit([_Abandon(None, None, ticket, may_have_cost=False) for ticket in unsent])
        if self._owner is not None:
            with self._workspace.sessions.begin() as session:
                if self._open:
                    spending.end_reservations(session, list(self._open), now=self._workspace.now())
                spending.drop_places(session, [self._owner.name])
            self._open.clear()
            self._loops.clear()
            self._handed_over.clear()
            self._owner.end()
            self._owner = None

    async def begin(self, key: str, *, worst_tokens: int, worst_cost_usd: float | None) -> CachedReply | Ticket:
        """The stored reply to the key, else a reservation of the worst case; waits for rate and concurrency limits.

        While calls of the job are under way that may yet cost less than reserved, a call that does not fit waits.

        Raises:
            CapReached: the worst case does not fit under the job's cap any more.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[CachedReply | Ticket | None] = loop.create_future()
        self._put(_Begin(loop, future, key, worst_tokens, worst_cost_usd))
        try:
            begun = await future
        except asyncio.CancelledError:
            # Granted in the very moment in which the caller gave up: the call is never made.
            if future.done() and not future.cancelled() and future.exception() is None:
                self._take_back(future.result())
            raise
        if begun is None:
            raise TypeError("a call began with nothing")
        return begun

    def place(self) -> AbstractAsyncContextManager[None]:
        """One of the places for calls under way, which all workers on the database share."""
        self._start()
        return self._places.place()

    async def settle(self, ticket: Ticket, reply: CachedReply, *, cost_usd: float | None) -> None:
        """Stores the reply and puts what it cost in place of the worst case; durable when it returns."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[CachedReply | Ticket | None] = loop.create_future()
        self._put(_Settle(loop, future, ticket, reply, cost_usd))
        await future

    async def abandon(self, ticket: Ticket, *, may_have_cost: bool) -> None:
        """Ends a reservation without a reply: for nothing, or at its worst case where the call may have been billed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[CachedReply | Ticket | None] = loop.create_future()
        self._put(_Abandon(loop, future, ticket, may_have_cost))
        await future

    def _take_back(self, begun: CachedReply | Ticket | None) -> None:
        if isinstance(begun, Ticket):
            self._put(_Abandon(None, None, begun, may_have_cost=False))

    def _put(self, operation: _Operation) -> None:
        self._start()
        self._operations.put(operation)

    def _start(self) -> None:
        if self._writer is None:
            self._owner = CallOwner(self._workspace)
            self._writer = threading.Thread(target=self._write, name="call ledger", daemon=True)
            self._writer.start()

    def _write(self) -> None:
        """The writer thread: everything that came while the last commit went on shares the next."""
        waiting: list[_Begin] = []
        wait = _LOOK_AGAIN
        while True:
            self._share()
            batch: list[_Operation] = []
            ended = False
            with contextlib.suppress(queue.Empty):
                operation = self._operations.get(timeout=wait if waiting else _SHARE_EVERY)
                time.sleep(_GATHER)
                while operation is not None:
                    batch.append(operation)
                    operation = self._operations.get_nowait()
                ended = True
            waiting = [begin for begin in waiting if not begin.given_up]
            if ended and not batch:
                self._tell([(begin, CapReached("the ledger was closed")) for begin in waiting])
                return
            batch = [op for op in batch if not (isinstance(op, _Begin) and op.given_up)]
            if waiting or batch:
                done = self._write_together(waiting, batch)
                self._tell(done.outcomes)
                waiting, wait = done.waiting, done.wait
            if ended:
                self._operations.put(None)

    def _share(self) -> None:
        """Once a second: frees what dead workers held, says that this one lives, and learns its share of the places.

        A call may take longer than its reservation was made for (it waits for a place, or is made again more simply):
        as long as the loop that makes it runs, nobody else may take it for dead and buy the same reply.
        """
        if self._shared and time.monotonic() - self._shared < _SHARE_EVERY:
            return
        self._shared = time.monotonic()
        owner = self._owner.name if self._owner is not None else ""
        try:
            bury_the_dead(self._workspace, but=owner)
            with self._workspace.sessions.begin() as session:
                now = self._workspace.now()
                spending.hold_endpoint(session, self._endpoint, now=now)
                share = spending.share_of_places(session, self._endpoint, owner=owner, limit=self._concurrency, now=now)
                # A smaller share holds at once, but calls above it go on: their places are not free yet.
                held = self._places.shrink(share)
                spending.store_places(session, self._endpoint, owner=owner, places=held, until=now + _PLACES_LAST)
                under_way = [id_ for id_, loop in self._loops.items() if loop is not None and loop.is_running()]
                if under_way:
                    soon, until = now + self._lease / 2, now + self._lease
                    spending.renew_reservations(session, under_way, soon=soon, until=until)
        except Exception:  # a share learnt a second later is no reason to lose a reply
            _log.warning("could not learn this worker's share of the places", exc_info=True)
        else:
            self._places.allow(share)

    def _write_together(self, waiting: list[_Begin], batch: list[_Operation]) -> _Done:
        """All in one commit; if that fails, each alone, so that one operation cannot take others with it."""
        everything = [*waiting, *batch]
        try:
            return self._commit(everything)
        except Exception as exc:
            if len(everything) == 1:
                return _Done([(everything[0], exc)])
            _log.warning("a commit of %s operations failed; trying each alone: %s", len(everything), exc)
        together = _Done()
        for operation in everything:
            try:
                done = self._commit([operation])
            except Exception as exc:
                done = _Done([(operation, exc)])
            together.outcomes += done.outcomes
            together.waiting += done.waiting
        return together

    def _tell(self, outcomes: Sequence[tuple[_Operation, _Outcome]]) -> None:
        """Hands outcomes to the event loops that wait for them, with one call each."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Operation, _Outcome]]] = {}
        for operation, outcome in outcomes:
            if operation.loop is not None:
                by_loop.setdefault(operation.loop, []).append((operation, outcome))
        for loop, theirs in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._deliver, theirs)

    def _deliver(self, outcomes: Sequence[tuple[_Operation, _Outcome]]) -> None:
        for operation, outcome in outcomes:
            future = operation.future
            if isinstance(outcome, Ticket):
                self._handed_over.add(outcome.id)
            if future is None or future.cancelled():
                if not isinstance(outcome, Exception):
                    self._take_back(outcome)
            elif isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _commit(self, operations: Sequence[_Operation]) -> _Done:
        """One transaction: calls that ended first, for they free places and money, then those that want to begin."""
        if self._job_id is None:
            raise RuntimeError("no job is named that calls are charged to (charge_to)")
        now = self._workspace.now()
        ended = [operation for operation in operations if not isinstance(operation, _Begin)]
        begins = [operation for operation in operations if isinstance(operation, _Begin)]
        with self._workspace.sessions.begin() as session:
            left, as_of = spending.hold_endpoint(session, self._endpoint, now=now)
            before = spending.hold_job(session, self._job_id)
            budget = self._end(session, ended, budget=before, now=now)
            round_ = _Round(budget=budget, bucket=self._refilled(left, as_of, now=now))
            if begins:
                self._admit(session, begins, round_, now=now)
                if self._per_minute is not None:
                    spending.set_bucket(session, self._endpoint, left=round_.bucket, now=now)
            if round_.budget != before:
                spending.set_spent(session, self._job_id, round_.budget)
        for op in ended:
            if isinstance(op, _Settle | _Abandon):
                self._open.pop(op.ticket.id, None)
                self._loops.pop(op.ticket.id, None)
                self._handed_over.discard(op.ticket.id)
        for begin, outcome in round_.outcomes:
            if isinstance(outcome, Ticket):
                self._open[outcome.id], self._loops[outcome.id] = outcome, begin.loop
        wait = _LOOK_AGAIN
        if self._per_minute is not None and round_.bucket < 1.0:
            wait = max(0.001, (1.0 - round_.bucket) * 60.0 / self._per_minute)
        return _Done([*((op, None) for op in ended), *round_.outcomes], round_.waiting, wait)

    def _end(self, session: Session, ended: Sequence[_Operation], *, budget: JobBudget, now: datetime) -> JobBudget:
        """The budget after calls that ended were settled or abandoned."""
        settlements, replies, freed, over = [], [], [], []
        for op in ended:
            if isinstance(op, _Settle):
                ticket, tokens = op.ticket, tokens_used(op.ticket, op.reply)
                settlements.append(Settlement(ticket.id, tokens, op.cost_usd))
                replies.append(_reply_row(ticket.key, op.reply, now=now))
                cost = (op.cost_usd or 0.0) - (ticket.worst_cost_usd or 0.0)
                budget = budget.plus(tokens=tokens - ticket.worst_tokens, cost_usd=cost)
            elif isinstance(op, _Abandon) and op.may_have_cost:
                over.append(op.ticket.id)
            elif isinstance(op, _Abandon):
                freed.append(op.ticket.id)
                budget = budget.plus(tokens=-op.ticket.worst_tokens, cost_usd=-(op.ticket.worst_cost_usd or 0.0))
        if settlements:
            spending.settle(session, settlements, now=now)
            spending.store_replies(session, replies)
        if freed:
            spending.release(session, freed, now=now)
        if over:
            spending.end_reservations(session, over, now=now)
        return budget

    def _refilled(self, left: float, as_of: datetime, *, now: datetime) -> float:
        """The token bucket as it is now: it fills at the rate allowed and holds one second's worth, at least one."""
        if self._per_minute is None:
            return 0.0
        elapsed = max(0.0, (now - as_of).total_seconds())
        return min(max(1.0, self._per_minute / 60.0), left + elapsed * self._per_minute / 60.0)

    def _admit(self, session: Session, begins: Sequence[_Begin], round_: _Round, *, now: datetime) -> None:
        """Answers from the store, reserves what fits, refuses what never will, and leaves the rest waiting."""
        stored = spending.stored_replies(session, {begin.key for begin in begins})
        live = spending.live_calls(session, self._endpoint, now=now)
        keys = {key for key, _ in live}
        of_job = sum(job_id == self._job_id for _, job_id in live)
        granted: list[_Begin] = []
        full = False
        for begin in begins:
            if begin.key in stored:
                round_.outcomes.append((begin, CachedReply.from_json(stored[begin.key])))
                continue
            blocked = full or (self._per_minute is not None and round_.bucket < 1.0)
            if blocked or begin.key in keys:
                round_.waiting.append(begin)
            elif not round_.budget.allows(tokens=begin.worst_tokens, cost_usd=begin.worst_cost_usd):
                if of_job:
                    full = True
                    round_.waiting.append(begin)
                else:
                    round_.outcomes.append((begin, _cap_reached(round_.budget, begin)))
            else:
                granted.append(begin)
                keys.add(begin.key)
                of_job += 1
                round_.budget = round_.budget.plus(tokens=begin.worst_tokens, cost_usd=begin.worst_cost_usd)
                round_.bucket -= 1.0
        ids = spending.reserve(session, [self._entry(begin, now=now) for begin in granted]) if granted else []
        for begin, id_ in zip(granted, ids, strict=True):
            round_.outcomes.append((begin, Ticket(id_, begin.key, begin.worst_tokens, begin.worst_cost_usd)))

    def _entry(self, begin: _Begin, *, now: datetime) -> dict[str, object]:
        return {
            "job_id": self._job_id,
            "endpoint": self._endpoint,
            "key": begin.key,
            "owner": "" if self._owner is None else self._owner.name,
            "state": SpendState.RESERVED,
            "tokens": begin.worst_tokens,
            "cost_usd": begin.worst_cost_usd,
            "created_at": now,
            "expires_at": now + self._lease,
        }


@dataclass(slots=True)
class _Round:
    """What changes while one transaction goes over its operations."""

    budget: JobBudget
    bucket: float
    outcomes: list[tuple[_Operation, _Outcome]] = field(default_factory=list)
    waiting: list[_Begin] = field(default_factory=list)


def endpoint_of(settings: Settings) -> str:
    """The endpoint that limits are kept for: the address without names or passwords in it."""
    parts = urlsplit(settings.openai_base_url or "https://api.openai.com/v1")
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"[:300]


def _reply_row(key: str, reply: CachedReply, *, now: datetime) -> dict[str, object]:
    return {
        "key": key,
        "model": reply.model.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:200],
        "reply": {"reply": reply.to_json()},
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "created_at": now,
    }


def _cap_reached(budget: JobBudget, begin: _Begin) -> CapReached:
    if budget.token_cap is not None and budget.tokens + begin.worst_tokens > budget.token_cap:
        said = (
            f"The cap of {budget.token_cap:,} tokens is reached: {budget.tokens:,} are spent or reserved, and the next "
            f"call could use {begin.worst_tokens:,}."
        )
    elif begin.worst_cost_usd is None:
        said = "A cap in dollars needs a known price. Set the price of the model, or a cap in tokens."
    else:
        said = (
            f"The cap of ${budget.cost_cap_usd or 0:,.4f} is reached: ${budget.cost_usd:,.4f} are spent or reserved, "
            f"and the next call could cost ${begin.worst_cost_usd:,.4f}."
        )
    return CapReached(said, user_message=f"{said} What came before is stored; a higher cap goes on from here.")
