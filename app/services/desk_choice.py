"""What a person chose at the review desk: the order of the cards, a part of the queue, blind first or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from db.enums import QueueCause

Order = Literal["value", "random", "query", "oldest"]
ORDERS: tuple[Order, ...] = ("value", "random", "query", "oldest")


@dataclass(frozen=True, slots=True)
class DeskChoice:
    """The order cards come in and which of them; everything by value unless said otherwise.

    `blind`: every card is graded before its proposal is shown. `cause`: why it is in the queue; `DRAWN` means samples
    and spot checks of certificates. `judge_id`, `grade` and `confidence_from` to `confidence_to` (0..1, both ends
    included): what a judge proposed; pairs that people judge blind are never found by it. `text`: words of question or
    passage.
    """

    order: Order = "value"
    blind: bool = False
    cause: QueueCause | None = None
    judge_id: int | None = None
    grade: int | None = None
    confidence_from: float | None = None
    confidence_to: float | None = None
    text: str = ""

    @property
    def by_proposal(self) -> bool:
        """Whether what a judge proposed decides which cards come."""
        proposed = (self.judge_id, self.grade, self.confidence_from, self.confidence_to)
        return any(value is not None for value in proposed)

    @property
    def narrowed(self) -> bool:
        """Whether only a part of the queue is asked for."""
        return self.by_proposal or self.cause is not None or bool(self.text.strip())


DEFAULT = DeskChoice()
