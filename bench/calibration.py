"""Calibrated confidences: ECE of p(relevant) and AUROC of being correct on DIRAS, cross-fitted by question.

The forms and penalties are those of `annotator.calibration`, picked on simulated judges, and their weights are found
anew inside each training part, by cross-fitting its own questions. GPT-4's figures here had been seen before they were
picked: nothing was fitted to these questions, but nobody was blind to them either.

What must hold is the plain reading: leave out one question at a time, pool the probabilities, take ECE and AUROC. The
pooled AUROC is a harsh estimate. It compares pairs under eleven calibrators that do not compare: a question full of
errors is left out of exactly the calibrator that judges it, which then trusts more. So beside it stands the AUROC that
leaves out two questions at a time and compares their pairs under the one calibrator that saw neither (leave-pair-out:
Airola et al. 2011; by question: our choice); for the raw confidence the two are the same. It was added after the pooled
one had come out below the raw, so it decides nothing. A full run checks both on simulated judges, where the gain on new
questions is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.calibration import JudgedInput, cross_fit, fit_calibrator
from annotator.calibration_features import raw_p_relevant
from annotator.calibration_measures import (
    CalibrationReport,
    Interval,
    ReliabilityBin,
    auroc,
    ece_of_a_perfect_model,
    measure,
)
from annotator.intervals import bootstrap_by_query
from annotator.types import ConfidenceKind, Scale
from bench.public_data import PublicSuggestion, read_qrels, read_suggestions
from bench.result import Json, Result
from bench.simulated_judges import simulated_judge

SCALE = Scale(max_grade=1, relevant_from=1)
RELEVANT_FROM = 1
GPT4, LLAMA = "gpt-4/cot", "llama-3-8b/zero-shot"
TARGET_ECE = 0.03
SAID_LLAMA_ECE = 0.195
TARGET = (
    f"GPT-4 on DIRAS, cross-fitted by question: ECE of p(relevant), 10 equal-width bins, at most {TARGET_ECE:g}, and "
    "AUROC of being correct, pooled over the left-out questions, not below that of its raw confidence"
)
SEED = 0
SIMULATED = 24


@dataclass(frozen=True, slots=True)
class Judged:
    """One judge's suggestions with what people said of them."""

    kind: ConfidenceKind
    inputs: list[JudgedInput]
    relevant: list[bool]
    queries: list[str]

    @property
    def correct(self) -> list[bool]:
        """Whether people were on the side of the proposed grade."""
        return [SCALE.is_relevant(one.grade) == truth for one, truth in zip(self.inputs, self.relevant, strict=True)]

    def confidence(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) float64, p(relevant) turned to the side of the proposed grade."""
        return np.where([SCALE.is_relevant(one.grade) for one in self.inputs], p, 1.0 - p)


def run(quick: bool) -> Result:
    """ECE, AUROC and reliability of GPT-4's and Llama-3-8B's confidences, raw and calibrated, with intervals."""
    resamples = 300 if quick else 2000
    grades = read_qrels("diras", "test")
    rows = read_suggestions("diras")
    figures: dict[str, Json] = {}
    lines: list[str] = []
    holds = one_calibrator = False
    for name, kind in ((GPT4, ConfidenceKind.VERBAL), (LLAMA, ConfidenceKind.TOKEN)):
        mine = [row for row in rows if row.judge == name]
        judged = Judged(
            kind=kind,
            inputs=[_input(row, kind) for row in mine],
            relevant=[grades[row.query_id, row.passage_id] >= RELEVANT_FROM for row in mine],
            queries=[row.query_id for row in mine],
        )
        p = cross_fit(judged.inputs, judged.relevant, judged.queries, scale=SCALE, kind=kind)
        raw_p = np.array([raw_p_relevant(one, SCALE, kind) for one in judged.inputs])
        raw, fitted = (
            measure(one, judged.relevant, judged.correct, judged.queries, resamples=resamples, seed=SEED)
            for one in (raw_p, p)
        )
        ranked, gain = auroc_under_one_calibrator(judged, resamples)
        floor = ece_of_a_perfect_model(p, seed=SEED)
        lines += _table(name, raw, fitted, (ranked, gain), floor)
        figures[name] = {
            "raw": _as_json(raw),
            "calibrated": {
                **_as_json(fitted),
                "auroc_correct_one_calibrator": _bounds(ranked),
                "auroc_correct_gain": _bounds(gain),
                "ece_perfect_95": floor[1],
            },
        }
        if name == GPT4:
            believable = fitted.ece.value <= TARGET_ECE
            holds = believable and _value(fitted.auroc_correct) >= _value(raw.auroc_correct)
            one_calibrator = believable and _value(ranked) >= _value(raw.auroc_correct)
            figures["holds_under_one_calibrator"] = one_calibrator
    if not quick:
        check = estimators_on_simulated_judges()
        figures["auroc_gain_of_simulated_judges"] = check
        lines.append(
            f"{SIMULATED} simulated judges, AUROC gained: {check['on_new_questions']:+.3f} on 80 new questions; from "
            f"11 questions as here, under one calibrator {check['one_calibrator']:+.3f}, pooled {check['pooled']:+.3f}"
        )
    verdict = "would hold" if one_calibrator else "would not hold"
    lines.append(f"with each pair of questions compared under one calibrator it {verdict}")
    lines.append(f"Llama-3-8B is reported, not part of what must hold; its raw ECE was said to be {SAID_LLAMA_ECE:g}")
    return Result(name="calibration", holds=holds, target=TARGET, figures=figures, lines=tuple(lines))


def auroc_under_one_calibrator(judged: Judged, resamples: int) -> tuple[Interval | None, Interval | None]:
    """AUROC of being correct, each pair of questions compared under the calibrator that saw neither, and its gain.

    Pairs of one question are compared under each calibrator that left it out, and averaged. The interval draws
    questions with replacement, as everywhere. The gain is over the raw confidence, on the same pairs.
    """
    names = list(dict.fromkeys(judged.queries))
    at = np.array([names.index(query) for query in judged.queries])
    correct = np.array(judged.correct)
    raw = judged.confidence(np.array([raw_p_relevant(one, SCALE, judged.kind) for one in judged.inputs]))
    won, won_raw, compared = (np.zeros((len(names), len(names))) for _ in range(3))
    for pair in itertools.combinations(range(len(names)), 2):
        outside = np.flatnonzero(np.isin(at, pair))
        inside = np.flatnonzero(~np.isin(at, pair)).tolist()
        calibrator = fit_calibrator(
            [judged.inputs[i] for i in inside],
            [judged.relevant[i] for i in inside],
            [judged.queries[i] for i in inside],
            scale=SCALE,
            kind=judged.kind,
        )
        p = np.full(len(at), np.nan)
        p[outside] = calibrator.p_relevant([judged.inputs[i] for i in outside.tolist()])
        confidence = judged.confidence(p)
        for a, b in itertools.product(pair, pair):
            right, wrong = (at == a) & correct, (at == b) & ~correct
            share = 1.0 if a != b else 1.0 / (len(names) - 1)
            won[a, b] += share * _won(confidence[right], confidence[wrong])
            won_raw[a, b] += share * _won(raw[right], raw[wrong])
            compared[a, b] += share * int(right.sum()) * int(wrong.sum())

    def share_of(sums: NDArray[np.float64]) -> Interval | None:
        def statistic(weights: NDArray[np.float64]) -> float | None:
            total = float(weights @ compared @ weights)
            return float(weights @ sums @ weights) / total if total else None

        return bootstrap_by_query(statistic, names, resamples=resamples, seed=SEED)

    return share_of(won), share_of(won - won_raw)


def estimators_on_simulated_judges(judges: int = SIMULATED) -> dict[str, float]:
    """Mean AUROC gained by calibrating: truly, on 80 new questions, and as both estimators say from 11 questions.

    With 160 judges: truly +.026 (standard error .003), under one calibrator +.025, pooled +.015.
    """
    gains = []
    for number in range(judges):
        whole = simulated_judge(300 + number, questions=91, pairs=60)
        known, new = whole.part(0, 660), whole.part(660, 91 * 60)
        judged, later = (Judged(ConfidenceKind.VERBAL, one.inputs, one.relevant, one.queries) for one in (known, new))
        calibrator = fit_calibrator(known.inputs, known.relevant, known.queries, scale=SCALE, kind=judged.kind)
        crossed = cross_fit(known.inputs, known.relevant, known.queries, scale=SCALE, kind=judged.kind)
        one_calibrator = auroc_under_one_calibrator(judged, resamples=2)[1]
        gains.append(
            [
                _gain(later, calibrator.p_relevant(new.inputs)),
                float("nan") if one_calibrator is None else one_calibrator.value,
                _gain(judged, crossed),
            ]
        )
    true, one, pooled = np.array(gains).mean(axis=0).tolist()
    return {"on_new_questions": true, "one_calibrator": one, "pooled": pooled}


def _gain(judged: Judged, p: NDArray[np.float64]) -> float:
    raw = np.array([raw_p_relevant(one, SCALE, judged.kind) for one in judged.inputs])
    before, after = (auroc(judged.confidence(one), judged.correct) for one in (raw, p))
    return float("nan") if before is None or after is None else after - before


def _won(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float:
    """Comparisons that a right suggestion wins over a wrong one, ties counting one half."""
    return float((np.sign(np.subtract.outer(right, wrong)) + 1.0).sum()) / 2


def _table(
    name: str,
    raw: CalibrationReport,
    fitted: CalibrationReport,
    ranked: tuple[Interval | None, Interval | None],
    floor: tuple[float, float],
) -> list[str]:
    heads = ("", "ECE", "if perfect", "Brier", "AUROC of being correct", "pooled")
    cells = [
        ("raw", _text(raw.ece), f"{raw.ece_if_perfect:.3f}", _text(raw.brier), _text(raw.auroc_correct), "the same"),
        (
            "calibrated",
            _text(fitted.ece),
            f"{fitted.ece_if_perfect:.3f}",
            _text(fitted.brier),
            _text(ranked[0]),
            _text(fitted.auroc_correct),
        ),
    ]
    return [
        f"{name}: {raw.n} pairs of {raw.n_queries} questions, {raw.n_relevant} relevant, {raw.n_correct} judged right",
        *(
            "  " + "".join(f"{cell:<24}" if i else f"{cell:<12}" for i, cell in enumerate(row))
            for row in (heads, *cells)
        ),
        f"  AUROC of being correct gained by calibrating, on the same pairs: {_text(ranked[1])}",
        f"  95 % of perfect models would show an ECE below {floor[1]:.3f} here",
        *_diagram("raw", raw.bins),
        *_diagram("calibrated", fitted.bins),
        "",
    ]


def _input(row: PublicSuggestion, kind: ConfidenceKind) -> JudgedInput:
    """The kind's confidence as such; with kind `verbal` the token probability beside it, as the distribution."""
    token = row.token_probability
    distribution = None
    if kind is ConfidenceKind.VERBAL and token is not None:
        distribution = (1.0 - token, token) if row.grade else (token, 1.0 - token)
    confidence = token if kind is ConfidenceKind.TOKEN else row.verbal_confidence
    return JudgedInput(row.grade, confidence, distribution, kind=kind)


