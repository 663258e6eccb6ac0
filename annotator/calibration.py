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

_COLUMNS = {"slope": ("raw",), "sides": ("irrelevant.raw", "relevant.raw", "side")}

PENALTIES = (32.0, 8.0, 2.0, 0.5)
"""How strongly coefficients are held at the raw confidence, strongest first: 1 / variance of a normal prior."""

SHIFT_PENALTY = 2.0
INNER_FOLDS = 10
DRAWS = 500
MIN_REVIEWS = 30
MIN_QUERIES = 3
MIN_OF_EACH = 3
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A fitted map from suggestions of one judge to probabilities; immutable, and the same after a JSON round trip.

    names, centres, scales, coefficients: the features it uses, how they are standardised, and their weights.
    shift: added to the log-odds. n_votes: votes an input must carry. n_reviews, n_queries, n_relevant: what it was
    fitted on. mixture: (form, penalty, weight) of what was averaged; weights sum to 1.
    """

    kind: ConfidenceKind
    max_grade: int
    relevant_from: int
    mixture: tuple[tuple[str, float, float], ...]
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
                    "mixture": tuple((form, penalty, weight) for form, penalty, weight in stored["mixture"]),
                    "kind": ConfidenceKind(stored["kind"]),
                }
            )
            probe = JudgedInput(0, None, None, votes=(None,) * made.n_votes)
            known = feature_table([probe], Scale(made.max_grade, made.relevant_from), made.kind).names
        except CalibratorInvalid:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise CalibratorInvalid(f"not a stored calibrator: {exc!r}; fit it again") from exc
        if unknown := set(made.names) - set(known):
            raise CalibratorInvalid(
                f"a stored calibrator uses {', '.join(sorted(unknown))}, unknown here; fit it again"
            )
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

    Every form is fitted at every penalty, and their log-odds are averaged, each weighted by how well it predicts
    reviews of queries it did not see, cross-fitted inside these reviews. All are logistic with slopes that are never
    negative: a surer judge is never believed less. Deterministic.

    Source: the weights are pseudo-BMA+ (Yao et al. 2018), the bootstrap over queries instead of points; with two slopes
    a form is beta calibration (Kull et al. 2017) up to the offset. Shrinking toward the raw confidence, the features
    and averaging log-odds are ours; on simulated judges averaging beat choosing one form at 60 to 600 reviews.

    Raises:
        CalibrationImpossible: too few reviews or queries, or too few answers of one class.
        InputRefused: inputs of different kinds, scales or numbers of votes.
    """
    if not len(inputs) == len(relevant) == len(queries):
        raise InputRefused(f"{len(inputs)} inputs, {len(relevant)} answers and {len(queries)} queries; one of each")
    _require(relevant, queries, min_reviews=min_reviews, min_queries=min_queries)
    y = np.asarray(relevant, dtype=np.float64)
    table = feature_table(inputs, scale, kind)
    designs = _designs(table, forms)
    members = [(form, float(penalty)) for form in designs for penalty in penalties]
    weights = _weights(members, designs, table.offset, y, queries)
    names = tuple(dict.fromkeys(name for design in designs.values() for name in _COLUMNS["sides"][:2] + design.names))
    names = tuple(name for name in names if name != "raw")
    standard = {name: at for design in designs.values() for name, at in design.standards()}
    coefficients = dict.fromkeys(names, 0.0)
    shift = 0.0
    for (form, penalty), weight in zip(members, weights, strict=True):
        beta = designs[form].fit(table.offset, y, penalty)
        shift += weight * float(beta[0])
        for name, value in zip(designs[form].names, beta[1:], strict=True):
            for target in _COLUMNS["sides"][:2] if name == "raw" else (name,):
                coefficients[target] += weight * float(value)
    return Calibrator(
        kind=kind,
        max_grade=scale.max_grade,
        relevant_from=scale.relevant_from,
        mixture=tuple((form, penalty, weight) for (form, penalty), weight in zip(members, weights, strict=True)),
        names=names,
        centres=tuple(standard.get(name, (0.0, 1.0))[0] for name in names),
        scales=tuple(standard.get(name, (0.0, 1.0))[1] for name in names),
        coefficients=tuple(coefficients.values()),
        shift=shift,
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
        wanted = _COLUMNS.get(form, tuple(name for name in table.names if name != "raw"))
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

    def standards(self) -> list[tuple[str, tuple[float, float]]]:
        return list(zip(self.names, zip(self.centres.tolist(), self.scales.tolist(), strict=True), strict=True))

    def fit(
        self,
        offset: Floats,
        y: Floats,
        penalty: float,
        *,
        rows: NDArray[np.int64] | None = None,
        start: Floats | None = None,
    ) -> Floats:
        penalties = np.array([SHIFT_PENALTY, *(penalty for _ in self.names)])
        lowest = np.array([-math.inf, *map(lowest_coefficient, self.names)])
        at = slice(None) if rows is None else rows
        return fit_shrunk_logistic(self.matrix[at], offset[at], y[at], penalties=penalties, lowest=lowest, start=start)


def _designs(table: FeatureTable, forms: Sequence[str]) -> dict[str, _Design]:
    """The design of each form; one whose columns an earlier form already has is left out."""
    designs: dict[str, _Design] = {}
    for form in forms:
        design = _Design.of(table, form)
        if all(design.names != other.names for other in designs.values()):
            designs[form] = design
    return designs


def _weights(
    members: Sequence[tuple[str, float]],
    designs: dict[str, _Design],
    offset: Floats,
    y: Floats,
    queries: Sequence[Hashable],
) -> list[float]:
    """How much each member counts, summing to 1.

    Formula: mean over Dirichlet(1, …, 1) draws a of softmax_m(−Σ_q n_queries a_q loss_mq), loss_mq the summed log loss
    of query q, cross-fitted by query.
    """
    if len(members) == 1:
        return [1.0]
    number: dict[Hashable, int] = {}
    row_query = np.array([number.setdefault(query, len(number)) for query in queries], dtype=np.int64)
    fold = folds_by_query(queries, INNER_FOLDS)
    losses = np.zeros((len(members), len(y)))
    for m, (form, penalty) in enumerate(members):
        design = designs[form]
        whole = design.fit(offset, y, penalty)
        for part in range(int(fold.max()) + 1):
            inside, outside = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
            beta = design.fit(offset, y, penalty, rows=inside, start=whole)
            losses[m, outside] = log_loss(offset[outside] + design.matrix[outside] @ beta, y[outside])
    by_query = np.stack([np.bincount(row_query, weights=loss) for loss in losses])
    draws = np.random.default_rng(0).dirichlet(np.ones(len(number)), size=DRAWS) * len(number)
    drawn = draws @ by_query.T
    chances = np.exp(-(drawn - drawn.min(axis=1, keepdims=True)))
    return [float(weight) for weight in (chances / chances.sum(axis=1, keepdims=True)).mean(axis=0)]


def _require(relevant: Sequence[bool], queries: Sequence[Hashable], *, min_reviews: int, min_queries: int) -> None:
    n, n_relevant, n_queries = len(relevant), sum(map(bool, relevant)), len(set(queries))
    found = f"{n} blind reviews of {n_queries} queries, {n_relevant} of them relevant"
    if n < min_reviews or n_queries < min_queries:
        raise CalibrationImpossible(
            f"{found}: too few to calibrate; needed are {min_reviews} reviews of {min_queries} queries"
        )
    if min(n_relevant, n - n_relevant) < MIN_OF_EACH:
        raise CalibrationImpossible(f"{found}: needed are {MIN_OF_EACH} relevant and {MIN_OF_EACH} not relevant ones")
