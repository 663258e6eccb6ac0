"""From a judge's raw confidence to the probability that a blind human would say relevant.

One calibrator a judge, prompt version and kind of confidence, fitted on blind reviews only. Few reviews are the normal
case, so every form is shrunk toward the raw confidence: without evidence nothing changes. How good the result is, is
measured in `calibration_measures`; what goes in, is `calibration_features`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.calibration_features import FeatureTable, JudgedInput, feature_table, lowest_coefficient
from annotator.errors import CalibrationImpossible, CalibratorInvalid, InputRefused
from annotator.shrunk_logistic import Floats, expit, fit_shrunk_logistic, log_loss
from annotator.types import ConfidenceKind, Scale

__all__ = ["FORMS", "Calibrator", "JudgedInput", "cross_fit", "fit_calibrator", "folds_by_query"]

FORMS = ("slope", "sides", "all")
"""What may be learnt, simplest first: one slope and shift; a slope and shift on each side; every feature."""

PENALTIES = (32.0, 8.0, 2.0, 0.5)
"""How strongly coefficients are held at the raw confidence, strongest first: 1 / variance of a normal prior."""

SHIFT_PENALTY = 0.1
INNER_FOLDS = 10
MIN_REVIEWS = 30
MIN_QUERIES = 3
MIN_OF_EACH = 3
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A fitted map from suggestions of one judge to probabilities; immutable, and the same after a JSON round trip.

    names, centres, scales, coefficients: the features it uses, how they are standardised, and their weights.
    shift: added to the log-odds. n_votes: votes an input must carry. n_reviews, n_queries, n_relevant: what it was
    fitted on. form, penalty: chosen among `FORMS` and `PENALTIES` on the training reviews alone.
    """

    kind: ConfidenceKind
    max_grade: int
    relevant_from: int
    form: str
    penalty: float
    names: tuple[str, ...]
    centres: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    shift: float
    n_votes: int
    n_reviews: int
    n_queries: int
    n_relevant: int

    def p_relevant(self, inputs: Sequence[JudgedInput]) -> Floats:
        """Probability that a blind human says relevant, (n,) float64 in (0, 1).

        Formula: expit(logit(raw) + shift + Σ_j coefficient_j (x_j − centre_j) / scale_j); an unknown x_j adds nothing.

        Raises:
            InputRefused: an input of another kind of confidence, scale or number of votes.
        """
        if not inputs:
            return np.zeros(0)
        if len(inputs[0].votes) != self.n_votes:
            raise InputRefused(f"{len(inputs[0].votes)} votes for a calibrator fitted on {self.n_votes}")
        table = feature_table(inputs, Scale(self.max_grade, self.relevant_from), self.kind)
        at = [table.names.index(name) for name in self.names]
        values = (table.values[:, at] - np.array(self.centres)) / np.array(self.scales)
        eta = table.offset + self.shift + np.nan_to_num(values) @ np.array(self.coefficients)
        return np.clip(expit(eta), 1e-9, 1.0 - 1e-9)

    def confidence(self, inputs: Sequence[JudgedInput], scale: Scale) -> Floats:
        """Probability that a blind human is on the side of the proposed grade, (n,) float64 in (0, 1).

        Raises:
            InputRefused: as `p_relevant`, or another scale than the one it was fitted on.
        """
        if (scale.max_grade, scale.relevant_from) != (self.max_grade, self.relevant_from):
            raise InputRefused(
                f"the calibrator was fitted on 0..{self.max_grade}, relevant from {self.relevant_from}; "
                f"the scale is 0..{scale.max_grade}, relevant from {scale.relevant_from}"
            )
        p = self.p_relevant(inputs)
        side = np.array([scale.is_relevant(one.grade) for one in inputs], dtype=bool)
        return np.where(side, p, 1.0 - p)

    def to_json(self) -> str:
        """All of it as canonical JSON: equal calibrators give equal text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Calibrator:
        """The calibrator that `to_json` wrote.

        Raises:
            CalibratorInvalid: anything else.
        """
        try:
            stored = json.loads(text)
            if stored.pop("format") != FORMAT:
                raise CalibratorInvalid(f"the calibrator is not of format {FORMAT}; fit it again")
            several = ("names", "centres", "scales", "coefficients")
            made = cls(
                **{
                    **stored,
                    **{name: tuple(stored[name]) for name in several},
                    "kind": ConfidenceKind(stored["kind"]),
                }
            )
            Scale(made.max_grade, made.relevant_from)
        except CalibratorInvalid:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise CalibratorInvalid(f"not a stored calibrator: {exc!r}; fit it again") from exc
        numbers = (*made.centres, *made.scales, *made.coefficients, made.shift)
        if len({len(stored[name]) for name in several}) != 1 or not all(map(math.isfinite, numbers)):
            raise CalibratorInvalid("a stored calibrator has uneven or infinite parameters; fit it again")
        return made

    @property
    def version(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def fit_calibrator(
    inputs: Sequence[JudgedInput],
    relevant: Sequence[bool],
    queries: Sequence[Hashable],
    *,
    scale: Scale,
    kind: ConfidenceKind,
    forms: Sequence[str] = FORMS,
    penalties: Sequence[float] = PENALTIES,
    min_reviews: int = MIN_REVIEWS,
    min_queries: int = MIN_QUERIES,
) -> Calibrator:
    """A calibrator fitted on blind reviews: `relevant[i]` is what a person said of `inputs[i]`, of query `queries[i]`.

    Form and penalty are those with the lowest log loss when cross-fitted by query inside these reviews; the first of
    equals, which is the simplest and most shrunk. Logistic, slopes never negative: a surer judge is never believed
    less. Deterministic.

    Source: with two slopes this is beta calibration (Kull et al. 2017) up to the offset; the shrinkage toward the raw
    confidence, the features and the choice by query are ours.

    Raises:
        CalibrationImpossible: too few reviews or queries, or too few answers of one class.
        InputRefused: inputs of different kinds, scales or numbers of votes.
    """
    if not len(inputs) == len(relevant) == len(queries):
        raise InputRefused(f"{len(inputs)} inputs, {len(relevant)} answers and {len(queries)} queries; one of each")
    _require(relevant, queries, min_reviews=min_reviews, min_queries=min_queries)
    y = np.asarray(relevant, dtype=np.float64)
    table = feature_table(inputs, scale, kind)
    designs = {form: _Design.of(table, form) for form in forms}
    choices = [(form, penalty) for form in forms for penalty in penalties]
    form, penalty = choices[0] if len(choices) == 1 else _choose(choices, designs, table.offset, y, queries)
    design = designs[form]
    beta = design.fit(table.offset, y, penalty)
    return Calibrator(
        kind=kind,
        max_grade=scale.max_grade,
        relevant_from=scale.relevant_from,
        form=form,
        penalty=float(penalty),
        names=design.names,
        centres=tuple(map(float, design.centres)),
        scales=tuple(map(float, design.scales)),
        coefficients=tuple(map(float, beta[1:])),
        shift=float(beta[0]),
        n_votes=len(inputs[0].votes),
        n_reviews=len(inputs),
        n_queries=len(set(queries)),
        n_relevant=int(y.sum()),
    )


def cross_fit(
    inputs: Sequence[JudgedInput],
    relevant: Sequence[bool],
    queries: Sequence[Hashable],
    *,
    scale: Scale,
    kind: ConfidenceKind,
    folds: int | None = None,
    forms: Sequence[str] = FORMS,
    penalties: Sequence[float] = PENALTIES,
) -> Floats:
    """p(relevant) of each input from a calibrator that saw no review of its query, (n,) float64 in (0, 1).

    folds: parts into which the queries are cut; None leaves out one query at a time. Everything, the choice of form
    included, happens inside the training part.

    Raises:
        CalibrationImpossible: a training part has too few reviews, queries or answers of one class.
        InputRefused: as `fit_calibrator`.
    """
    _require(relevant, queries, min_reviews=MIN_REVIEWS, min_queries=MIN_QUERIES + 1)
    fold = folds_by_query(queries, len(set(queries)) if folds is None else folds)
    p = np.full(len(inputs), np.nan)
    for part in range(int(fold.max()) + 1):
        inside = np.flatnonzero(fold != part).tolist()
        outside = np.flatnonzero(fold == part).tolist()
        calibrator = fit_calibrator(
            [inputs[i] for i in inside],
            [relevant[i] for i in inside],
            [queries[i] for i in inside],
            scale=scale,
            kind=kind,
            forms=forms,
            penalties=penalties,
        )
        p[outside] = calibrator.p_relevant([inputs[i] for i in outside])
    return p


def folds_by_query(queries: Sequence[Hashable], folds: int) -> NDArray[np.int64]:
    """The fold, 0 .. folds − 1, of each review, (n,) int64: all reviews of a query in one, folds about equally large.

    The largest queries are dealt first, each to the smallest fold; deterministic.

    Raises:
        ValueError: fewer than 2 folds.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}; it must be 2 or more")
    sizes = Counter(queries)
    filled = [0] * min(folds, len(sizes))
    fold_of: dict[Hashable, int] = {}
    for query, size in sizes.most_common():
        fold_of[query] = filled.index(min(filled))
        filled[fold_of[query]] += size
    return np.array([fold_of[query] for query in queries], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Design:
    """The columns of one form, standardised; the first column of the matrix is the shift."""

    names: tuple[str, ...]
    centres: Floats
    scales: Floats
    matrix: Floats

    @classmethod
    def of(cls, table: FeatureTable, form: str) -> _Design:
        wanted = {
            "slope": ("raw",),
            "sides": ("irrelevant.raw", "relevant.raw", "side"),
            "all": tuple(name for name in table.names if name != "raw"),
        }[form]
        names, centres, scales, columns = [], [], [], [np.ones(len(table.offset))]
        for name in wanted:
            column = table.values[:, table.names.index(name)]
            known = column[~np.isnan(column)]
            if not known.size or float(known.max()) == float(known.min()):
                continue
            raw = name.endswith("raw")
            centre, spread = (0.0, 1.0) if raw else (float(known.mean()), float(known.std()))
            names.append(name)
            centres.append(centre)
            scales.append(spread)
            columns.append(np.nan_to_num((column - centre) / spread))
        return cls(tuple(names), np.array(centres), np.array(scales), np.column_stack(columns))

    def fit(self, offset: Floats, y: Floats, penalty: float, rows: NDArray[np.int64] | None = None) -> Floats:
        penalties = np.array([SHIFT_PENALTY, *(penalty for _ in self.names)])
        lowest = np.array([-math.inf, *map(lowest_coefficient, self.names)])
        at = slice(None) if rows is None else rows
        return fit_shrunk_logistic(self.matrix[at], offset[at], y[at], penalties=penalties, lowest=lowest)


def _choose(
    choices: Sequence[tuple[str, float]],
    designs: dict[str, _Design],
    offset: Floats,
    y: Floats,
    queries: Sequence[Hashable],
) -> tuple[str, float]:
    """The form and penalty of the lowest cross-fitted log loss, by query; the first of equals."""
    fold = folds_by_query(queries, INNER_FOLDS)
    losses = []
    for form, penalty in choices:
        design = designs[form]
        loss = 0.0
        for part in range(int(fold.max()) + 1):
            inside, outside = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
            beta = design.fit(offset, y, penalty, inside)
            loss += float(log_loss(offset[outside] + design.matrix[outside] @ beta, y[outside]).sum())
        losses.append(loss)
    return choices[int(np.argmin(losses))]


def _require(relevant: Sequence[bool], queries: Sequence[Hashable], *, min_reviews: int, min_queries: int) -> None:
    n, n_relevant, n_queries = len(relevant), sum(map(bool, relevant)), len(set(queries))
    found = f"{n} blind reviews of {n_queries} queries, {n_relevant} of them relevant"
    if n < min_reviews or n_queries < min_queries:
        raise CalibrationImpossible(
            f"{found}: too few to calibrate; needed are {min_reviews} reviews of {min_queries} queries"
        )
    if min(n_relevant, n - n_relevant) < MIN_OF_EACH:
        raise CalibrationImpossible(f"{found}: needed are {MIN_OF_EACH} relevant and {MIN_OF_EACH} not relevant ones")
