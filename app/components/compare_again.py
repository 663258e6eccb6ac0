"""Comparing a model with the live one once more: after more of its results were judged, or when another one is live."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.problems import OURS, sentence
from app.components.text import literal
from app.services import evaluating, promotion
from app.services.judging_first import JudgeFirstView
from app.services.views import EvaluationView, ModelView

_MEASURING = "Measuring both models"


def show_compare_again(evaluation: EvaluationView, model: ModelView, first: JudgeFirstView) -> None:
    """Once there is something new to compare, a button that measures both models anew and waits for the figures.

    Leaving the page before the end stores nothing and spends no look.
    """
    live = promotion.get_live_view(state.get_workspace())
    if live is None or (live.name == evaluation.baseline and first.asked == first.waiting):
        return
    st.button(
        f"Compare again (look {first.next_look})",
        key="train.compare_again",
        icon=":material/compare_arrows:",
        on_click=state.ask_to_compare_again,
        args=(evaluation.id,),
    )
    st.caption(
        f"Measures this model and {literal(live.name)} on what people have judged by now. Each look asks for more."
    )
    if state.take_asked_to_compare() == evaluation.id:
        _compare(evaluation, model)


def _compare(evaluation: EvaluationView, model: ModelView) -> None:
    bar = st.progress(0.0, text=_MEASURING)

    def show(done: int, total: int) -> None:
        bar.progress(min(1.0, done / max(total, 1)), text=_MEASURING)

    try:
        found = evaluating.evaluate_model(
            state.get_workspace(),
            model_id=model.id,
            split=evaluation.split,
            criterion=evaluation.criterion,
            progress=show,
        )
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")
    else:
        state.leave_notice("train", f"Compared again: this was look {found.look}.")
    st.rerun()
