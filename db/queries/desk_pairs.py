"""What must be known of one pair before one person is served it or answers it, read in one look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion, SuggestionStatus
from db.enums import LabelSource, Split
from db.models import (
    BatchPair,
    JudgeFirst,
    Lease,
    Pair,
    PairState,
    Query,
    QueryCluster,
    QueueEntry,
    SeenPair,
    SpotCheck,
    Suggestion,
)
from db.queries.audits import PEOPLE_ONLY, BlindPair, locked_pairs, waiting_spot_checks
from db.queries.judge_first import waiting_first
from db.queries.leases import lock_entry, others_hold
from db.queries.queue_places import active_version
from db.queries.row_locks import locks_rows


@dataclass(frozen=True, slots=True)
class DeskPair:
    """One pair as it stands for one person. `entry`: its place in the served queue; `drawn`: why it is judged blind;
    `first`: it waits among those to be judged first; `suggestion_id`: what is proposed now, and `readable` whether that
    has a grade; `seen`: this person was ever shown what was proposed; `others`: people who hold it now beside them;
    `graders`: people whose grade stands; `settled`: it was flagged or adjudicated.
    """

    pair_id: int
    split: Split | None
    suggestion_id: int | None
    readable: bool
    seen: bool
    drawn: BlindPair | None
    first: bool
    others: int
    entry: QueueEntry | None
    graders: int
    settled: bool

    @property
    def people_only(self) -> bool:
        """Whether only people judge its question."""
        return self.split in PEOPLE_ONLY

    @property
    def has_room(self) -> bool:
        """Whether fewer others hold it than people are wanted, one where the queue wants none or is not asked."""
        return self.others < (1 if self.entry is None or self.drawn is not None else max(1, self.entry.open))

    @property
    def outlived(self) -> bool:
        """Whether its place in the queue wants more people than are left to ask: somebody answered while the queue was
        computed, and was not seen to.
        """
        if self.entry is None or self.drawn is not None:
            return False
        return self.entry.open > (0 if self.settled else max(0, self.entry.wanted - self.graders))

    @property
    def spoilt(self) -> bool:
        """Whether it is in a sample or a spot check, and this person has seen what was proposed for it."""
        return self.drawn is not None and self.seen


def hold_pair(
    session: Session, *, pair_id: int, criterion: Criterion, person_id: int, now: datetime
) -> DeskPair | None:
    """The pair as it stands, with its place in the queue held, so that it has room until the transaction ends; None
    when there is no such pair.
    """
    if locks_rows(session):
        lock_entry(session, pair_id=pair_id, criterion=criterion)
    return look_at_pair(session, pair_id=pair_id, criterion=criterion, person_id=person_id, now=now)


def look_at_pair(
    session: Session, *, pair_id: int, criterion: Criterion, person_id: int, now: datetime
) -> DeskPair | None:
    """The pair as it stands, with nothing held."""
    row = session.execute(
        _look(criterion),
        {"pair": pair_id, "person": person_id, "now": now, "version": active_version(session, criterion)},
        execution_options={"populate_existing": True},
    ).one_or_none()
    if row is None:
        return None
    split, suggestion_id, status, seen, batch_id, certificate_id, first, others, entry, graders, settled = row
    drawn = None
    if batch_id is not None or certificate_id is not None:
        drawn = BlindPair(batch_id, None if batch_id is not None else certificate_id)
    return DeskPair(
        pair_id=pair_id,
        split=split,
        suggestion_id=suggestion_id,
        readable=status is SuggestionStatus.OK,
        seen=bool(seen),
        drawn=drawn,
        first=bool(first),
        others=others,
        entry=entry,
        graders=graders or 0,
        settled=bool(settled),
    )


@cache
def _look(criterion: Criterion) -> sa.Select[Any]:
    pair: sa.BindParameter[int] = sa.bindparam("pair")
    seen = sa.exists().where(
        SeenPair.pair_id == pair, SeenPair.criterion == criterion, SeenPair.person_id == sa.bindparam("person")
    )
    sampled = locked_pairs(criterion).where(BatchPair.pair_id == pair).with_only_columns(BatchPair.batch_id)
    checked = waiting_spot_checks(criterion).where(SpotCheck.pair_id == pair)
    first = waiting_first(criterion).where(JudgeFirst.pair_id == pair).with_only_columns(JudgeFirst.pair_id)
    others = others_hold(pair, criterion).with_only_columns(sa.func.count(Lease.pair_id))
    return (
        sa.select(
            QueryCluster.split,
            PairState.suggestion_id,
            Suggestion.status,
            seen,
            sampled.correlate(None).limit(1).scalar_subquery(),
            checked.with_only_columns(SpotCheck.certificate_id).correlate(None).limit(1).scalar_subquery(),
            first.correlate(None).exists(),
            others.correlate(None).scalar_subquery(),
            QueueEntry,
            PairState.graders,
            sa.or_(PairState.flagged, PairState.curated_source == LabelSource.ADJUDICATED),
        )
        .select_from(Pair)
        .join(Query, Query.id == Pair.query_id)
        .join(QueryCluster, QueryCluster.id == Query.cluster_id)
        .outerjoin(PairState, sa.and_(PairState.pair_id == Pair.id, PairState.criterion == criterion))
        .outerjoin(Suggestion, Suggestion.id == PairState.suggestion_id)
        .outerjoin(
            QueueEntry,
            sa.and_(
                QueueEntry.pair_id == Pair.id,
                QueueEntry.criterion == criterion,
                QueueEntry.version == sa.bindparam("version"),
            ),
        )
        .where(Pair.id == pair)
    )
