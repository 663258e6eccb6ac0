"""Before any audit: what a batch of a judge would hold, what each threshold would accept, what audits would buy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from annotator.audit_design import Bools, Floats
from annotator.audit_plan import BUDGETS, EPSILONS, SECONDS_PER_AUDIT, plan_audits
from annotator.types import ConfidenceKind, Criterion
from app.bootstrap import Workspace
from app.errors import Conflict, NotAllowed, NothingToDo
from app.services.calibrating import load_calibrator
from app.services.certificate_views import Forecast, PlanView, ThresholdPoint
from app.services.judged import judged_inputs
from db.models import Calibrator, JudgeRow
from db.queries import calibrating as calibrating_queries
from db.queries import certifying as queries
from db.queries.calibrating import JudgedRow

TIMED_FROM = 20
"""Fewest timed blind reviews from which their median is believed. Our choice."""

LONGEST_SECONDS = 600.0
STEPS = 101


@dataclass(frozen=True, slots=True, eq=False)
class Freezable:
    """What a batch of a judge would be, frozen now; arrays in the order of `rows`, which is that of the pairs.

    predicted: (n,) bool, the side of the proposed grade. confidence: (n,) float64, the calibrated probability that a
    blind person is on that side.
    """

    judge: JudgeRow
    kind: ConfidenceKind
    calibrator: Calibrator
    rows: tuple[JudgedRow, ...]
    predicted: Bools
    confidence: Floats
    excluded: dict[str, int]


def load_freezable(
    workspace: Workspace, session: Session, *, judge_id: int, kind: ConfidenceKind | None, criterion: Criterion
) -> Freezable:
    """What a batch of this judge would hold now.

    Raises:
        NotFound: there is no such judge.
        NotAllowed: the judge cannot be certified, or is uncalibrated.
        Conflict: its calibrator was fitted on a question of the batch.
        NothingToDo: none of its suggestions can be in a batch.
    """
    judge = calibrating_queries.get_judge_or_raise(session, judge_id)
    if not judge.certifiable:
        raise NotAllowed(
            f"the judge {judge.name!r} is not certifiable",
            user_message=f"{judge.name} cannot be certified: it proposes and ranks, and is always uncertified.",
        )
    wanted = kind or calibrating_queries.main_kind(session, judge_id)
    calibrator = (
        None
        if wanted is None
        else calibrating_queries.get_calibrator(
            session, judge_id=judge_id, kind=wanted, criterion=criterion, scale=workspace.scale
        )
    )
    if wanted is None or calibrator is None:
        raise NotAllowed(
            f"the judge {judge.name!r} is uncalibrated ({wanted})",
            user_message=f"{judge.name} is uncalibrated, and cannot be certified before: relabel calibrate",
        )
    found = queries.list_batchable(session, judge_id=judge_id, kind=wanted, criterion=criterion)
    if not found.rows:
        raise NothingToDo(
            f"no suggestion of {judge.name!r} can be in a batch: {found.excluded}",
            user_message="This judge has no open suggestion on a train question that nobody has judged yet.",
        )
    seen = {int(query) for query in calibrator.parameters["queries"]}
    shared = seen.intersection(row.query_id for row in found.rows)
    if shared:
        raise Conflict(
            f"calibrator {calibrator.id} was fitted on {len(shared)} queries of the batch",
            user_message=(
                f"The calibrator was fitted on {len(shared)} of the questions that the batch would hold. It has to be "
                "fitted on other questions: relabel calibrate, without --with-train."
            ),
        )
    scale = workspace.scale
    inputs = judged_inputs(session, found.rows)
    return Freezable(
        judge=judge,
        kind=wanted,
        calibrator=calibrator,
        rows=found.rows,
        predicted=np.array([scale.is_relevant(row.grade) for row in found.rows], dtype=np.bool_),
        confidence=load_calibrator(calibrator).confidence(inputs, scale),
        excluded=found.excluded,
    )


def seconds_per_review(session: Session, *, criterion: Criterion) -> tuple[float, int]:
    """Seconds that a blind review takes here, and the reviews that say so; with too few, an assumption and 0."""
    seconds, n = calibrating_queries.median_seconds(session, criterion=criterion, at_most=LONGEST_SECONDS)
    return (seconds, n) if seconds is not None and n >= TIMED_FROM else (SECONDS_PER_AUDIT, 0)


def plan(
    workspace: Workspace,
    *,
    judge_id: int,
    kind: ConfidenceKind | None = None,
    epsilons: Sequence[float] = EPSILONS,
    budgets: Sequence[int] = BUDGETS,
    delta: float = 0.05,
    criterion: Criterion = Criterion.RELEVANCE,
) -> PlanView:
    """How many blind audits buy which ε and coverage of the batch that could be frozen now, and the hours they cost.

    Raises:
        NotFound, NotAllowed, Conflict, NothingToDo: as `load_freezable`.
        CertificateImpossible: the batch is smaller than every budget, or ε or δ is no share.
    """
    with workspace.sessions.read() as session:
        batch = load_freezable(workspace, session, judge_id=judge_id, kind=kind, criterion=criterion)
        seconds, n_timed = seconds_per_review(session, criterion=criterion)
    return PlanView(
        judge=batch.judge.name,
        n_pairs=len(batch.rows),
        n_relevant=int(batch.predicted.sum()),
        excluded=batch.excluded,
        seconds_per_review=seconds,
        n_timed=n_timed,
        rows=plan_audits(
            batch.predicted,
            batch.confidence,
            epsilons=epsilons,
            budgets=budgets,
            delta=delta,
            seconds_per_audit=seconds,
        ),
    )


def forecast_mark(workspace: Workspace, *, judge_id: int) -> tuple[int, ...]:
    """Changes whenever the forecast for this judge may; cheap, where the forecast looks at every pair."""
    with workspace.sessions.read() as session:
        return (judge_id, *queries.latest_ids(session))


def forecast(
    workspace: Workspace,
    *,
    judge_id: int,
    kind: ConfidenceKind | None = None,
    criterion: Criterion = Criterion.RELEVANCE,
) -> Forecast:
    """What accepting at each calibrated confidence would mean, as far as the calibrator is right; nothing is promised.

    Raises:
        NotFound, NotAllowed, Conflict, NothingToDo: as `load_freezable`.
    """
    with workspace.sessions.read() as session:
        batch = load_freezable(workspace, session, judge_id=judge_id, kind=kind, criterion=criterion)
        seconds, n_timed = seconds_per_review(session, criterion=criterion)
    points = []
    for relevant in (False, True):
        of_class = batch.confidence[batch.predicted == relevant]
        for threshold in np.linspace(1.0, 0.5, STEPS):
            accepted = of_class[of_class >= threshold]
            points.append(
                ThresholdPoint(
                    threshold=round(float(threshold), 3),
                    relevant=relevant,
                    n_accepted=len(accepted),
                    coverage=len(accepted) / len(of_class) if len(of_class) else 0.0,
                    expected_error=float((1.0 - accepted).mean()) if len(accepted) else None,
                )
            )
    return Forecast(
        points=tuple(points),
        n_pairs=len(batch.rows),
        n_relevant=int(batch.predicted.sum()),
        excluded=batch.excluded,
        seconds_per_review=seconds,
        n_timed=n_timed,
    )
