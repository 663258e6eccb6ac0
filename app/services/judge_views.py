"""What the comparison of judges hands to screens and the command line: frozen values with no behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from annotator.types import ConfidenceKind, Criterion
from app.services.views import JudgeView
from db.enums import Split


@dataclass(frozen=True, slots=True)
class IntervalView:
    """A share or a coefficient with its 95 % bootstrap interval by question; None bounds when there are too few."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ClassView:
    """One class, relevant or not. precision: of `n_proposed` pairs put there by the judge, the share people agree with.

    recall: of the `n_human` pairs that people put there, the share the judge found.
    """

    n_proposed: int
    n_human: int
    precision: IntervalView | None
    recall: IntervalView | None


@dataclass(frozen=True, slots=True)
class BelievedView:
    """How far probabilities can be believed: ECE and Brier lower is better, AUROC of being right higher is better.

    `ece_if_perfect` is what exactly right probabilities would show on so few reviews.
    """

    ece: IntervalView
    ece_if_perfect: float
    brier: IntervalView
    auroc: IntervalView | None


@dataclass(frozen=True, slots=True)
class ComparedJudge:
    """One judge on the common pairs.

    `n` pairs that every compared judge answered readably; `n_unreadable` of the `n_answered` common pairs it did not.
    `behind_best`: its accuracy less that of the most accurate judge, paired by question; None for that judge itself.
    `raw` and `calibrated` rest on `n_confidence` pairs with a confidence of `confidence_kind`; a missing `calibrated`
    says why in `calibration_note`. `usd_per_1000` is None when the price is unknown; replies that came from the cache
    count as if they were paid.
    """

    id: int
    judge: JudgeView
    n: int
    n_answered: int
    n_unreadable: int
    accuracy: IntervalView
    behind_best: IntervalView | None
    relevant: ClassView
    irrelevant: ClassView
    kappa: IntervalView | None
    kappa_sides: IntervalView | None
    confidence_kind: ConfidenceKind | None
    n_confidence: int
    raw: BelievedView | None
    calibrated: BelievedView | None
    calibration_note: str
    tokens_per_pair: float
    usd_per_1000: float | None


@dataclass(frozen=True, slots=True)
class OtherJudge:
    """A judge that is not compared, and how many of the reviewed pairs it labelled."""

    id: int
    judge: JudgeView
    n_labelled: int


@dataclass(frozen=True, slots=True)
class JudgeComparison:
    """Judges on the same blind reviews of one split.

    `n_reviews` pairs were graded blind, `n_relevant` of them relevant; `n_common` of `n_questions` questions were
    labelled by every compared judge, the other `n_left_out` were not. `n_readable`: common pairs that all of them
    answered readably.
    """

    criterion: Criterion
    split: Split
    n_reviews: int
    n_relevant: int
    n_common: int
    n_readable: int
    n_questions: int
    n_left_out: int
    judges: tuple[ComparedJudge, ...]
    others: tuple[OtherJudge, ...]
