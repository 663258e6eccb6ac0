"""How a new model compares with the old one: measures, the questions that changed, and what the gate says."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.components.table import show_table
from app.components.text import counted, escaped, shortened
from app.services.views import DifferenceView, EvaluationView, QueryChange
from retriever.slices import FAMILIES, SMALLEST

_ALL = ("all", "overall", "")
_HEADLINE = "nDCG@10"
_CHANGES = 10


def verdict_of(difference: DifferenceView) -> str:
    """What the 95 % interval allows to say, in words."""
    if difference.low > 0:
        return "better"
    if difference.high < 0:
        return "worse"
    return "no clear difference"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _queries(number: int, split: str) -> str:
    return counted(number, f"{split} question")


def show_headline(evaluation: EvaluationView) -> None:
    """The main measure in one sentence: old, new, interval and from how many judgements."""
    main = next((d for d in evaluation.differences if d.measure == _HEADLINE and d.slice in _ALL), None)
    if main is None:
        return
    words = {"better": "The new model is better", "worse": "The new model is worse"}.get(
        verdict_of(main), "No clear difference"
    )
    st.html(
        f'<div class="rl-headline"><strong>{words}</strong>'
        f"<span>nDCG@10 {_number(main.baseline)} → {_number(main.candidate)}"
        f" ({_signed(main.mean)}, 95 % interval {_signed(main.low)} to {_signed(main.high)})</span>"
        f'<span class="rl-muted">{_queries(main.n_queries, evaluation.split.value)}'
        f", {counted(evaluation.n_judgements, 'human judgement')}; look {evaluation.look} at them</span></div>"
    )


def show_differences(evaluation: EvaluationView) -> None:
    """Every measure and slice, old against new."""
    if not evaluation.differences:
        show_table(
            ["Measure", "Value", "Questions"],
            [[m.name, _number(m.value), f"{m.n_queries:,}"] for m in evaluation.measures],
            align=["left", "right", "right"],
        )
        return
    show_table(
        ["Measure", "Old", "New", "Difference", "95 % interval", "p", "n", "Reading"],
        [
            [d.measure, _number(d.baseline), _number(d.candidate), *_figures(d)]
            for d in evaluation.differences
            if d.slice in _ALL
        ],
        align=["left", "right", "right", "right", "right", "right", "right", "left"],
    )
    st.caption(
        f"Old: {evaluation.baseline or 'none'}. New: {evaluation.model}. Interval: bootstrap by question; p: paired, "
        "corrected for the number of measures. Not judged among the first ten results: "
        f"{_share(evaluation.baseline_unjudged_at_10)} old, {_share(evaluation.unjudged_at_10)} new."
    )


def _figures(d: DifferenceView) -> list[str]:
    interval = f"{_signed(d.low)} to {_signed(d.high)}"
    p = "<0.001" if d.p_value < 0.001 else f"{d.p_value:.3f}"
    return [_signed(d.mean), interval, p, f"{d.n_queries:,}", verdict_of(d)]


def show_slices(evaluation: EvaluationView) -> None:
    """The same differences on parts of the queries; where there are few, their number and mean and no verdict."""
    parts = [d for d in evaluation.differences if d.slice not in _ALL]
    if not parts:
        return
    with st.expander("Parts of the questions: seen and unseen, length, labels", key="evaluation.slices"):
        measures = list(dict.fromkeys(d.measure for d in parts))
        chosen = st.segmented_control(
            "Measure", measures, default=measures[0], key="evaluation.slice_measure", label_visibility="collapsed"
        )
        for family in FAMILIES:
            shown = [d for d in parts if d.slice in family.names and d.measure == (chosen or measures[0])]
            if shown:
                show_table(
                    [family.title, "Difference", "95 % interval", "p", "n", "Reading"],
                    [[d.slice, *_part_figures(d)] for d in shown],
                    align=["left", "right", "right", "right", "right", "left"],
                )
                st.caption(family.about)
        st.caption(
            "The gate judges by all questions and by the unseen ones. The other parts describe: with so many, one or "
            "the other looks better or worse by chance."
        )


def _part_figures(d: DifferenceView) -> list[str]:
    if d.n_queries < SMALLEST:
        return [_signed(d.mean), "–", "–", f"{d.n_queries:,}", "too few questions to say"]
    return _figures(d)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"


def show_changes(evaluation: EvaluationView) -> None:
    """The questions whose ranking got better and worse, side by side."""
    left, right = st.columns(2, gap="medium")
    with left:
        _changes("Questions that got better", evaluation.better)
    with right:
        _changes("Questions that got worse", evaluation.worse)


def _changes(title: str, changes: Sequence[QueryChange]) -> None:
    st.html(f'<h3 class="rl-small-heading">{escaped(title)} (at most {_CHANGES})</h3>')
    if not changes:
        st.html('<p class="rl-muted">None.</p>')
        return
    show_table(
        ["Question, nDCG@10", "Old", "New", "Change"],
        [
            [shortened(c.text, 90), _number(c.baseline), _number(c.candidate), _signed(c.candidate - c.baseline)]
            for c in changes[:_CHANGES]
        ],
        align=["left", "right", "right", "right"],
    )


def show_gate(evaluation: EvaluationView) -> None:
    """What the gate says, with its reasons."""
    if evaluation.gate_passed is None:
        word, mark = "The gate was not asked", "–"
    elif evaluation.gate_passed:
        word, mark = "The gate passes this model", "✓"
    else:
        word, mark = "The gate does not pass this model", "✕"
    reasons = "".join(f"<li>{escaped(reason)}</li>" for reason in evaluation.gate_reasons)
    st.html(
        f'<div class="rl-gate rl-gate-{"yes" if evaluation.gate_passed else "no"}"><strong>'
        f'<span aria-hidden="true">{mark}</span> {word}</strong><ul>{reasons}</ul></div>'
    )
