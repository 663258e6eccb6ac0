"""What the services of labelling return: frozen views, never rows of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from annotator.types import Criterion
from db.enums import RunStatus


@dataclass(frozen=True, slots=True)
class LabelJobView:
    """A label job as it is now.

    `spent_usd` is None where the price is unknown; both sums hold calls never settled at their worst case.
    """

    id: int
    judge: str
    criterion: Criterion
    spec: Mapping[str, object]
    host: str | None
    status: RunStatus
    message: str
    n_pairs: int
    done: int
    failed: int
    cancel_requested: bool
    worker_alive: bool
    token_cap: int | None
    cost_cap_usd: float | None
    spent_tokens: int
    spent_usd: float | None
    started_at: datetime
    finished_at: datetime | None

    @property
    def left(self) -> int:
        """Pairs that nobody has asked about yet."""
        return max(0, self.n_pairs - self.done - self.failed)


@dataclass(frozen=True, slots=True)
class FailureView:
    """A pair that a judge still owes a suggestion: why, how often it was tried, whether trying again may help."""

    pair_id: int
    judge: str
    query: str
    passage_id: str
    title: str
    reason: str
    retryable: bool
    times: int
    job_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RenderedMessage:
    """One message of a prompt as it would be sent."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """What labelling would ask, send and cost, before any call is made.

    `tokens` is an estimate and `tokens_basis` says of what; `worst_tokens` is the most that the calls can use, as the
    cap counts them. Dollars are None where no price is set, minutes where nothing was ever measured and no rate limit
    is set. `host` receives the texts; None: nothing leaves this machine. `n_sampled` prompts were rendered.
    """

    judge: str
    certifiable: bool
    criterion: Criterion
    host: str | None
    n_pairs: int
    n_calls: int
    n_stored: int
    tokens: int
    tokens_basis: str
    worst_tokens: int
    cost_usd: float | None
    worst_cost_usd: float | None
    minutes: float | None
    minutes_basis: str
    n_sampled: int
    concurrency: int
    token_cap: int | None
    cost_cap_usd: float | None
    prompt: tuple[RenderedMessage, ...]


@dataclass(frozen=True, slots=True)
class JudgeCostView:
    """What one judge's calls have cost, and what came of them.

    `cost_usd` is None where the price of some call is unknown. Calls that were reserved and never settled (the process
    died, or no answer came) are counted apart at their worst case; a cap counts them as spent. `usd_per_accepted` and
    `tokens_per_accepted` are over labels of this judge that stand accepted now.
    """

    judge: str
    calls: int
    tokens: int
    cost_usd: float | None
    unsettled_calls: int
    unsettled_tokens: int
    unsettled_cost_usd: float
    suggestions: int
    unreadable: int
    accepted: int
    usd_per_accepted: float | None
    tokens_per_accepted: float | None


@dataclass(frozen=True, slots=True)
class CostsView:
    """What all calls of the workspace have cost, by judge."""

    judges: tuple[JudgeCostView, ...]
    calls: int
    tokens: int
    cost_usd: float | None
