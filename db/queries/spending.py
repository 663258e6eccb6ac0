"""Money and tokens: reserved before a call, settled after, never more than a job may spend; replies and rate limits.

Whoever writes here calls `hold_endpoint` first and `hold_job` second, in one write transaction: what is read afterwards
cannot change until it ends.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from annotator.types import SuggestionStatus
from db.enums import Outcome, SpendState
from db.models import (
    CallPlaces,
    JudgeRow,
    LabelJob,
    PairState,
    RateWindow,
    ReplyCacheEntry,
    SpendEntry,
    Suggestion,
)

_SOME = 500


@dataclass(frozen=True, slots=True)
class JobBudget:
    """What a job may spend and what it has spent, reservations counted at their worst case; None: no cap."""

    token_cap: int | None
    cost_cap_usd: float | None
    tokens: int
    cost_usd: float

    def allows(self, *, tokens: int, cost_usd: float | None) -> bool:
        """Whether so much more fits under each cap; an unknown price never fits under a cap in dollars."""
        if self.token_cap is not None and self.tokens + tokens > self.token_cap:
            return False
        if self.cost_cap_usd is None:
            return True
        return cost_usd is not None and self.cost_usd + cost_usd <= self.cost_cap_usd

    def plus(self, *, tokens: int, cost_usd: float | None) -> JobBudget:
        """The budget after so much more was spent."""
        return JobBudget(self.token_cap, self.cost_cap_usd, self.tokens + tokens, self.cost_usd + (cost_usd or 0.0))


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a reserved call cost in the end."""

    entry_id: int
    tokens: int
    cost_usd: float | None


def hold_endpoint(session: Session, endpoint: str, *, now: datetime) -> tuple[float, datetime]:
    """The endpoint's token bucket (requests left, as of when), held until the transaction ends; made where missing."""
    window = sa.select(RateWindow.tokens, RateWindow.updated_at).where(RateWindow.endpoint == endpoint)
    found = session.execute(window.with_for_update()).one_or_none()
    if found is None:
        row = {"endpoint": endpoint, "tokens": 0.0, "updated_at": datetime.fromtimestamp(0, tz=now.tzinfo)}
        session.execute(_insert(session, RateWindow).values(row).on_conflict_do_nothing())
        found = session.execute(window.with_for_update()).one()
    return found.tokens, found.updated_at


def set_bucket(session: Session, endpoint: str, *, left: float, now: datetime) -> None:
    """Stores how many requests the endpoint may be sent at once now."""
    session.execute(sa.update(RateWindow).where(RateWindow.endpoint == endpoint).values(tokens=left, updated_at=now))


