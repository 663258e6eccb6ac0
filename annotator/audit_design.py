"""What is fixed before anyone audits: thresholds, their shares of the risk, how many pairs of each class are drawn.

Everything here looks at predictions and calibrated confidences only, never at a person's answer; so the best design may
be searched for freely. `certificate` applies the design to the answers and proves what holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.audit_bounds import fixed_null
from annotator.audit_simulation import best_shares, forecast
from annotator.errors import CertificateImpossible

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FORMAT = 1
N_THRESHOLDS = 24
FRAME_SHARES = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375)
REST_SHARE = 0.1
CLASS_SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)
FEW_FOUND_SHARE = 0.1
"""Part of δ/2 that pays for the samples in which too few of the wrong pairs were found; see `certificate`."""


@dataclass(frozen=True, slots=True)
class ClassDesign:
    """The part of a design that concerns one class.

    n_class: pairs of the class. n_frame: those of the *frame*, the pairs at or above the lowest threshold.
    n_frame_audits, n_rest_audits: audits drawn from the frame, and from the rest of the class (for the recall only).
    thresholds: falling; a pair is accepted at or above one. sizes: pairs accepted at each. nulls: wrong pairs from
    which on a threshold counts as bad. shares: of the risk `level`, each threshold's own part, Σ = 1.
    expected_coverage: share of the class accepted unaudited, if confidences are right within
    `audit_simulation.ODDS_SHIFTS`.
    """

    relevant: bool
    n_class: int
    n_frame: int
    n_frame_audits: int
    n_rest_audits: int
    thresholds: tuple[float, ...]
    sizes: tuple[int, ...]
    nulls: tuple[int, ...]
    shares: tuple[float, ...]
    level: float
    expected_coverage: float

    @property
    def n_audits(self) -> int:
        """Audits of this class."""
        return self.n_frame_audits + self.n_rest_audits


@dataclass(frozen=True, slots=True)
class AuditDesign:
    """All that is fixed before the draw, for one frozen batch; `batch` is a hash of its predictions and confidences."""

    epsilon: float
    delta: float
    seed: int
    batch: str
    irrelevant: ClassDesign
    relevant: ClassDesign

    @property
    def classes(self) -> tuple[ClassDesign, ClassDesign]:
        """Irrelevant, relevant."""
        return (self.irrelevant, self.relevant)

    @property
    def n_by_class(self) -> tuple[int, int]:
        """Audits of the class irrelevant and of the class relevant."""
        return (self.irrelevant.n_audits, self.relevant.n_audits)

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """All of it as canonical JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> AuditDesign:
        """The design that `to_json` wrote.

        Raises:
            CertificateImpossible: anything else.
        """
        try:
            stored = json.loads(text)
            if stored.pop("format") != FORMAT:
                raise CertificateImpossible(f"the audit design is not of format {FORMAT}; draw a new sample")
            several = ("thresholds", "sizes", "nulls", "shares")
            for name in ("irrelevant", "relevant"):
                part = stored[name]
                stored[name] = ClassDesign(**{**part, **{key: tuple(part[key]) for key in several}})
            return cls(**stored)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            if isinstance(exc, CertificateImpossible):
                raise
            raise CertificateImpossible(f"not a stored audit design: {exc!r}; draw a new sample") from exc


