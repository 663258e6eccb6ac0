"""What calibrating and certifying hand to screens and the command line: frozen values, with no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from annotator.audit_plan import ForeseenClass, PlanRow
from annotator.calibration_measures import CalibrationReport
from annotator.types import ConfidenceKind, JudgeKind

__all__ = [
    "BatchState",
    "BatchView",
    "CalibrationReport",
    "CalibrationView",
    "CertificateState",
    "CertificateView",
    "Forecast",
    "ForeseenClass",
    "IssueReport",
    "JudgeStanding",
    "PlanRow",
    "PlanView",
    "SpotCheckView",
    "ThresholdPoint",
]

BatchState = Literal["open", "certified", "refused", "closed"]
"""Open: audits wait. Certified: at least one class was. Refused: none. Closed: something it froze changed before."""

CertificateState = Literal["issued", "refused", "suspended"]


@dataclass(frozen=True, slots=True)
class JudgeStanding:
    """One judge, model and prompt version, and how far its confidence can be trusted.

    kind: of most of its confidences, None when it gives none. n_current: current suggestions on train questions.
    n_blind, n_blind_queries: blind reviews, and their questions, that a calibrator of this judge and kind could be
    fitted on. calibrator_id: the one that holds; None means *uncalibrated*.
    """

    judge_id: int
    name: str
    judge_kind: JudgeKind
    model: str
    prompt_version: str
    certifiable: bool
    kind: ConfidenceKind | None
    n_current: int
    n_blind: int
    n_blind_queries: int
    calibrator_id: int | None


@dataclass(frozen=True, slots=True)
class CalibrationView:
    """A judge's calibrator and how good it is; both reports None while it is uncalibrated.

    calibrated: cross-fitted by question, so no question is measured by a calibrator that saw it. raw: the judge's own
    confidence on the same reviews.
    """

    standing: JudgeStanding
    calibrator_id: int | None
    kind: ConfidenceKind | None
    n_reviews: int
    n_queries: int
    calibrated: CalibrationReport | None
    raw: CalibrationReport | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """What accepting one class at one calibrated confidence would mean: pairs accepted, that as a share of the class,
    and the share of them expected to be wrong if the calibrator is right (None when none is accepted)."""

    threshold: float
    relevant: bool
    n_accepted: int
    coverage: float
    expected_error: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Every threshold of both classes, falling; what is not accepted is left to people, at so many seconds each."""

    points: tuple[ThresholdPoint, ...]
    n_pairs: int
    n_relevant: int
    excluded: Mapping[str, int]
    seconds_per_review: float
    n_timed: int  # reviews the seconds were measured on; 0 means that they are assumed


@dataclass(frozen=True, slots=True)
class PlanView:
    """How many blind audits buy which error bound and coverage of this judge's batch, and the hours they cost."""

    judge: str
    n_pairs: int
    n_relevant: int
    excluded: Mapping[str, int]
    seconds_per_review: float
    n_timed: int
    rows: tuple[PlanRow, ...]


@dataclass(frozen=True, slots=True)
class BatchView:
    """One frozen batch. While it is open nothing is known of its errors, only how many audits are answered.

    excluded: why suggestions of the judge are not in it -> how many. attempt: which batch of this judge it is, from 1,
    closed ones counted; each attempt has its own chance δ of a broken promise.
    """

    id: int
    hash: str
    judge_id: int
    judge: str
    state: BatchState
    epsilon: float
    delta: float
    n_pairs: int
    n_audits: int
    n_answered: int
    attempt: int
    excluded: Mapping[str, int]
    person: str | None
    created_at: datetime
    note: str

    @property
    def n_to_go(self) -> int:
        """Audits still to be answered."""
        return self.n_audits - self.n_answered


@dataclass(frozen=True, slots=True)
class SpotCheckView:
    """Later blind looks at what a certificate accepted; `e_value` at 1/alpha or more raises the alarm."""

    n_drawn: int
    n_done: int
    n_wrong: int
    e_value: float
    alarm_from: float


@dataclass(frozen=True, slots=True)
class CertificateView:
    """One class of one batch: what is promised, and what became of it.

    recall_relevant: share of the batch's truly relevant pairs that are accepted as relevant, with its 95 % interval;
    an estimate, not part of the promise. coverage: of the class's pairs that nobody audited.
    """

    id: int
    batch_id: int | None
    batch_hash: str
    judge: str
    prompt_version: str
    calibrator_id: int | None
    relevant: bool
    state: CertificateState
    epsilon: float
    delta: float
    n_audits: int
    n_errors: int
    n_accepted: int
    n_class: int
    threshold: float | None
    coverage: float
    recall_relevant: float | None
    recall_interval: tuple[float, float] | None
    reason: str
    spot_checks: SpotCheckView | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class IssueReport:
    """What issuing did: the certificates of both classes, pairs accepted under them, pairs sent to people."""

    batch: BatchView
    certificates: tuple[CertificateView, ...]
    accepted: int
    rejected: int
    waiting: int