def _diagram(title: str, bins: Sequence[ReliabilityBin]) -> list[str]:
    """The reliability diagram in characters: o is what was promised on average, # what people said."""
    drawn = [f"  {title + ': p(relevant)':<24}share that people call relevant, 0 to 1; o is what was promised"]
    for one in bins:
        bar = ["#" if place < round(50 * one.share_relevant) else "." for place in range(51)]
        bar[round(50 * one.mean_p)] = "o"
        text = f"{one.low:.1f} to {one.high:.1f}, n = {one.n}"
        drawn.append(f"    {text:<22}{''.join(bar)} {one.mean_p:.2f} promised, {one.share_relevant:.2f} found")
    return drawn


def _text(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _value(interval: Interval | None) -> float:
    return float("nan") if interval is None else interval.value


def _bounds(interval: Interval | None) -> list[Json]:
    return [] if interval is None else [interval.value, interval.low, interval.high]


def _as_json(report: CalibrationReport) -> dict[str, Json]:
    return {
        "n": report.n,
        "questions": report.n_queries,
        "ece": _bounds(report.ece),
        "ece_if_perfect": report.ece_if_perfect,
        "brier": _bounds(report.brier),
        "auroc_correct_pooled": _bounds(report.auroc_correct),
        "auroc_relevant_pooled": _bounds(report.auroc_relevant),
        "bins": [[one.low, one.high, one.n, one.mean_p, one.share_relevant] for one in report.bins],
    }
