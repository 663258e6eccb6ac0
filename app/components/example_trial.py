"""What audited examples did for the judge, as it was measured, and whether they are used."""

from __future__ import annotations

import streamlit as st

from app.components.intervals import interval_text
from app.components.table import show_table
from app.components.text import counted, literal
from app.services.judge_views import IntervalView
from app.services.measured_examples import ExampleTrial


def show_example_trial(trial: ExampleTrial | None) -> None:
    """The measurement with its verdict; without one, how to make it."""
    st.header("Examples from audits", anchor=False)
    if trial is None:
        st.caption(
            "Nobody has measured yet whether the LLM judges better when it is shown pairs that people graded. It asks "
            "about every blind review of calibrate questions twice."
        )
        st.code("relabel examples --measure", language=None)
        return
    bounds = None if trial.low is None or trial.high is None else (100 * trial.low, 100 * trial.high)
    gain = f"{100 * trial.difference:+.0f} points"
    if bounds is not None:
        gain += f" ({bounds[0]:+.1f} to {bounds[1]:+.1f})"
    show_table(
        ["Model", "With examples", "Without", "Gain"],
        [
            [
                trial.model,
                interval_text(IntervalView(trial.accuracy_with, None, None)),
                interval_text(IntervalView(trial.accuracy_without, None, None)),
                gain.replace("-", "−"),
            ]
        ],
        caption="Share of pairs on the side that people chose blind",
    )
    st.caption(
        f"{verdict(trial)} This rests on {counted(trial.n_pairs, 'blind review')} of "
        f"{counted(trial.n_queries, 'calibrate question')}, {trial.k} examples a call out of "
        f"{counted(trial.n_examples, 'audit')} of train questions, measured {trial.measured_at:%Y-%m-%d}; the "
        f"{trial.level:.0%} interval of the gain is drawn by question."
    )


def verdict(trial: ExampleTrial) -> str:
    """Whether a judge may be shown these examples, in one sentence."""
    if not trial.holds:
        return literal(f"Measured with {trial.model} or with prompts that have changed since: measure again.")
    if trial.helps:
        return "They help, so the judge with examples can be chosen for labelling."
    return "No gain is shown, so no judge is given examples."
