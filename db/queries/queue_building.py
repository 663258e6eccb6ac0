"""The audit queue as it is stored: computed aside under a version of its own, then served in one short step.

Which pairs are in it and in which order is said by `queue_values`, from what `queue_signals` reads; who is served what
of it, by `queue_next`; where one pair stands, by `queue_places`. Rows that are served never move; of them only `open`
changes, how many people are still wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion
from db.enums import LabelSource, Split
from db.models import Calibrator, Pair, PairState, QueueEntry, Review
from db.queries.audits import locked_pairs
from db.queries.draws import hold_draws
from db.queries.queue_places import EMPTY, active_version, left_open, of_pairs, value_name
from db.queries.queue_signals import (
    Signals,
    load_queue_settings,
    places,
    read_signals,
)
from db.queries.queue_values import QueueOrder, order_queue
from db.queries.queue_words import Why, reason_for
from db.queries.workspace_values import get_value, lock_value, set_value

IN_PLACE = 20_000
"""Entries up to which the queue is computed anew within a transaction that does something else; more would keep people
at the desk waiting, so a longer queue is only marked as behind, to be built aside. Our choice: about a second."""

CHUNK = 5_000
"""Entries written, or of an old version deleted, at once: people at the desk wait for no more. Our choice."""

_MARGIN = 1_000
"""Reviews before the newest one that are looked at again: on PostgreSQL one with a smaller id may be stored later."""


def is_behind(session: Session, criterion: Criterion) -> bool:
    """Whether pairs came back to people since the served version was built, which is to be built anew for them."""
    return bool((get_value(session, value_name(criterion)) or EMPTY).get("behind", False))


def mark_behind(session: Session, *, criterion: Criterion, now: datetime) -> None:
    """Has the served queue built anew by whoever looks after it; nothing where no queue is served yet."""
    if active_version(session, criterion):
        value = lock_value(session, value_name(criterion), EMPTY, now=now)
        set_value(session, value_name(criterion), {**value, "behind": True}, now=now)


def is_long(session: Session, criterion: Criterion) -> bool:
    """Whether the served queue is too long to be built while somebody waits for it."""
    return int((get_value(session, value_name(criterion)) or EMPTY)["length"]) > IN_PLACE


def rebuild_queue(session: Session, *, criterion: Criterion, now: datetime) -> int:
    """Computes the queue anew in the caller's transaction and serves it; returns how many pairs wait in it.

    A queue of more than `IN_PLACE` entries is left as it is, but for what must be served no more. It is then marked as
    behind, as it is where there are calibrators, which are asked by `app.services.queue_order.rebuild` alone.
    """
    value = lock_value(session, value_name(criterion), EMPTY, now=now)
    if value["length"] > IN_PLACE:
        _close_locked(session, criterion, version=int(value["version"]))
        set_value(session, value_name(criterion), {**value, "behind": True}, now=now)
        return _count_open(session, criterion, int(value["version"]))
    settings = load_queue_settings(session, criterion)
    signals = read_signals(session, criterion=criterion, settings=settings)
    order = order_queue(signals, settings)
    version = _next(value)
    insert_entries(session, signals, order, criterion=criterion, version=version)
    new = {
        "version": version,
        "last": version,
        "length": len(order),
        "behind": session.scalar(sa.select(sa.exists().where(Calibrator.criterion == criterion))),
        "built_over": value["version"],
    }
    set_value(session, value_name(criterion), new, now=now)
    for _ in range(1 + IN_PLACE // CHUNK):
        if not delete_old(session, criterion=criterion):
            break
    return int((order.open > 0).sum())


def _next(value: dict[str, Any]) -> int:
    return max(int(value["version"]), int(value.get("last", 0))) + 1


def reserve_version(session: Session, *, criterion: Criterion, now: datetime) -> int:
    """A number for a version that is built aside; no other builder gets it."""
    value = lock_value(session, value_name(criterion), EMPTY, now=now)
    version = _next(value)
    set_value(session, value_name(criterion), {**value, "last": version}, now=now)
    return version


def insert_entries(
    session: Session, signals: Signals, order: QueueOrder, *, criterion: Criterion, version: int, offset: int = 0
) -> None:
    """Stores the entries of a version; positions begin after `offset`."""
    for some in entry_chunks(signals, order, criterion=criterion, version=version, offset=offset):
        insert_chunk(session, some)


def insert_chunk(session: Session, entries: Sequence[dict[str, object]]) -> None:
    """Stores some entries."""
    session.execute(sa.insert(QueueEntry), entries)


def entry_chunks(
    signals: Signals, order: QueueOrder, *, criterion: Criterion, version: int, offset: int = 0
) -> Iterator[list[dict[str, object]]]:
    """The rows of a version, `CHUNK` of them at a time."""
    for start in range(0, len(order), CHUNK):
        yield [
            _entry(signals, order, place, criterion=criterion, version=version, offset=offset)
            for place in range(start, min(start + CHUNK, len(order)))
        ]


def _entry(
    signals: Signals, order: QueueOrder, place: int, *, criterion: Criterion, version: int, offset: int
) -> dict[str, object]:
    at = int(order.at[place])
    blind, p, grade = bool(order.blind[place]), float(order.p[place]), _number(signals.grade[at])
    told = not blind and grade is not None
    side = p if told and order.relevant[place] else 1.0 - p
    why = Why(
        cause=order.cause[place],
        place=_whole(signals.live_rank[at]),
        pooled=_whole(signals.pool_rank[at]),
        sure=side if told and not np.isnan(signals.confidence[at]) else None,
        relevant=bool(order.relevant[place]) if told else None,
        split=Split.HELD_OUT if signals.held_out[at] else Split.CALIBRATE,
        graders=int(signals.graders[at]),
        wanted=int(order.wanted[place]),
        votes=(int(signals.relevant_votes[at]), int(signals.votes[at])),
    )
    return {
        "criterion": criterion,
        "version": version,
        "position": offset + place + 1,
        "random_position": offset + int(order.random[place]),
        "query_position": offset + int(order.query[place]),
        "oldest_position": offset + int(order.oldest[place]),
        "pair_id": int(signals.pair_id[at]),
        "query_id": int(signals.query_id[at]),
        "cause": order.cause[place],
        "reason": reason_for(why),
        "value": float(order.value[place]),
        "judge_id": int(signals.judge_id[at]) if not blind and signals.judge_id[at] >= 0 else None,
        "grade": None if blind or grade is None else int(grade),
        "confidence": why.sure,
        "wanted": int(order.wanted[place]),
        "open": int(order.open[place]),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _whole(value: float) -> int | None:
    return None if np.isnan(value) else int(value)


def serve_version(
    session: Session, *, criterion: Criterion, version: int, length: int, seen: int, now: datetime
) -> bool:
    """Serves a version that was built aside; False, and nothing is done, if a newer one is served by now.

    `seen`: the newest review when its signals were read. What people did since is made good: pairs they graded or
    flagged are wanted no more, pairs whose grade they took back are again. Turns at the desk that are under way are
    waited for, and new ones wait: a grade not yet stored would be missed here, and its pair asked for once too often.
    """
    hold_draws(session, criterion=criterion, shared=False)
    value = lock_value(session, value_name(criterion), EMPTY, now=now)
    if int(value["version"]) >= version:
        return False
    new = {**value, "version": version, "length": length, "behind": False, "built_over": value["version"]}
    set_value(session, value_name(criterion), new, now=now)
    settle_since(session, criterion=criterion, seen=seen, now=now)
    return True


def settle_since(session: Session, *, criterion: Criterion, seen: int, now: datetime) -> None:
    """Brings the served entries of all pairs that somebody reviewed after a review up to date."""
    touched = sa.select(Review.pair_id).where(Review.criterion == criterion, Review.id > seen - _MARGIN).distinct()
    _settle(session, list(session.scalars(touched)), criterion=criterion, now=now)


def delete_old(session: Session, *, criterion: Criterion) -> int:
    """Deletes up to `CHUNK` entries of versions before the served one; returns how many, 0 when none are left.

    The version before the served one stays: somebody may be reading it.
    """
    value = get_value(session, value_name(criterion)) or EMPTY
    # To delete by the key, which is short, and not by a condition, which would be looked up for every row.
    old = (
        sa.select(QueueEntry.version, QueueEntry.position)
        .where(
            QueueEntry.criterion == criterion,
            QueueEntry.version < value["version"],
            QueueEntry.version != value.get("built_over", value["version"]),
        )
        .order_by(QueueEntry.version, QueueEntry.position)
        .limit(CHUNK)
    )
    found = session.execute(old).all()
    for version in sorted({row.version for row in found}):
        positions = [row.position for row in found if row.version == version]
        session.execute(
            sa.delete(QueueEntry).where(
                QueueEntry.criterion == criterion,
                QueueEntry.version == version,
                QueueEntry.position.between(min(positions), max(positions)),
            )
        )
    return len(found)


def delete_version(session: Session, *, criterion: Criterion, version: int) -> None:
    """Deletes a version that was built aside and is not to be served."""
    session.execute(sa.delete(QueueEntry).where(QueueEntry.criterion == criterion, QueueEntry.version == version))


def put_back(session: Session, *, pair_id: int, criterion: Criterion, now: datetime) -> None:
    """Puts a pair whose grade or flag was taken back into the served queue, at its end if it is not in it.

    A queue computed while the grade stood does not have it, and nobody would be served it before the next one.
    """
    _settle(session, [pair_id], criterion=criterion, now=now)


def _settle(session: Session, pair_ids: Collection[int], *, criterion: Criterion, now: datetime) -> None:
    """Sets how many people are wanted for these pairs to what their states say; adds those that belong and lack."""
    session.flush()
    wanted = sorted(set(pair_ids))
    missing: list[int] = []
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        settled = set(
            session.scalars(
                sa.select(PairState.pair_id).where(
                    PairState.pair_id.in_(some),
                    PairState.criterion == criterion,
                    sa.or_(PairState.flagged, PairState.curated_source == LabelSource.ADJUDICATED),
                )
            )
        )
        here = set(
            session.scalars(
                sa.select(QueueEntry.pair_id)
                .where(
                    QueueEntry.criterion == criterion,
                    QueueEntry.version == active_version(session, criterion),
                    QueueEntry.pair_id.in_(some),
                )
                .order_by(QueueEntry.pair_id)
                # Whoever holds one is about to set it right, and may wait for us to add another.
                .with_for_update(skip_locked=True)
            )
        )
        left = left_open(criterion)
        for ids, value in ((here & settled, sa.literal(0)), (here - settled, left)):
            if ids:
                update = of_pairs(session, sorted(ids), criterion).where(QueueEntry.open != value).values(open=value)
                session.execute(update)
        enough = set(
            session.scalars(
                sa.select(PairState.pair_id).where(
                    PairState.pair_id.in_(some),
                    PairState.criterion == criterion,
                    PairState.graders >= load_queue_settings(session, criterion).overlap,
                )
            )
        )
        missing += [pair_id for pair_id in some if pair_id not in here | settled | enough]
    if missing:
        _append(session, missing, criterion=criterion, now=now)


def _append(session: Session, pair_ids: Sequence[int], *, criterion: Criterion, now: datetime) -> None:
    """Adds those of the pairs that belong to the queue and are not in it at its end, by value among themselves."""
    queries: set[int] = set()
    for start in range(0, len(pair_ids), 500):
        queries.update(session.scalars(sa.select(Pair.query_id).where(Pair.id.in_(pair_ids[start : start + 500]))))
    # Nothing of them is drawn at random: they are here because somebody took an answer back.
    settings = replace(load_queue_settings(session, criterion), explored=0.0)
    signals = read_signals(session, criterion=criterion, settings=settings, query_ids=queries)
    order = _only(order_queue(signals, settings), signals, pair_ids)
    if not len(order):
        return
    version = int(lock_value(session, value_name(criterion), EMPTY, now=now)["version"])
    known: set[int] = set()
    for start in range(0, len(pair_ids), 500):
        present = sa.select(QueueEntry.pair_id).where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == version,
            QueueEntry.pair_id.in_(pair_ids[start : start + 500]),
        )
        known.update(session.scalars(present))
    order = _only(order, signals, [pair_id for pair_id in pair_ids if pair_id not in known])
    last = session.scalar(
        sa.select(sa.func.max(QueueEntry.position)).where(
            QueueEntry.criterion == criterion, QueueEntry.version == version
        )
    )
    insert_entries(session, signals, order, criterion=criterion, version=version, offset=last or 0)


def _only(order: QueueOrder, signals: Signals, pair_ids: Collection[int]) -> QueueOrder:
    """The entries of these pairs alone, in the same order."""
    wanted = np.array(sorted(set(pair_ids)), dtype=np.int64)
    at, _ = places(signals.pair_id, wanted)
    return order.keep(np.isin(order.at, at))


def _close_locked(session: Session, criterion: Criterion, *, version: int) -> None:
    session.execute(
        sa.update(QueueEntry)
        .where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == version,
            QueueEntry.open > 0,
            QueueEntry.pair_id.in_(locked_pairs(criterion)),
        )
        .values(open=0)
        .execution_options(synchronize_session=False)
    )


def _count_open(session: Session, criterion: Criterion, version: int) -> int:
    return sum(number for _, number in count_by_cause(session, criterion=criterion, version=version))


def count_by_cause(session: Session, *, criterion: Criterion, version: int | None = None) -> list[tuple[Any, int]]:
    """How many pairs of a version, else of the served one, still want somebody, by cause; the most first."""
    number = sa.func.count()
    rows = session.execute(
        sa.select(QueueEntry.cause, number)
        .where(
            QueueEntry.criterion == criterion,
            QueueEntry.version == (active_version(session, criterion) if version is None else version),
            QueueEntry.open > 0,
        )
        .group_by(QueueEntry.cause)
        .order_by(number.desc(), QueueEntry.cause)
    )
    return [(cause, int(n)) for cause, n in rows]
