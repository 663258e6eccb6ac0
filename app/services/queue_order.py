"""Building the audit queue aside: read, ordered and written while people go on reviewing, then served at once.

What a pair is worth and why it is in the queue is said in `db.queries.queue_values`; here the settings, the live model
and the calibrators are put to it. Transactions that do something else use `db.queries.queue_building.rebuild_queue`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.calibration import Calibrator
from annotator.errors import AnnotatorError
from annotator.types import ConfidenceKind, Criterion
from app.bootstrap import Workspace
from app.services.calibrating import load_calibrator
from app.services.dense_systems import list_dense_systems
from app.services.judged import judged_inputs
from db.enums import QueueCause
from db.models import Candidate, Pair, Suggestion
from db.queries import queue_building as building
from db.queries import queue_places
from db.queries.calibrating import JUDGED_COLUMNS, JudgedRow, judged_row, list_calibrators
from db.queries.queue_signals import (
    Floats,
    Ids,
    QueueSettings,
    Signals,
    keep_queue_settings,
    last_review,
    read_signals,
)
from db.queries.queue_values import order_queue

_SOME = 500


@dataclass(frozen=True, slots=True)
class CauseCount:
    """How many pairs of the queue still want somebody for one cause."""

    cause: QueueCause
    pairs: int


@dataclass(frozen=True, slots=True)
class QueueView:
    """The served queue: its version, the pairs that still want somebody, by cause, and whether pairs came back to
    people since it was built, so that it should be built anew.
    """

    criterion: Criterion
    version: int
    pairs: int
    causes: tuple[CauseCount, ...]
    behind: bool


def get_queue(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> QueueView:
    """The length of the served queue by cause; what is drawn at random for certificates is served before it."""
    with workspace.sessions.read() as session:
        counts = building.count_by_cause(session, criterion=criterion)
        return QueueView(
            criterion=criterion,
            version=queue_places.active_version(session, criterion),
            pairs=sum(n for _, n in counts),
            causes=tuple(CauseCount(cause, n) for cause, n in counts),
            behind=building.is_behind(session, criterion),
        )


def queue_settings(workspace: Workspace, session: Session) -> QueueSettings:
    """What the workspace's queue is made with."""
    settings = workspace.settings
    return QueueSettings(
        max_grade=settings.max_grade,
        relevant_from=settings.relevant_from,
        overlap=settings.overlap,
        overlap_share=settings.overlap_share,
        explored=settings.explored,
        systems=list_dense_systems(session),
    )


def rebuild(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> int:
    """Builds the queue anew and serves it; returns how many pairs wait in it.

    Nobody at the desk waits for more than a few thousand rows to be written. Grades given meanwhile count. Of several
    that build at once the newest wins; a killed one leaves rows that the next one deletes.
    """
    with workspace.sessions.begin() as session:
        settings = queue_settings(workspace, session)
        keep_queue_settings(session, criterion, settings, now=workspace.now())
        version = building.reserve_version(session, criterion=criterion, now=workspace.now())
    with workspace.sessions.read() as session:
        seen = last_review(session)
        signals = read_signals(session, criterion=criterion, settings=settings)
        calibrators = _calibrators(workspace, session, criterion)
        order = order_queue(signals, settings, lambda known, at: _calibrated(session, calibrators, known, at))
    for entries in building.entry_chunks(signals, order, criterion=criterion, version=version):
        with workspace.sessions.begin() as session:
            building.insert_chunk(session, entries)
    with workspace.sessions.begin() as session:
        served = building.serve_version(
            session, criterion=criterion, version=version, length=len(order), seen=seen, now=workspace.now()
        )
        if not served:
            building.delete_version(session, criterion=criterion, version=version)
    with workspace.sessions.begin() as session:  # who overturned a label while it was switched has done so by now
        building.settle_since(session, criterion=criterion, seen=seen, now=workspace.now())
    while True:
        with workspace.sessions.begin() as session:
            if not building.delete_old(session, criterion=criterion):
                break
    return get_queue(workspace, criterion=criterion).pairs


def renew(workspace: Workspace) -> None:
    """To be called when another model went live: the order is made for it, by the worker where the queue is long."""
    for criterion in Criterion:
        with workspace.sessions.read() as session:
            served = queue_places.active_version(session, criterion)
            long = building.is_long(session, criterion)
        if not served:
            continue
        if not long:
            rebuild(workspace, criterion=criterion)
            continue
        with workspace.sessions.begin() as session:
            building.mark_behind(session, criterion=criterion, now=workspace.now())


def catch_up(workspace: Workspace) -> int:
    """Builds the queues anew that are behind; returns how many were."""
    with workspace.sessions.read() as session:
        behind = [criterion for criterion in Criterion if building.is_behind(session, criterion)]
    for criterion in behind:
        rebuild(workspace, criterion=criterion)
    return len(behind)


def _calibrators(
    workspace: Workspace, session: Session, criterion: Criterion
) -> dict[tuple[int, ConfidenceKind], Calibrator]:
    found = {}
    for stored in list_calibrators(session, criterion=criterion, scale=workspace.scale):
        try:
            found[stored.judge_id, stored.confidence_kind] = load_calibrator(stored)
        except AnnotatorError:  # of another version of Relabel: the judge's own number is used
            continue
    return found


def _calibrated(
    session: Session, calibrators: dict[tuple[int, ConfidenceKind], Calibrator], signals: Signals, at: Ids
) -> Floats:
    """p(relevant) of these places in the signals by their judges' calibrators, NaN where none stands."""
    p = np.full(len(at), np.nan)
    judges = np.array(sorted({judge_id for judge_id, _ in calibrators}), dtype=np.int64)
    asked = np.flatnonzero(np.isin(signals.judge_id[at], judges))
    for start in range(0, len(asked), building.CHUNK):
        some = asked[start : start + building.CHUNK]
        of_suggestion = dict(zip(signals.suggestion_id[at[some]].tolist(), some.tolist(), strict=True))
        by_calibrator: dict[tuple[int, ConfidenceKind], list[JudgedRow]] = {}
        for judge_id, row in _rows(session, list(of_suggestion)):
            if row.kind is not None and (judge_id, row.kind) in calibrators:
                by_calibrator.setdefault((judge_id, row.kind), []).append(row)
        for key, rows in by_calibrator.items():
            try:
                said = calibrators[key].p_relevant(judged_inputs(session, rows))
            except AnnotatorError:  # fitted on another number of votes, say
                continue
            p[[of_suggestion[row.suggestion_id] for row in rows]] = said
    return p


def _rows(session: Session, suggestion_ids: Sequence[int]) -> list[tuple[int, JudgedRow]]:
    found = []
    for start in range(0, len(suggestion_ids), _SOME):
        rows = session.execute(
            sa.select(*JUDGED_COLUMNS, Suggestion.judge_id)
            .select_from(Suggestion)
            .join(Pair, Pair.id == Suggestion.pair_id)
            .outerjoin(Candidate, Candidate.pair_id == Pair.id)
            .where(Suggestion.id.in_(suggestion_ids[start : start + _SOME]), Suggestion.grade.is_not(None))
            .order_by(Suggestion.id)
        )
        found += [(int(row.judge_id), judged_row(row)) for row in rows]
    return found
