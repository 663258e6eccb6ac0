"""The certified accept rule: of the labels of one class accepted by themselves, at most ε disagree with a blind human.

Use: freeze judge, prompt, calibrator and batch; `design_audit`; `draw`; have the drawn pairs audited blind; `certify`.
The sample serves this once: not the calibrator, not examples, not training, not another design, until the certificate
is issued. A changed judge, prompt, calibrator or definition needs a new batch and a new sample.

What is promised, for each class apart (irrelevant, relevant), over the random draw and whatever the true answers are:
with probability at least 1 − δ/2 either nothing of the class is accepted, or at most ε of its accepted pairs would get
another side (relevant or not) from a blind human. Accepted means at or above the issued threshold *and not audited*:
an audited pair carries the person's label. Nothing is promised about other batches, about the grade beyond its side, or
about the errors of the person.

Why the chance of a broken promise is at most δ/2 a class. One class, its frame of F pairs, n of them audited, a simple
random sample. Thresholds j = 1..m were fixed before; threshold j accepts N_j pairs of the frame, W_j of them wrong
(fixed, unknown); its sample has n_j audits of which k_j are wrong. Call j *bad* if W_j ≥ κ_j, its null.
1. A threshold that is not bad. κ_j is such that, with W_j < κ_j, the unaudited pairs of j hold more than ε wrong ones
   with probability at most b/m (`audit_bounds.fixed_null`: only if the sample found too few of them). Over all
   thresholds: at most b, by Bonferroni.
2. A bad threshold. p_j = P(Hypergeometric(N_j, κ_j, n_j) ≤ k_j). Given n_j the audits of j are a simple random sample
   of its N_j pairs, and k_j grows with W_j, so P(p_j ≤ x) ≤ x for every bad j. Badness depends on the batch alone, not
   on the draw. The tests run from the highest threshold down, each at a·(its share + what the threshold just above it
   was tested at, if that one passed). Let G(j), for a bad j, be j and the thresholds between it and the bad one before
   it. If j is the first bad one to pass, the bad one before it failed and handed down nothing, so
   p_j ≤ a·Σ_{i∈G(j)} share_i. The sets G(j) do not overlap and the shares sum to 1: by Bonferroni any bad one passes
   with probability at most a.
3. a + b = δ/2. The issued threshold is the lowest that passes; outside of the events of 1 and 2 no threshold that
   passes has a remaining error above ε, so the issued one has not, and neither has any other that passes.
Answers still missing count as errors; each answer can only lower a p-value, so an early certificate stays true.

Source: the rule is ours. Its known parts: the fallback procedure (Wiens 2003) for item 2, as in the multi-start
sequences of Learn then Test (Angelopoulos et al. 2021), and exact hypergeometric tails. A single sequence from the top
dies at its first steps, where one error among few audits fails it; a start in the middle, where the calibrated
confidences expect the last good threshold, does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotator.audit_bounds import lower_tail, upper_remaining_error
from annotator.audit_design import (
    AuditDesign,
    Bools,
    ClassDesign,
    Floats,
    Ints,
    checked,
    design_audit,
    draw,
    require_same_batch,
    stratum,
)
from annotator.errors import CertificateImpossible

__all__ = [
    "AuditDesign",
    "CertificateImpossible",
    "ClassCertificate",
    "ClassDesign",
    "RecallEstimate",
    "accepted",
    "certify",
    "design_audit",
    "draw",
    "recall_of_relevant",
]

RECALL_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class ClassCertificate:
    """What one class got.

    issued: whether a threshold passed. threshold: accept at or above it; None if not issued. n_audits, n_errors: of the
    whole class, unanswered ones among the errors. n_audits_above, n_errors_above: at or above the threshold (of the
    frame if none was issued). upper_bound: on the remaining error at that threshold taken alone, with confidence
    1 − δ/2, and at most ε where issued; the promise is ε. n_accepted: pairs at or above the threshold that nobody
    audited. coverage: n_accepted as a share of the unaudited pairs of the class, in [0, 1]. n_class: pairs of the
    class. reason: in plain words.
    """

    relevant: bool
    issued: bool
    threshold: float | None
    n_audits: int
    n_errors: int
    n_unanswered: int
    n_audits_above: int
    n_errors_above: int
    epsilon: float
    delta: float
    upper_bound: float
    coverage: float
    n_accepted: int
    n_class: int
    reason: str


@dataclass(frozen=True, slots=True)
class RecallEstimate:
    """What became of the batch's truly relevant pairs, as shares of them in [0, 1]; each (estimate, low, high), 95 %.

    accepted: those accepted as relevant. lost: those accepted as irrelevant. undecided: the rest, which people audit or
    have audited. n_relevant: how many there are. Estimates, not promises: none of it is covered by the certificate.
    """

    accepted: tuple[float, float, float]
    lost: tuple[float, float, float]
    undecided: tuple[float, float, float]
    n_relevant: tuple[float, float, float]


def certify(
    design: AuditDesign,
    predicted_relevant: Bools,
    confidence: Floats,
    sampled: Ints,
    wrong: Sequence[bool | None] | Bools,
) -> tuple[ClassCertificate, ClassCertificate]:
    """The certificates of the class irrelevant and of the class relevant.

    sampled: (n_sampled,) positions that `draw` gave, in any order. wrong: (n_sampled,), whether the blind human was on
    the other side; None where nobody answered yet, which counts as an error.

    Raises:
        CertificateImpossible: another batch, another sample than the design's, or not one answer a sampled pair.
    """
    predicted, conf, positions, errors, answered = _matched(design, predicted_relevant, confidence, sampled, wrong)
    made = [_certify_class(part, design, predicted, conf, positions, errors, answered) for part in design.classes]
    return made[0], made[1]


def accepted(
    certificates: Sequence[ClassCertificate], predicted_relevant: Bools, confidence: Floats, sampled: Ints
) -> Bools:
    """Which pairs are accepted by themselves: (n_pairs,) bool; audited pairs never are."""
    predicted, conf = checked(predicted_relevant, confidence)
    kept = np.zeros(len(conf), dtype=np.bool_)
    for one in certificates:
        if one.threshold is not None:
            kept |= (predicted == one.relevant) & (conf >= one.threshold)
    kept[np.asarray(sampled, dtype=np.int64)] = False
    return kept


def recall_of_relevant(
    design: AuditDesign,
    certificates: Sequence[ClassCertificate],
    predicted_relevant: Bools,
    confidence: Floats,
    sampled: Ints,
    wrong: Sequence[bool | None] | Bools,
) -> RecallEstimate:
    """What became of the truly relevant pairs, estimated from the same stratified sample.

    Each stratum, cut at the issued threshold, is weighted by its size: Σ_h N_h · (share relevant in h). Unanswered
    audits are left out here, as if they were missing at random. Intervals: 2.5 % and 97.5 % points of 2,000 draws of
    the shares from Dirichlet(count + 1/2) in each stratum; approximate, our choice. `lost` is slightly low, as the same
    sample chose the threshold where it shows few errors.

    Raises:
        CertificateImpossible: as `certify`.
    """
    predicted, conf, positions, errors, answered = _matched(design, predicted_relevant, confidence, sampled, wrong)
    random = np.random.default_rng(design.seed + 1)
    totals = {fate: np.zeros(RECALL_DRAWS + 1) for fate in ("accepted", "lost", "undecided")}
    truly = predicted[positions] != errors
    for part, certificate in zip(design.classes, certificates, strict=True):
        floor = np.inf if certificate.threshold is None else certificate.threshold
        for inside in (True, False):
            members = stratum(part, predicted, conf, inside=inside)
            drawn = members[positions] & answered
            above = conf >= floor
            cells = [members & above, members & ~above]
            counts = [int((drawn & above[positions] & truly).sum()), int((drawn & ~above[positions] & truly).sum())]
            other = int(drawn.sum()) - sum(counts)
            if not drawn.any():
                continue
            prior = [0.5 if cell.any() else 1e-9 for cell in cells]
            shares = random.dirichlet([counts[0] + prior[0], counts[1] + prior[1], other + 0.5], size=RECALL_DRAWS)
            point = np.array([counts]) / drawn.sum()
            amounts = np.concatenate([point, shares[:, :2]]) * members.sum()
            totals["accepted" if part.relevant else "lost"] += amounts[:, 0]
            totals["undecided"] += amounts[:, 1]
    everything = totals["accepted"] + totals["lost"] + totals["undecided"]
    spread = {
        fate: _interval(np.divide(t, everything, out=np.zeros_like(t), where=everything > 0))
        for fate, t in totals.items()
    }
    return RecallEstimate(**spread, n_relevant=_interval(everything))


def _interval(values: Floats) -> tuple[float, float, float]:
    """The first value, and the 2.5 % and 97.5 % points of the others, stretched to contain it."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(values[0]), min(float(low), float(values[0])), max(float(high), float(values[0]))