def design_audit(
    predicted_relevant: Bools,
    confidence: Floats,
    *,
    n: int,
    epsilon: float = 0.1,
    delta: float = 0.05,
    seed: int,
    allocation: tuple[int, int] | None = None,
) -> AuditDesign:
    """The design with the highest expected coverage, summed over the two classes, for n blind audits.

    predicted_relevant: (n_pairs,) bool, what the judge decided. confidence: (n_pairs,) float64 in [0, 1], the
    calibrated probability that a blind human is on the same side. allocation: audits of the class irrelevant and
    relevant; None tries shares between a fifth and four fifths. Deterministic.

    What is searched, by simulating audits from the confidences under each of `audit_simulation.ODDS_SHIFTS`: the audits
    of each class; the frame, since audits of pairs that no plausible threshold accepts are wasted (a tenth still goes
    there, for the recall); and where the risk starts (`ClassDesign.shares`). Our choice throughout.

    Raises:
        CertificateImpossible: ε or δ outside (0, 1), confidences that are no probabilities, arrays that do not match,
            or fewer than 1 or more than n_pairs − 1 audits.
    """
    predicted, conf = checked(predicted_relevant, confidence)
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0.0 < value < 1.0:
            raise CertificateImpossible(f"{name} is {value}; it must lie between 0 and 1")
    if allocation is not None and sum(allocation) != n:
        raise CertificateImpossible(f"the allocation {allocation} does not sum to the {n} audits")
    if not 1 <= n < len(conf):
        raise CertificateImpossible(f"{n} audits for a batch of {len(conf)} pairs; at least 1, and some left to accept")
    of_class = [np.sort(conf[predicted == relevant])[::-1] for relevant in (False, True)]
    best: tuple[float, ClassDesign, ClassDesign] | None = None
    plans: dict[tuple[bool, int], ClassDesign] = {}
    for pair in _allocations(n, (len(of_class[0]), len(of_class[1])), allocation):
        for relevant, audits in zip((False, True), pair, strict=True):
            if (relevant, audits) not in plans:
                plans[relevant, audits] = _design_class(
                    of_class[relevant], relevant=relevant, n=audits, epsilon=epsilon, level=delta / 2
                )
        tried = (plans[False, pair[0]], plans[True, pair[1]])
        value = tried[0].expected_coverage + tried[1].expected_coverage
        if best is None or value > best[0] + 1e-9:
            best = (value, *tried)
    if best is None:
        raise CertificateImpossible(f"{n} audits cannot be spread over classes of {[len(c) for c in of_class]} pairs")
    return AuditDesign(
        epsilon=epsilon,
        delta=delta,
        seed=seed,
        batch=batch_hash(predicted, conf),
        irrelevant=_with_exact_nulls(best[1], epsilon=epsilon, level=delta / 2),
        relevant=_with_exact_nulls(best[2], epsilon=epsilon, level=delta / 2),
    )


def draw(design: AuditDesign, predicted_relevant: Bools, confidence: Floats) -> Ints:
    """The positions of the pairs to audit, (n_sampled,) int64, shuffled; random without replacement in each stratum.

    Deterministic in the design's seed and the order of the batch: freeze the order with the batch. The strata are the
    frame and the rest of each class.

    Raises:
        CertificateImpossible: the arrays are not those that the design was made for.
    """
    predicted, conf = checked(predicted_relevant, confidence)
    require_same_batch(design, predicted, conf)
    random = np.random.default_rng(design.seed)
    parts = []
    for part in design.classes:
        for inside, audits in ((True, part.n_frame_audits), (False, part.n_rest_audits)):
            members = np.flatnonzero(stratum(part, predicted, conf, inside=inside))
            parts.append(random.choice(members, size=audits, replace=False) if audits else np.zeros(0, dtype=np.int64))
    return np.asarray(random.permutation(np.concatenate(parts)), dtype=np.int64)


def stratum(part: ClassDesign, predicted: Bools, confidence: Floats, *, inside: bool) -> Bools:
    """Which pairs belong to the frame of a class (`inside`), or to the rest of that class: (n_pairs,) bool."""
    floor = part.thresholds[-1] if part.thresholds else np.inf
    return np.asarray((predicted == part.relevant) & ((confidence >= floor) == inside), dtype=np.bool_)


def batch_hash(predicted: Bools, confidence: Floats) -> str:
    """First 16 hexadecimal digits of the SHA-256 of predictions and confidences, in their order."""
    digest = hashlib.sha256(np.packbits(predicted).tobytes())
    digest.update(np.ascontiguousarray(confidence, dtype="<f8").tobytes())
    return digest.hexdigest()[:16]


def require_same_batch(design: AuditDesign, predicted: Bools, confidence: Floats) -> None:
    """Nothing, if these are the predictions and confidences that the design was made for.

    Raises:
        CertificateImpossible: they are not; the judge, the calibrator or the batch changed after the freeze.
    """
    if batch_hash(predicted, confidence) != design.batch:
        raise CertificateImpossible(
            "predictions or confidences are not those the audit was designed for; freeze the batch and draw again",
            user_message="This batch changed after its audit sample was drawn. It needs a new sample.",
        )


