"""Third tier: what share of pairs the retriever labels itself at a kept ε, and the LLM calls that saves.

Data. msrd: real short queries over 9,750 films, binary human judgements; both answers are listed (about six negatives a
positive), so nothing is implied and a candidate nobody judged is left out and counted. diras: 11 questions with 60
judged passages each, grades 0..2, relevant = 1 or 2. Pools: 30 candidates of BM25 and the dense model, fused.
`diras` searches all 492 passages, and most candidates were never judged; `diras-60` searches each question's own 60
judged passages, so that all of its 330 candidates count.

One resample: questions drawn at random have their candidates judged by people, and the classifier is fitted on them;
the batch is the candidates of other questions; an audit sample is drawn, the certificate computed, and what it accepts
is compared with people's judgements. On msrd the batch is every test question and the questions fitted on are of the
train split; on diras the questions are split anew each time. There is one model version, the shipped one: the agreement
of two is not measured here.

Costs, in calls: a person's judgement counts as one call. saved = pairs accepted by the certificate (the LLM is not
asked about them); net = saved − audits − judgements the classifier was fitted on. That audited pairs need no call
either is not credited.

The same number of calls at random: the tier pays for N − saved + judgements (everything else is labelled by the LLM,
or by people in the sample). As many calls on pairs drawn at random label that share of the batch; the rest stays
unlabelled and is never a certain negative. On diras the LLM is GPT-4 with its own mistakes; for msrd nobody asked an
LLM, so there it counts as always right, which is as kind to the random calls as can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.certificate import accepted, certify, design_audit, draw
from annotator.self_labels import PENALTY, LabelledPair, feature_rows, fit_classifier, proposed_grade
from annotator.shrunk_logistic import expit, fit_shrunk_logistic
from bench.result import Json, Result
from bench.retrieval_pools import PooledPair
from bench.self_label_sets import JudgedPools, diras_pools, msrd_pools

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

EPSILON, DELTA = 0.10, 0.05
MOST_BROKEN = 0.05
RESAMPLES, QUICK_RESAMPLES, RAW_RESAMPLES = 100, 8, 30
MSRD_AUDITS, MSRD_FIT_QUESTIONS, MSRD_QUESTIONS = 400, 40, 1_500
QUICK_QUESTIONS, QUICK_FILMS = 400, 800
DIRAS_AUDITS, DIRAS_60_AUDITS = 20, 80

TARGET = (
    "at ε = 10 %, δ = 5 %: on each set and in each class the error among the accepted exceeds ε in at most 5 % of "
    "resamples (plus the 95 % point of that binomial); net calls saved above 0 on average on at least one set; no "
    "self-label between 0 and the highest grade"
)
"""Fixed before anything was measured on a test split; audits and calibration questions were chosen on msrd dev."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one resample gave; classes in the order irrelevant, relevant."""

    n_batch: int
    n_calibration: int
    n_audits: int
    n_class: tuple[int, int]
    n_truly: tuple[int, int]
    n_accepted: tuple[int, int]
    n_wrong: tuple[int, int]
    n_llm_wrong: int
    random_right: float
    n_middle_given: int
    n_middle_accepted: int

    @property
    def saved(self) -> int:
        """Calls the LLM is not asked for."""
        return sum(self.n_accepted)

    @property
    def net(self) -> int:
        """Calls saved after paying for every judgement of a person."""
        return self.saved - self.n_audits - self.n_calibration


Confidence = Callable[[Sequence[LabelledPair], Sequence[PooledPair]], Floats]
"""Fits on judged pairs; p(relevant) of other pairs."""


def by_place_in_list(judged: Sequence[LabelledPair], others: Sequence[PooledPair]) -> Floats:
    """The product's: per-query features."""
    classifier = fit_classifier(judged)
    return classifier.p_relevant_of(feature_rows([pair.signals for pair in others], classifier.features))


