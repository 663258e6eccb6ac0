"""Calibrators: fitted on blind reviews alone, measured on questions they never saw, stored and never changed.

A calibrator is for one judge row, which means one model and prompt version, and one kind of confidence. Until it is
fitted the judge is *uncalibrated* and cannot be certified.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.calibration import Calibrator, JudgedInput, cross_fit, fit_calibrator
from annotator.calibration_features import raw_p_relevant
from annotator.calibration_measures import CalibrationReport, Interval, ReliabilityBin, measure
from annotator.types import ConfidenceKind, Criterion, Scale
from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid, NothingToDo
from app.services.certificate_views import CalibrationView, JudgeStanding
from app.services.judged import judged_inputs
from db.enums import Split
from db.models import Batch, Certificate, JudgeRow
from db.models import Calibrator as StoredCalibrator
from db.queries import calibrating as queries
from db.queries.audits import is_open, is_suspended
from db.queries.queue_building import mark_behind
from db.queries.suspending import hold_scale, suspend_certificates, void_batches

FOLDS = 10
"""Parts for cross-fitting; every question is in one of them. Our choice."""

CALIBRATING = (Split.CALIBRATE,)
"""Questions that calibrators are fitted on unless asked otherwise: those no batch can hold."""


def list_judges(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> tuple[JudgeStanding, ...]:
    """Every judge that proposed, the one behind most current suggestions first."""
    with workspace.sessions.read() as session:
        return tuple(
            _standing(session, judge, n_current=n, criterion=criterion, scale=workspace.scale)
            for judge, n in queries.list_judges(session, criterion=criterion)
        )


def get_main_judge(workspace: Workspace, session: Session, *, criterion: Criterion) -> JudgeStanding | None:
    """The certifiable judge behind most current suggestions, which is what `find_judge` finds; None without one."""
    for judge, n in queries.list_judges(session, criterion=criterion):
        if judge.certifiable:
            return _standing(session, judge, n_current=n, criterion=criterion, scale=workspace.scale)
    return None


def find_judge(workspace: Workspace, named: str | None, *, criterion: Criterion = Criterion.RELEVANCE) -> int:
    """The id of the judge meant by an id or a name; None means the certifiable one behind most current suggestions.

    Without a certifiable judge, None means the one behind most current suggestions. Of several with one name (prompt
    versions), it is the one behind most current suggestions, then the newest.

    Raises:
        NothingToDo: no judge has proposed anything.
        InputInvalid: no judge is called so.
    """
    judges = list_judges(workspace, criterion=criterion)
    if not judges:
        raise NothingToDo("no judge has proposed anything yet", user_message="Label first: relabel label")
    if named is None:
        return next((judge for judge in judges if judge.certifiable), judges[0]).judge_id
    for judge in judges:
        if named in (str(judge.judge_id), judge.name):
            return judge.judge_id
    raise InputInvalid(f"there is no judge {named!r}; there are {', '.join(f'{j.judge_id} {j.name}' for j in judges)}")


def _standing(
    session: Session, judge: JudgeRow, *, n_current: int, criterion: Criterion, scale: Scale
) -> JudgeStanding:
    kind = queries.main_kind(session, judge.id)
    (n_blind, n_blind_queries), calibrator = (0, 0), None
    if kind is not None:
        n_blind, n_blind_queries = queries.count_reviewed(
            session, judge_id=judge.id, kind=kind, criterion=criterion, splits=CALIBRATING
        )
        calibrator = queries.get_calibrator(session, judge_id=judge.id, kind=kind, criterion=criterion, scale=scale)
    return JudgeStanding(
        judge_id=judge.id,
        name=judge.name,
        judge_kind=judge.kind,
        model=judge.model,
        prompt_version=judge.prompt_version,
        certifiable=judge.certifiable,
        kind=kind,
        n_current=n_current,
        n_blind=n_blind,
        n_blind_queries=n_blind_queries,
        calibrator_id=None if calibrator is None else calibrator.id,
    )


def calibrate(
    workspace: Workspace,
    *,
    judge_id: int,
    kind: ConfidenceKind | None = None,
    with_train: bool = False,
    replace: bool = False,
    criterion: Criterion = Criterion.RELEVANCE,
) -> CalibrationView:
    """Fits, measures and stores the calibrator of a judge; the same reviews give the same one and store nothing.

    `with_train` also takes blind reviews of train questions; no batch with one of those questions can then be
    certified with it. `replace` allows another calibrator to take the place of one that certificates or open batches
    rest on: they are suspended and closed.

    Raises:
        NothingToDo: the judge states no confidence.
        CalibrationImpossible: too few blind reviews, questions, or answers of one side.
        Conflict: certificates or open batches rest on the one that holds, and `replace` is not set.
    """
    hold_scale(workspace.sessions, workspace.scale, workspace.now())
    splits = (*CALIBRATING, Split.TRAIN) if with_train else CALIBRATING
    with workspace.sessions.read() as session:
        judge = queries.get_judge_or_raise(session, judge_id)
        wanted = kind or queries.main_kind(session, judge_id)
        if wanted is None:
            raise NothingToDo(f"the judge {judge.name!r} states no confidence, so there is nothing to calibrate")
        reviewed = queries.list_reviewed(session, judge_id=judge_id, kind=wanted, criterion=criterion, splits=splits)
        inputs = judged_inputs(session, [row for row, _ in reviewed])
    scale = workspace.scale
    relevant = [scale.is_relevant(human) for _, human in reviewed]
    of_query = [row.query_id for row, _ in reviewed]
    fitted = fit_calibrator(inputs, relevant, of_query, scale=scale, kind=wanted)
    parameters = {
        "calibrator": fitted.to_json(),
        "version": fitted.version,
        "queries": sorted(set(of_query)),
        "measured": _measured(workspace, inputs, relevant, of_query, kind=wanted),
    }
    with workspace.sessions.begin() as session:
        held = queries.get_calibrator(
            session, judge_id=judge_id, kind=wanted, criterion=criterion, scale=workspace.scale
        )
        if held is None or held.parameters != parameters:
            if held is not None:
                _retire(session, workspace, held, replace=replace)
            session.add(
                StoredCalibrator(
                    judge_id=judge_id,
                    confidence_kind=wanted,
                    criterion=criterion,
                    parameters=parameters,
                    n_reviews=len(reviewed),
                    created_at=workspace.now(),
                )
            )
            mark_behind(session, criterion=criterion, now=workspace.now())  # its order goes by the raw confidence
    return get_calibration(workspace, judge_id=judge_id, kind=wanted, criterion=criterion)


def _retire(session: Session, workspace: Workspace, held: StoredCalibrator, *, replace: bool) -> None:
    certificates = session.scalars(
        sa.select(Certificate).where(
            Certificate.calibrator_id == held.id, Certificate.threshold.is_not(None), ~is_suspended()
        )
    ).all()
    batches = session.scalars(sa.select(Batch).where(Batch.calibrator_id == held.id, is_open())).all()
    if not certificates and not batches:
        return
    if not replace:
        raise Conflict(
            f"calibrator {held.id} carries {len(certificates)} certificates and {len(batches)} open batches",
            user_message=(
                f"{len(certificates)} certificates and {len(batches)} open batches rest on the calibrator that holds. "
                "Another one would suspend and close them, and what they accepted would go back to people. "
                "Say so if that is meant: relabel calibrate --replace"
            ),
        )
    reason = f"calibrator {held.id}, which it rests on, was replaced"
    suspend_certificates(session, certificates, reason=reason, now=workspace.now())
    void_batches(session, batches, reason=reason, now=workspace.now())


def _measured(
    workspace: Workspace,
    inputs: Sequence[JudgedInput],
    relevant: Sequence[bool],
    of_query: Sequence[int],
    *,
    kind: ConfidenceKind,
) -> dict[str, Any]:
    scale = workspace.scale
    p = cross_fit(inputs, relevant, of_query, scale=scale, kind=kind, folds=FOLDS)
    raw = np.array([raw_p_relevant(one, scale, kind) for one in inputs])
    correct = [scale.is_relevant(one.grade) == answer for one, answer in zip(inputs, relevant, strict=True)]
    reports = {
        "calibrated": asdict(measure(p, relevant, correct, of_query)),
        "raw": asdict(measure(raw, relevant, correct, of_query)),
    }
    stored: dict[str, Any] = json.loads(json.dumps(reports, allow_nan=False))  # as it comes back, to be compared
    return stored


def get_calibration(
    workspace: Workspace,
    *,
    judge_id: int,
    kind: ConfidenceKind | None = None,
    criterion: Criterion = Criterion.RELEVANCE,
) -> CalibrationView:
    """The calibrator that holds for a judge, with its measures; without one, all of these are None.

    Raises:
        NotFound: there is no such judge.
    """
    with workspace.sessions.read() as session:
        judge = queries.get_judge_or_raise(session, judge_id)
        n_current = {j.id: n for j, n in queries.list_judges(session, criterion=criterion)}.get(judge_id, 0)
        standing = _standing(session, judge, n_current=n_current, criterion=criterion, scale=workspace.scale)
        wanted = kind or standing.kind
        held = (
            None
            if wanted is None
            else queries.get_calibrator(
                session, judge_id=judge_id, kind=wanted, criterion=criterion, scale=workspace.scale
            )
        )
    if held is None:
        return CalibrationView(standing, None, wanted, 0, 0, None, None, None)
    measured = held.parameters["measured"]
    return CalibrationView(
        standing=standing,
        calibrator_id=held.id,
        kind=wanted,
        n_reviews=held.n_reviews,
        n_queries=len(held.parameters["queries"]),
        calibrated=_report(measured["calibrated"]),
        raw=_report(measured["raw"]),
        created_at=held.created_at,
    )


def load_calibrator(stored: StoredCalibrator) -> Calibrator:
    """The calibrator that a row holds.

    Raises:
        CalibratorInvalid: it was stored by a version of Relabel that kept it otherwise.
    """
    return Calibrator.from_json(str(stored.parameters.get("calibrator", "")))


def _report(stored: dict[str, Any]) -> CalibrationReport:
    intervals = {
        name: None if stored[name] is None else Interval(**stored[name])
        for name in ("ece", "brier", "auroc_correct", "auroc_relevant")
    }
    bins = tuple(ReliabilityBin(**each) for each in stored["bins"])
    return CalibrationReport(**{**stored, **intervals, "bins": bins})