def _matched(
    design: AuditDesign,
    predicted_relevant: Bools,
    confidence: Floats,
    sampled: Ints,
    wrong: Sequence[bool | None] | Bools,
) -> tuple[Bools, Floats, Ints, Bools, Bools]:
    """Predictions, confidences, sampled positions, errors (unanswered ones count), and which are answered."""
    predicted, conf = checked(predicted_relevant, confidence)
    require_same_batch(design, predicted, conf)
    positions = np.asarray(sampled, dtype=np.int64)
    answers = list(wrong)
    if len(answers) != len(positions):
        raise CertificateImpossible(
            f"{len(answers)} answers for {len(positions)} sampled pairs; give None where missing"
        )
    if not np.array_equal(np.sort(positions), np.sort(draw(design, predicted, conf))):
        raise CertificateImpossible("the audited pairs are not the sample that this design draws; certify that sample")
    answered = np.array([answer is not None for answer in answers], dtype=np.bool_)
    errors = np.array([answer is None or bool(answer) for answer in answers], dtype=np.bool_)
    return predicted, conf, positions, errors, answered


def _certify_class(
    part: ClassDesign,
    design: AuditDesign,
    predicted: Bools,
    conf: Floats,
    positions: Ints,
    errors: Bools,
    answered: Bools,
) -> ClassCertificate:
    of_class = predicted[positions] == part.relevant
    sampled_conf = conf[positions]
    thresholds = np.array(part.thresholds)
    above = of_class[None, :] & (sampled_conf[None, :] >= thresholds[:, None])
    n_above, k_above = above.sum(axis=1), (above & errors).sum(axis=1)
    at = _lowest_passing(part, n_above, k_above)
    shown = at if at is not None else len(thresholds) - 1
    size = part.sizes[shown] if part.sizes else 0
    n_here, k_here = (int(n_above[shown]), int(k_above[shown])) if part.sizes else (0, 0)
    unaudited = part.n_class - part.n_audits
    n_accepted = size - n_here if at is not None else 0
    bound = upper_remaining_error(k_here, population=size, drawn=n_here, level=design.delta / 2)
    if at is not None:
        bound = min(bound, design.epsilon)
    name = "relevant" if part.relevant else "irrelevant"
    if not part.n_class:
        reason = f"the batch has no pair of the class {name}"
    elif at is not None:
        reason = (
            f"{n_accepted} pairs of the class {name} are accepted at a confidence of {thresholds[at]:.4f} and above: "
            f"{k_here} of {n_here} audits there were wrong"
        )
    else:
        reason = (
            f"no threshold keeps {design.epsilon:.0%} with {part.n_audits} audits: "
            f"{k_here} of {n_here} were wrong at the lowest; nothing of the class {name} is accepted"
        )
    return ClassCertificate(
        relevant=part.relevant,
        issued=at is not None,
        threshold=None if at is None else float(thresholds[at]),
        n_audits=part.n_audits,
        n_errors=int((of_class & errors).sum()),
        n_unanswered=int((of_class & ~answered).sum()),
        n_audits_above=n_here,
        n_errors_above=k_here,
        epsilon=design.epsilon,
        delta=design.delta,
        upper_bound=bound,
        coverage=n_accepted / unaudited if unaudited > 0 else 0.0,
        n_accepted=n_accepted,
        n_class=part.n_class,
        reason=reason,
    )


def _lowest_passing(part: ClassDesign, n_above: Ints, k_above: Ints) -> int | None:
    """Position of the lowest threshold that passes, by the sequence of the module's docstring, item 2."""
    if not part.sizes:
        return None
    p = lower_tail(k_above, population=part.sizes, wrong=part.nulls, drawn=n_above)
    carried, lowest = 0.0, None
    for j, share in enumerate(part.shares):
        carried += share
        if p[j] <= part.level * carried:
            lowest = j
        else:
            carried = 0.0
    return lowest
