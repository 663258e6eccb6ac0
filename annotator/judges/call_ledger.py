"""What calls cost, written down before they are made: the face that judges see. The database keeps one behind it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from annotator.errors import CapReached
from annotator.judges.reply_cache import CachedReply


@dataclass(frozen=True, slots=True)
class Ticket:
    """One reserved call: it may be made once, and is then settled or abandoned."""

    id: int
    key: str
    worst_tokens: int
    worst_cost_usd: float | None


class CallLedger(Protocol):
    """Where calls are reserved, replies are kept and money is counted.

    A reservation that is never settled counts as spent at its worst case.
    """

    async def begin(self, key: str, *, worst_tokens: int, worst_cost_usd: float | None) -> CachedReply | Ticket:
        """The stored reply to the key, else a reservation of the worst case; waits for the rate limit.

        Raises:
            CapReached: the worst case does not fit under the cap any more.
        """
        ...

    def place(self) -> AbstractAsyncContextManager[None]:
        """One of the places for calls under way, which all workers share; waits until one is free."""
        ...

    async def settle(self, ticket: Ticket, reply: CachedReply, *, cost_usd: float | None) -> None:
        """Stores the reply and puts what it cost in place of the worst case; durable when it returns.

        The key may be stored already, by another worker, and the first reply then stays.
        """
        ...

    async def abandon(self, ticket: Ticket, *, may_have_cost: bool) -> None:
        """Ends a reservation without a reply: for nothing, or at its worst case where the call may have been billed."""
        ...


class InMemoryCallLedger:
    """A ledger that lives as long as the process; for tests and short scripts.

    `cap_tokens` bounds tokens settled and reserved together.
    """

    def __init__(self, *, cap_tokens: int | None = None) -> None:
        self.replies: dict[str, CachedReply] = {}
        self.open: dict[int, Ticket] = {}
        self.tokens_spent = 0
        self._cap_tokens = cap_tokens
        self._last = 0

    def __len__(self) -> int:
        return len(self.replies)

    async def begin(self, key: str, *, worst_tokens: int, worst_cost_usd: float | None) -> CachedReply | Ticket:
        """The stored reply to the key, else a reservation.

        Raises:
            CapReached: the worst case does not fit under the cap any more.
        """
        stored = self.replies.get(key)
        if stored is not None:
            return stored
        reserved = sum(ticket.worst_tokens for ticket in self.open.values())
        if self._cap_tokens is not None and self.tokens_spent + reserved + worst_tokens > self._cap_tokens:
            raise CapReached(f"{worst_tokens} more tokens could exceed the cap of {self._cap_tokens}")
        self._last += 1
        ticket = Ticket(self._last, key, worst_tokens, worst_cost_usd)
        self.open[ticket.id] = ticket
        return ticket

    def place(self) -> AbstractAsyncContextManager[None]:
        """There is always one: this ledger has no limit of its own."""
        return nullcontext()

    async def settle(self, ticket: Ticket, reply: CachedReply, *, cost_usd: float | None) -> None:
        """Stores the reply unless one is stored already, and counts its tokens."""
        del self.open[ticket.id]
        self.tokens_spent += tokens_used(ticket, reply)
        self.replies.setdefault(ticket.key, reply)

    async def abandon(self, ticket: Ticket, *, may_have_cost: bool) -> None:
        """Ends a reservation without a reply."""
        del self.open[ticket.id]
        if may_have_cost:
            self.tokens_spent += ticket.worst_tokens


def tokens_used(ticket: Ticket, reply: CachedReply) -> int:
    """The tokens that a reply is known to have used; its worst case where the server named none."""
    if reply.prompt_tokens <= 0:
        return ticket.worst_tokens
    return reply.prompt_tokens + reply.completion_tokens
