"""The loss curve of a training run."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.services.views import LossPoint


def show_loss(points: Sequence[LossPoint]) -> None:
    """The training loss by step; lower is better. Says so when there is nothing to draw yet."""
    if not points:
        st.caption("The loss curve appears with the first training step.")
        return
    st.line_chart(
        {"Step": [point.step for point in points], "Loss": [point.loss for point in points]},
        x="Step",
        y="Loss",
        height=220,
    )
    st.caption(f"Training loss, last {points[-1].loss:.4f} at step {points[-1].step:,}. Lower is better.")