def by_raw_cosine(judged: Sequence[LabelledPair], others: Sequence[PooledPair]) -> Floats:
    """What the rule forbids, for comparison: the cosine itself, the same for all queries."""

    def design(signals: Sequence[float | None]) -> Floats:
        return np.column_stack([np.ones(len(signals)), np.array(signals, dtype=np.float64) * 10])

    weights = fit_shrunk_logistic(
        design([pair.signals.dense_score for pair in judged]),
        np.zeros(len(judged)),
        np.array([pair.relevant for pair in judged], dtype=np.float64),
        penalties=np.array([0.0, PENALTY / 10]),
        lowest=np.full(2, -np.inf),
    )
    return expit(design([pair.signals.dense_score for pair in others]) @ weights)


def resample(data: JudgedPools, *, confidence: Confidence, seed: int) -> Outcome | None:
    """One draw of calibration questions and audits; None where too few of a side were judged to fit at all."""
    random = np.random.default_rng([17, seed])
    questions = np.array([pair.query_id for pair in data.pairs])
    reserve = np.ones(len(questions), dtype=np.bool_) if data.in_reserve is None else data.in_reserve
    fitted_on = random.permutation(np.unique(questions[reserve]))[: data.n_fit_questions]
    calibration = np.flatnonzero(np.isin(questions, fitted_on))
    batch = np.flatnonzero(~np.isin(questions, fitted_on) if data.in_reserve is None else ~data.in_reserve)
    truth = data.relevant
    judged = [LabelledPair(data.pairs[at].query_id, data.pairs[at].signals, bool(truth[at])) for at in calibration]
    if min(int(truth[calibration].sum()), int((~truth[calibration]).sum())) < 10:
        return None
    p = confidence(judged, [data.pairs[at] for at in batch])
    given = np.array([proposed_grade(value, data.scale) for value in p])
    predicted = given >= data.scale.relevant_from
    sure = np.maximum(p, 1.0 - p)
    wrong = predicted != truth[batch]
    design = design_audit(predicted, sure, n=data.n_audits, epsilon=EPSILON, delta=DELTA, seed=seed)
    sampled = draw(design, predicted, sure)
    certificates = certify(design, predicted, sure, sampled, wrong[sampled])
    kept = accepted(certificates, predicted, sure, sampled)
    asked = ~kept
    asked[sampled] = False
    budget = min(1.0, (len(batch) - int(kept.sum()) + len(calibration)) / len(batch))
    middle = (data.grade[batch] > 0) & (data.grade[batch] < data.scale.max_grade)
    return Outcome(
        n_batch=len(batch),
        n_calibration=len(calibration),
        n_audits=len(sampled),
        n_class=_by_class(predicted, np.ones_like(predicted)),
        n_truly=_by_class(truth[batch], np.ones_like(predicted)),
        n_accepted=_by_class(predicted, kept),
        n_wrong=_by_class(predicted, kept & wrong),
        n_llm_wrong=int(data.llm_wrong[batch][asked].sum()),
        random_right=budget * float((~data.llm_wrong[batch]).sum()),
        n_middle_given=int(((given > 0) & (given < data.scale.max_grade)).sum()),
        n_middle_accepted=int((kept & middle).sum()),
    )


def _by_class(relevant: Bools, chosen: Bools) -> tuple[int, int]:
    return int((chosen & ~relevant).sum()), int((chosen & relevant).sum())