def share_of_places(session: Session, endpoint: str, *, owner: str, limit: int, now: datetime) -> int:
    """How many calls this owner may have under way: an even share among the living, never more than the others leave.

    Call after `hold_endpoint`, and store what is taken with `store_places` in the same transaction.
    """
    others = session.scalars(
        sa.select(CallPlaces.places).where(
            CallPlaces.endpoint == endpoint, CallPlaces.owner != owner, CallPlaces.expires_at > now
        )
    ).all()
    return max(0, min(max(1, limit // (len(others) + 1)), limit - sum(others)))


def store_places(session: Session, endpoint: str, *, owner: str, places: int, until: datetime) -> None:
    """Says that this owner lives and holds so many places, until a moment."""
    row = {"endpoint": endpoint, "owner": owner, "places": places, "expires_at": until}
    changed = {"places": places, "expires_at": until}
    insert = _insert(session, CallPlaces).values(row)
    session.execute(insert.on_conflict_do_update(index_elements=["endpoint", "owner"], set_=changed))


def drop_places(session: Session, owners: Collection[str]) -> None:
    """Frees all places of these owners, whatever they still had under way."""
    session.execute(sa.delete(CallPlaces).where(CallPlaces.owner.in_(owners)))


def hold_job(session: Session, job_id: int) -> JobBudget:
    """What the job may spend and has spent, held until the transaction ends."""
    row = session.execute(
        sa.select(LabelJob.token_cap, LabelJob.cost_cap_usd, LabelJob.spent_tokens, LabelJob.spent_usd)
        .where(LabelJob.id == job_id)
        .with_for_update()
    ).one()
    return JobBudget(row.token_cap, row.cost_cap_usd, row.spent_tokens, row.spent_usd)


def set_spent(session: Session, job_id: int, budget: JobBudget) -> None:
    """Stores what the job has spent."""
    session.execute(
        sa.update(LabelJob).where(LabelJob.id == job_id).values(spent_tokens=budget.tokens, spent_usd=budget.cost_usd)
    )


def live_calls(session: Session, endpoint: str, *, now: datetime) -> list[tuple[str, int]]:
    """(key, job id) of each call to the endpoint that some worker may have under way."""
    rows = session.execute(
        sa.select(SpendEntry.key, SpendEntry.job_id).where(
            SpendEntry.endpoint == endpoint, SpendEntry.state == SpendState.RESERVED, SpendEntry.expires_at > now
        )
    )
    return [(row.key, row.job_id) for row in rows]


def reserve(session: Session, rows: Sequence[dict[str, Any]]) -> list[int]:
    """The ids of new reservations, in the order of `rows`."""
    added = session.scalars(sa.insert(SpendEntry).returning(SpendEntry.id, sort_by_parameter_order=True), list(rows))
    return list(added)


def settle(session: Session, settlements: Sequence[Settlement], *, now: datetime) -> None:
    """Puts what calls cost in place of what was reserved for them."""
    session.connection().execute(
        sa.update(SpendEntry)
        .where(SpendEntry.id == sa.bindparam("entry_id"))
        .values(
            state=SpendState.SETTLED,
            tokens=sa.bindparam("used"),
            cost_usd=sa.bindparam("paid"),
            settled_at=sa.bindparam("at"),
        ),
        [{"entry_id": s.entry_id, "used": s.tokens, "paid": s.cost_usd, "at": now} for s in settlements],
    )


def release(session: Session, entry_ids: Collection[int], *, now: datetime) -> None:
    """Takes back reservations of calls that were never billed."""
    session.execute(
        sa.update(SpendEntry).where(SpendEntry.id.in_(entry_ids)).values(state=SpendState.RELEASED, settled_at=now)
    )


def renew_reservations(session: Session, entry_ids: Collection[int], *, soon: datetime, until: datetime) -> None:
    """Says that these calls are still under way and will be until a moment; only those that would expire `soon`."""
    ids = sorted(entry_ids)
    for start in range(0, len(ids), _SOME):
        session.execute(
            sa.update(SpendEntry)
            .where(SpendEntry.id.in_(ids[start : start + _SOME]), SpendEntry.expires_at < soon)
            .values(expires_at=until)
        )


def end_reservations(session: Session, entry_ids: Collection[int], *, now: datetime) -> None:
    """Says that these calls are no longer under way; they stay counted at their worst case."""
    session.execute(sa.update(SpendEntry).where(SpendEntry.id.in_(entry_ids)).values(expires_at=now))


def end_reservations_of(session: Session, owners: Collection[str], *, now: datetime) -> int:
    """Says that no call of these dead owners is under way, and counts those that were; all stay counted as spent."""
    drop_places(session, owners)
    dead = session.execute(
        sa.update(SpendEntry)
        .where(SpendEntry.owner.in_(owners), SpendEntry.state == SpendState.RESERVED, SpendEntry.expires_at > now)
        .values(expires_at=now)
    )
    return int(dead.rowcount)  # type: ignore[attr-defined]


def stored_replies(session: Session, keys: Collection[str]) -> dict[str, str]:
    """The stored replies under these keys, as JSON."""
    wanted = sorted(set(keys))
    found: dict[str, str] = {}
    for start in range(0, len(wanted), _SOME):
        rows = session.execute(
            sa.select(ReplyCacheEntry.key, ReplyCacheEntry.reply).where(
                ReplyCacheEntry.key.in_(wanted[start : start + _SOME])
            )
        )
        found.update((row.key, str(row.reply["reply"])) for row in rows)
    return found


def store_replies(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Stores replies; where a key has one already, the first stays."""
    session.connection().execute(_insert(session, ReplyCacheEntry).on_conflict_do_nothing(), list(rows))


@dataclass(frozen=True, slots=True)
class Spending:
    """What one judge's calls have cost: settled calls, and those never settled at their worst case.

    `cost_usd` is None where some settled call had no known price.
    """

    judge_id: int
    judge: str
    calls: int
    tokens: int
    cost_usd: float | None
    unsettled_calls: int
    unsettled_tokens: int
    unsettled_cost_usd: float


def spending_by_judge(session: Session, *, job_id: int | None = None) -> list[Spending]:
    """Spending of each judge that has made a call, in the order of their ids."""
    settled, open_ = SpendEntry.state == SpendState.SETTLED, SpendEntry.state == SpendState.RESERVED
    count = sa.func.count
    total = sa.func.coalesce
    query = (
        sa.select(
            JudgeRow.id,
            JudgeRow.name,
            count().filter(settled).label("calls"),
            total(sa.func.sum(SpendEntry.tokens).filter(settled), 0).label("tokens"),
            total(sa.func.sum(SpendEntry.cost_usd).filter(settled), 0.0).label("cost"),
            count().filter(settled, SpendEntry.cost_usd.is_(None)).label("unpriced"),
            count().filter(open_).label("open_calls"),
            total(sa.func.sum(SpendEntry.tokens).filter(open_), 0).label("open_tokens"),
            total(sa.func.sum(SpendEntry.cost_usd).filter(open_), 0.0).label("open_cost"),
        )
        .join(LabelJob, LabelJob.id == SpendEntry.job_id)
        .join(JudgeRow, JudgeRow.id == LabelJob.judge_id)
        .group_by(JudgeRow.id, JudgeRow.name)
        .order_by(JudgeRow.id)
    )
    if job_id is not None:
        query = query.where(LabelJob.id == job_id)
    return [
        Spending(
            judge_id=row.id,
            judge=row.name,
            calls=row.calls,
            tokens=int(row.tokens),
            cost_usd=None if row.unpriced else float(row.cost),
            unsettled_calls=row.open_calls,
            unsettled_tokens=int(row.open_tokens),
            unsettled_cost_usd=float(row.open_cost),
        )
        for row in session.execute(query)
    ]


def _insert(session: Session, table: Any) -> Any:
    """An insert that knows `on_conflict_do_nothing`, in the dialect of the database."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


@dataclass(frozen=True, slots=True)
class LabelsOfJudge:
    """How many suggestions a judge has made, how many of them are unreadable, and how many stand accepted now."""

    suggestions: int
    unreadable: int
    accepted: int


def labels_by_judge(session: Session) -> dict[int, LabelsOfJudge]:
    """What came of each judge's calls, by judge id."""
    rows = session.execute(
        sa.select(
            Suggestion.judge_id,
            sa.func.count().label("suggestions"),
            sa.func.count().filter(Suggestion.status == SuggestionStatus.UNREADABLE).label("unreadable"),
            sa.func.count().filter(PairState.outcome == Outcome.ACCEPTED).label("accepted"),
        )
        .outerjoin(PairState, PairState.suggestion_id == Suggestion.id)
        .where(Suggestion.job_id.is_not(None))
        .group_by(Suggestion.judge_id)
    )
    return {row.judge_id: LabelsOfJudge(row.suggestions, row.unreadable, row.accepted) for row in rows}


@dataclass(frozen=True, slots=True)
class CallHistory:
    """Settled calls: how many, tokens and dollars a call, and seconds from reservation to reply (median of the last).

    Dollars are None where some had no known price; everything is None without calls.
    """

    calls: int
    tokens_a_call: float | None
    cost_a_call: float | None
    seconds_a_call: float | None


def call_history(session: Session, *, judge_id: int, last: int = 500) -> CallHistory:
    """What this judge's last settled calls were like."""
    rows = session.execute(
        sa.select(SpendEntry.tokens, SpendEntry.cost_usd, SpendEntry.created_at, SpendEntry.settled_at)
        .join(LabelJob, LabelJob.id == SpendEntry.job_id)
        .where(LabelJob.judge_id == judge_id, SpendEntry.state == SpendState.SETTLED)
        .order_by(SpendEntry.id.desc())
        .limit(last)
    ).all()
    if not rows:
        return CallHistory(0, None, None, None)
    costs = [row.cost_usd for row in rows]
    seconds = sorted((row.settled_at - row.created_at).total_seconds() for row in rows if row.settled_at is not None)
    return CallHistory(
        calls=len(rows),
        tokens_a_call=sum(row.tokens for row in rows) / len(rows),
        cost_a_call=None if None in costs else sum(costs) / len(rows),
        seconds_a_call=seconds[len(seconds) // 2] if seconds else None,
    )
