"""The reliability diagram: what was promised against what people said, with the number of reviews at every point."""

from __future__ import annotations

import altair as alt
import streamlit as st

from app.components.table import show_table
from app.services.certificate_views import CalibrationReport

_RAW, _CALIBRATED = "as stated", "calibrated"


def show_reliability(*, raw: CalibrationReport | None, calibrated: CalibrationReport | None) -> None:
    """Both reports in one diagram; on the diagonal, people say relevant as often as promised."""
    points = [
        {"which": which, "promised": one.mean_p, "found": one.share_relevant, "n": one.n}
        for which, report in ((_RAW, raw), (_CALIBRATED, calibrated))
        if report is not None
        for one in report.bins
    ]
    if not points:
        return
    st.html('<h3 class="rl-small-heading">Promised and found</h3>')
    share = alt.Scale(domain=[0, 1], nice=False)
    data = alt.InlineData(values=points)
    x = alt.X("promised:Q", title="Promised: p(relevant)", scale=share, axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("found:Q", title="People said relevant", scale=share, axis=alt.Axis(format="%", tickCount=5))
    which = alt.Color(
        "which:N",
        title=None,
        scale=alt.Scale(domain=[_CALIBRATED, _RAW], range=["#0f8a7e", "#8a9491"]),
        legend=alt.Legend(orient="top"),
    )
    tooltip = [
        alt.Tooltip("which:N", title="Confidence"),
        alt.Tooltip("promised:Q", title="Promised", format=".1%"),
        alt.Tooltip("found:Q", title="People said relevant", format=".1%"),
        alt.Tooltip("n:Q", title="Blind reviews"),
    ]
    diagonal = (
        alt.Chart(alt.InlineData(values=[{"promised": 0, "found": 0}, {"promised": 1, "found": 1}]))
        .mark_line(strokeDash=[4, 4], color="#8a9491")
        .encode(x=x, y=y)
    )
    base = alt.Chart(data).encode(x=x, y=y, color=which, tooltip=tooltip)
    lines = base.mark_line(strokeWidth=1.5, opacity=0.6)
    dots = base.mark_point(filled=True, opacity=0.9).encode(
        size=alt.Size("n:Q", legend=None, scale=alt.Scale(range=[40, 420])),
        shape=alt.Shape(
            "which:N", legend=None, scale=alt.Scale(domain=[_CALIBRATED, _RAW], range=["circle", "square"])
        ),
    )
    numbers = (
        alt.Chart(data)
        .transform_filter(alt.datum.which == (_CALIBRATED if calibrated is not None else _RAW))
        .mark_text(dy=-14, fontSize=11, color="#8a9491")
        .encode(x=x, y=y, text="n:Q")
    )
    st.altair_chart(diagonal + lines + dots + numbers, height=340)
    st.caption(
        "On the dashed line people say relevant as often as promised. The numbers, and the size of a point, are how "
        "many "
        "blind reviews stand behind it."
    )
    if calibrated is not None:
        with st.expander("The same as a table", key="reliability.table"):
            show_table(
                ["Promised between", "Mean promised", "People said relevant", "Blind reviews"],
                [
                    [
                        f"{one.low:.0%} and {one.high:.0%}",
                        f"{one.mean_p:.1%}",
                        f"{one.share_relevant:.1%}",
                        f"{one.n:,}",
                    ]
                    for one in calibrated.bins
                ],
                align=["left", "right", "right", "right"],
            )
