"""Batches, their audits, and certificates as tables; what carries no certificate is called uncertified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from app.components.table import Align, show_table
from app.components.text import counted, literal
from app.services.certificate_views import BatchView, CertificateView, Forecast, ForeseenClass, PlanView

_STATES = {"issued": "✓ in force", "refused": "✕ not certified", "suspended": "‖ suspended"}


_CERTIFICATE_COLUMNS: Sequence[Align] = (
    *("right", "left", "left", "left", "right", "right"),
    *("right", "right", "right", "right", "right", "left"),
)


def side_text(relevant: bool) -> str:
    return "relevant" if relevant else "not relevant"


def seconds_text(seconds: float, n_timed: int) -> str:
    """How long a review takes, and how that is known."""
    if n_timed:
        return f"{seconds:.0f} s a review, the median of {counted(n_timed, 'blind review')} here"
    return f"{seconds:.0f} s a review, assumed: too few are timed here yet"


def excluded_text(excluded: Mapping[str, int]) -> str:
    """Why suggestions of the judge are in no batch, as one sentence; empty when all can be."""
    if not excluded:
        return ""
    return "Left out: " + "; ".join(f"{number:,} because {why}" for why, number in excluded.items()) + "."


def show_threshold(forecast: Forecast, threshold: float) -> None:
    """What accepting from that calibrated confidence on would mean, each class apart, and what is left to people."""
    nearest = {
        relevant: min(
            (point for point in forecast.points if point.relevant == relevant),
            key=lambda point: abs(point.threshold - threshold),
        )
        for relevant in (False, True)
    }
    show_table(
        ["Class", "Accepted", "Coverage", "Wrong, expected"],
        [
            [
                side_text(relevant).replace(" ", "\u00a0"),
                f"{nearest[relevant].n_accepted:,} of {n:,}",
                f"{nearest[relevant].coverage:.0%}",
                _share(nearest[relevant].expected_error),
            ]
            for relevant, n in ((False, forecast.n_pairs - forecast.n_relevant), (True, forecast.n_relevant))
        ],
        align=["left", "right", "right", "right"],
    )
    left = forecast.n_pairs - sum(point.n_accepted for point in nearest.values())
    hours = left * forecast.seconds_per_review / 3600
    st.caption(
        f"Left to people: {counted(left, 'pair')}, {hours:.1f} hours at "
        f"{seconds_text(forecast.seconds_per_review, forecast.n_timed)}. Expected as far as the calibrator is right; "
        "nothing is promised before a certificate."
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def show_plan(plan: PlanView) -> None:
    """How many blind audits buy which error bound and coverage, and the hours they cost."""
    show_table(
        ["At most wrong", "Blind audits", "Hours", "Not relevant, accepted", "Relevant, accepted"],
        [
            [
                f"{row.epsilon:.0%}",
                f"{row.n_audits:,}",
                f"{row.hours:.1f}",
                _foreseen(row.irrelevant),
                _foreseen(row.relevant),
            ]
            for row in plan.rows
        ],
        align=["right", "right", "right", "right", "right"],
    )
    st.caption(
        f"A batch of {counted(plan.n_pairs, 'pair')}, {plan.n_relevant:,} of them proposed as relevant; "
        f"{seconds_text(plan.seconds_per_review, plan.n_timed)}. Accepted: the share of the class to be expected, "
        "and in "
        "brackets what it would be if twice, or half, as much is wrong as the calibrator says."
    )


def _foreseen(one: ForeseenClass) -> str:
    if one.coverage < 0.005 and one.high < 0.005:
        return "nothing"
    return f"{one.coverage:.0%} ({one.low:.0%} to {one.high:.0%})"


def show_batches(batches: Sequence[BatchView]) -> None:
    """Batches whose audits are done or given up."""
    show_table(
        ["Batch", "Judge", "Frozen", "By", "Pairs", "Audits", "ε", "Attempt", "State"],
        [
            [
                f"{one.id}",
                one.judge,
                one.created_at.strftime("%Y-%m-%d %H:%M"),
                one.person or "",
                f"{one.n_pairs:,}",
                f"{one.n_answered:,} of {one.n_audits:,}",
                f"{one.epsilon:.0%}",
                f"{one.attempt}",
                f"{one.state}: {one.note}" if one.note else one.state,
            ]
            for one in batches
        ],
        align=["right", "left", "left", "left", "right", "right", "right", "right", "left"],
    )


def show_certificates(certificates: Sequence[CertificateView]) -> None:
    """Every certificate, each class apart: the promise, what it rests on, and what it covers."""
    show_table(
        [
            *("No.", "Judge", "Class", "State", "At most wrong", "With confidence"),
            *("Audits", "Wrong", "Accepted", "Coverage", "Relevant found", "Spot checks"),
        ],
        [
            [
                f"{one.id}",
                one.judge,
                side_text(one.relevant),
                _STATES[one.state],
                f"{one.epsilon:.0%}",
                f"{1 - one.delta / 2:.1%}",
                f"{one.n_audits:,}",
                f"{one.n_errors:,}",
                f"{one.n_accepted:,} of {one.n_class:,}",
                f"{one.coverage:.0%}",
                _recall(one),
                _checks(one),
            ]
            for one in certificates
        ],
        align=_CERTIFICATE_COLUMNS,
    )
    st.caption(
        "Coverage: of the pairs of the class that nobody audited. Relevant found: how many of the batch's relevant "
        "pairs "
        "are accepted as such, an estimate with its 95 % interval. A certificate is about its own batch alone."
    )
    for one in certificates:
        st.caption(literal(f"No. {one.id}: {one.reason}."))


def _recall(one: CertificateView) -> str:
    if one.recall_relevant is None:
        return "–"
    if one.recall_interval is None or one.recall_interval[0] == one.recall_interval[1]:
        return f"{one.recall_relevant:.0%}"
    low, high = one.recall_interval
    return f"{one.recall_relevant:.0%} ({low:.0%} to {high:.0%})"


def _checks(one: CertificateView) -> str:
    if one.spot_checks is None:
        return "none drawn"
    checks = one.spot_checks
    return f"{checks.n_done:,} of {checks.n_drawn:,} done, {checks.n_wrong:,} wrong"