def checked(predicted_relevant: Bools, confidence: Floats) -> tuple[Bools, Floats]:
    """The two arrays, as (n,) bool and (n,) float64 in [0, 1].

    Raises:
        CertificateImpossible: wrong shapes, or a confidence that is no probability.
    """
    predicted = np.asarray(predicted_relevant)
    conf = np.asarray(confidence, dtype=np.float64)
    if predicted.ndim != 1 or predicted.shape != conf.shape or (predicted.dtype != np.bool_ and predicted.size):
        raise CertificateImpossible(
            f"predictions {predicted.dtype}{predicted.shape}, confidences {conf.shape}; give (n,) bool and (n,) float"
        )
    if not bool(np.all((conf >= 0.0) & (conf <= 1.0))):
        raise CertificateImpossible("a confidence is no probability in [0, 1]; calibrate before you certify")
    return predicted.astype(np.bool_), conf


def _allocations(n: int, sizes: tuple[int, int], fixed: tuple[int, int] | None) -> Iterable[tuple[int, int]]:
    """Audits of each class to try; no class gets more than it has pairs."""
    wanted = [fixed] if fixed is not None else [(n - round(share * n), round(share * n)) for share in CLASS_SHARES]
    for irrelevant, relevant in sorted(wanted, key=lambda pair: abs(pair[0] - pair[1])):
        if fixed is None:
            irrelevant = min(max(irrelevant, n - sizes[1]), sizes[0])
            relevant = n - irrelevant
        if 0 <= irrelevant <= sizes[0] and 0 <= relevant <= sizes[1]:
            yield irrelevant, relevant


def _design_class(falling: Floats, *, relevant: bool, n: int, epsilon: float, level: float) -> ClassDesign:
    """The best design of one class with n audits; its nulls are not set before `_with_exact_nulls`."""
    thresholds, sizes = _grid(falling)
    few, risk = level * FEW_FOUND_SHARE, level * (1.0 - FEW_FOUND_SHARE)
    if n == 0 or not len(sizes):
        every = tuple(map(float, thresholds))
        whole = len(falling)
        equal = tuple(1.0 / len(every) for _ in every)
        kept = tuple(map(int, sizes))
        return ClassDesign(relevant, whole, whole, n, 0, every, kept, kept, equal, risk, 0.0)
    found: ClassDesign | None = None
    for last in _frames(sizes):
        inside = int(sizes[last])
        rest = min(len(falling) - inside, max(1, round(REST_SHARE * n)) if inside < len(falling) else 0)
        audits = n - rest
        if audits < 1 or audits > inside:
            continue
        seen = forecast(falling, sizes[: last + 1], n=audits, epsilon=epsilon, few=few)
        value, shares = best_shares(seen, level=risk)
        value /= len(falling)
        if found is None or value > found.expected_coverage + 1e-9:
            found = ClassDesign(
                relevant=relevant,
                n_class=len(falling),
                n_frame=inside,
                n_frame_audits=audits,
                n_rest_audits=rest,
                thresholds=tuple(map(float, thresholds[: last + 1])),
                sizes=tuple(map(int, sizes[: last + 1])),
                nulls=tuple(map(int, sizes[: last + 1])),
                shares=tuple(map(float, shares)),
                level=risk,
                expected_coverage=value,
            )
    if found is None:
        raise CertificateImpossible(f"{n} audits do not fit a class of {len(falling)} pairs")
    return found


def _grid(falling: Floats) -> tuple[Floats, Ints]:
    """About `N_THRESHOLDS` thresholds, falling, and how many pairs each accepts; the last accepts all."""
    if not len(falling):
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    at = np.unique(np.ceil(np.arange(1, N_THRESHOLDS + 1) / N_THRESHOLDS * len(falling)).astype(np.int64)) - 1
    thresholds = np.unique(falling[at])[::-1]
    sizes = len(falling) - np.searchsorted(falling[::-1], thresholds, side="left")
    return thresholds, np.asarray(sizes, dtype=np.int64)


def _frames(sizes: Ints) -> list[int]:
    """Positions of the grid that may be the lowest threshold, the whole class first."""
    wanted = [int(np.argmax(sizes >= share * sizes[-1])) for share in FRAME_SHARES]
    return list(dict.fromkeys(wanted))


def _with_exact_nulls(part: ClassDesign, *, epsilon: float, level: float) -> ClassDesign:
    """The same design with the nulls that `certificate`'s proof asks for."""
    nulls = tuple(
        fixed_null(
            population=size,
            frame=part.n_frame,
            drawn=part.n_frame_audits,
            epsilon=epsilon,
            level=level * FEW_FOUND_SHARE / len(part.sizes),
        )
        for size in part.sizes
    )
    return ClassDesign(**{**asdict(part), "nulls": nulls})