def measure(data: JudgedPools, *, confidence: Confidence, resamples: int) -> dict[str, Json]:
    """The figures of one set: means over resamples, and how often the promise broke."""
    drawn = [resample(data, confidence=confidence, seed=seed) for seed in range(resamples)]
    outcomes = [outcome for outcome in drawn if outcome is not None]
    figures: dict[str, Json] = {
        "resamples": resamples,
        "not_fitted": resamples - len(outcomes),
        "candidates_unjudged": data.n_unjudged,
    }
    if not outcomes:
        return figures

    def mean(of: Callable[[Outcome], float]) -> float:
        return float(np.mean([of(outcome) for outcome in outcomes]))

    figures |= {
        "pairs_in_batch": mean(lambda o: o.n_batch),
        "calibration_judgements": mean(lambda o: o.n_calibration),
        "audits": mean(lambda o: o.n_audits),
        "calls_saved": mean(lambda o: o.saved),
        "net_calls_saved": mean(lambda o: o.net),
        "net_calls_saved_5_to_95": [float(q) for q in np.quantile([o.net for o in outcomes], [0.05, 0.95])],
        "pairs_in_batch_to_break_even": _break_even(outcomes),
        "right_labels_share": mean(lambda o: 1.0 - (sum(o.n_wrong) + o.n_llm_wrong) / o.n_batch),
        "right_labels_share_same_calls_at_random": mean(lambda o: o.random_right / o.n_batch),
        "truly_relevant_labelled_irrelevant_share": mean(lambda o: o.n_wrong[0] / max(1, o.n_truly[1])),
        "middle_grades_given": sum(o.n_middle_given for o in outcomes),
        "accepted_pairs_people_gave_a_middle_grade": mean(lambda o: o.n_middle_accepted),
    }
    for at, side in enumerate(("irrelevant", "relevant")):
        errors = [o.n_wrong[at] / o.n_accepted[at] for o in outcomes if o.n_accepted[at]]
        figures[side] = {
            "share_of_batch_proposed": mean(lambda o, at=at: o.n_class[at] / o.n_batch),  # type: ignore[misc]
            "share_of_batch_taken_over": mean(lambda o, at=at: o.n_accepted[at] / o.n_batch),  # type: ignore[misc]
            "share_of_class_taken_over": mean(lambda o, at=at: o.n_accepted[at] / max(1, o.n_class[at])),  # type: ignore[misc]
            "share_of_truly_so_taken_over": mean(
                lambda o, at=at: (o.n_accepted[at] - o.n_wrong[at]) / max(1, o.n_truly[at])  # type: ignore[misc]
            ),
            "certified_in": sum(o.n_accepted[at] > 0 for o in outcomes),
            "realised_error": float(np.mean(errors)) if errors else None,
            "promise_broken_in": sum(error > EPSILON for error in errors),
        }
    return figures


def _break_even(outcomes: Sequence[Outcome]) -> float | None:
    """How many pairs a batch must have for the judgements to pay, if the share taken over stays."""
    share = float(np.mean([o.saved / (o.n_batch - o.n_audits) for o in outcomes]))
    spent = float(np.mean([o.n_audits + o.n_calibration for o in outcomes]))
    return None if share <= 0 else spent / share


def _lines(name: str, figures: Mapping[str, Json]) -> list[str]:
    """One set for people."""
    if "audits" not in figures:
        return [f"{name}: too few judged candidates to fit a classifier ({figures['candidates_unjudged']} unjudged)"]

    def number(key: str) -> float:
        return float(str(figures[key]))

    low, high = (float(str(bound)) for bound in _sequence(figures["net_calls_saved_5_to_95"]))
    lines = [
        f"{name}: batch {number('pairs_in_batch'):,.0f} pairs ({figures['candidates_unjudged']:,} candidates nobody "
        f"judged are left out); "
        f"{number('calibration_judgements'):,.0f} judgements to fit, {number('audits'):,.0f} audits",
    ]
    for side in ("irrelevant", "relevant"):
        part = figures[side]
        if not isinstance(part, Mapping):
            raise TypeError(side)
        error = "–" if part["realised_error"] is None else f"{float(str(part['realised_error'])):.3f}"
        lines.append(
            f"  {side:<10}  taken over {float(str(part['share_of_batch_taken_over'])):.3f} of the batch, "
            f"{float(str(part['share_of_class_taken_over'])):.3f} of the class proposed, "
            f"{float(str(part['share_of_truly_so_taken_over'])):.3f} of those truly so; certified in "
            f"{part['certified_in']} of {figures['resamples']}, realised error {error}, "
            f"promise broken in {part['promise_broken_in']}"
        )
    lines.append(
        f"  calls saved {number('calls_saved'):,.0f}, net {number('net_calls_saved'):,.0f} "
        f"({low:,.0f} to {high:,.0f}); pays from {_or_never(figures['pairs_in_batch_to_break_even'])} pairs a batch on"
    )
    lines.append(
        f"  right labels for the same calls: {number('right_labels_share'):.3f} of the batch, at random "
        f"{number('right_labels_share_same_calls_at_random'):.3f}"
    )
    lines.append(
        f"  of all truly relevant pairs, {number('truly_relevant_labelled_irrelevant_share'):.3f} are self-labelled "
        "irrelevant"
    )
    return lines


def _or_never(value: Json) -> str:
    return "no number of" if value is None else f"{float(str(value)):,.0f}"


def _sequence(value: Json) -> Sequence[Json]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{value!r} is no sequence")
    return value


def most_broken(resamples: int) -> int:
    """How often a promise of 5 % may break in so many resamples: the 95 % point of the binomial."""
    chance, total = (1.0 - MOST_BROKEN) ** resamples, 0.0
    for broken in range(resamples + 1):
        total += chance
        if total >= 0.95:
            return broken
        chance *= (resamples - broken) / (broken + 1) * MOST_BROKEN / (1.0 - MOST_BROKEN)
    return resamples


def judged_pools(*, quick: bool) -> Iterator[JudgedPools]:
    """The sets to measure on. Quick: the films judged most often, fewer questions, longer texts cut."""
    if quick:
        yield diras_pools(own_passages=True, max_length=64, n_audits=DIRAS_60_AUDITS, n_fit_questions=5)
    else:
        yield diras_pools(own_passages=False, max_length=256, n_audits=DIRAS_AUDITS, n_fit_questions=5)
        yield diras_pools(own_passages=True, max_length=256, n_audits=DIRAS_60_AUDITS, n_fit_questions=5)
    yield msrd_pools(
        batch_split="test",
        n_batch_questions=QUICK_QUESTIONS if quick else MSRD_QUESTIONS,
        n_audits=MSRD_AUDITS,
        n_fit_questions=MSRD_FIT_QUESTIONS,
        max_length=128 if quick else 256,
        n_films=QUICK_FILMS if quick else None,
    )


def run(quick: bool) -> Result:
    """Measures every set; see the module's docstring for what is compared with what."""
    resamples = QUICK_RESAMPLES if quick else RESAMPLES
    figures: dict[str, Json] = {"epsilon": EPSILON, "delta": DELTA, "allowed_broken": most_broken(resamples)}
    lines: list[str] = []
    kept, pays, middle = True, False, 0
    for data in judged_pools(quick=quick):
        measured = measure(data, confidence=by_place_in_list, resamples=resamples)
        figures[data.name] = measured
        lines += _lines(data.name, measured)
        if data.in_reserve is not None and not quick:
            raw = measure(data, confidence=by_raw_cosine, resamples=RAW_RESAMPLES)
            figures[f"{data.name}, raw cosine"] = raw
            lines += _lines(f"{data.name}, by the raw cosine instead", raw)
        if "audits" not in measured:
            continue
        for side in ("irrelevant", "relevant"):
            part = measured[side]
            kept &= isinstance(part, Mapping) and int(str(part["promise_broken_in"])) <= most_broken(resamples)
        pays |= float(str(measured["net_calls_saved"])) > 0
        middle += int(str(measured["middle_grades_given"]))
    return Result("self_label", holds=kept and pays and middle == 0, target=TARGET, figures=figures, lines=tuple(lines))
