"""Rounds of retraining as they are shown: where the open one stands, and a table of those that were."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.components.table import show_html_table
from app.components.text import counted, escaped, literal, with_minus
from app.services.label_views import LabelPlan
from app.services.round_views import Figure, Part, RoundView
from db.enums import RoundStatus

_ENDED = {RoundStatus.DONE: "done", RoundStatus.CANCELLED: "cancelled"}


def show_rounds(found: Sequence[RoundView]) -> None:
    """Every round with what it brought, newest first, and what the newest finished one advises."""
    if not found:
        return
    show_html_table(
        (
            ("Round", "status"),
            ("New pairs", "labelled, cost"),
            ("Audits", ""),
            ("nDCG@10", "95 % interval"),
            ("Gain", "95 % interval"),
            ("Gain of the round", "per 100 audits"),
            ("Advice", ""),
        ),
        [
            [
                _two(str(one.number), _ENDED.get(one.status, one.next_part.value)),
                _two(_count(one.new_pairs), f"{_count(one.labels)}, {_cost(one)}"),
                f"{one.n_audits:,}",
                _figure(one.ndcg, sign=""),
                _figure(one.gain, sign="+"),
                "–" if one.gain_per_100 is None else _signed(one.gain_per_100),
                "–" if one.stop is None else "stop" if one.stop else "go on",
            ]
            for one in found
        ],
        "Rounds, newest first",
    )
    finished = next((one for one in found if one.status is RoundStatus.DONE), None)
    if finished is not None:
        questions = "" if finished.ndcg is None else f", n = {finished.ndcg.n_queries:,} held-out questions"
        against = f" Gain: against {finished.compared_with}." if finished.compared_with else ""
        st.html(f'<p class="rl-advice"><strong>{escaped(with_minus(finished.advice))}</strong></p>')
        st.caption(
            literal(
                f"Means with 95 % intervals{questions}.{against} Audits: pairs graded here since the round before."
                " The gain is of all that a round brought, not of its audits alone."
            )
        )


def show_waiting(found: RoundView) -> None:
    """What an open round waits for, and how much people have done since the one before."""
    st.html(
        f'<h3 class="rl-small-heading">Round {found.number} waits for audits</h3>'
        f"<div>{counted(found.waiting, 'pair')} in the review queue; {counted(found.n_audits, 'pair')} audited since "
        "the round before.</div>"
        '<div class="rl-muted">Audits go before the judge’s labels. Retrain when you like; what nobody audited '
        "trains with less weight or not at all.</div>"
    )


def show_price(found: RoundView, plan: LabelPlan) -> None:
    """What labelling the round's pairs would send, and where, and cost."""
    where = (
        f"Queries, definitions and passages would be sent to <strong>{escaped(plan.host)}</strong>"
        f"<span>as {escaped(plan.judge)}</span>"
        if plan.host
        else "No text leaves this machine."
    )
    st.html(
        f'<h3 class="rl-small-heading">Round {found.number} has {counted(plan.n_pairs, "pair")} to label</h3>'
        f'<div class="rl-host">{where}</div>'
    )
    dollars = "" if plan.cost_usd is None else f", about ${plan.cost_usd:,.2f}"
    worst = "" if plan.worst_cost_usd is None else f" or ${plan.worst_cost_usd:,.2f}"
    st.caption(
        literal(
            f"{counted(plan.n_calls, 'call')}, {plan.n_stored:,} of them stored; about {plan.tokens:,} tokens{dollars};"
            f" at worst {plan.worst_tokens:,} tokens{worst}, which is what a cap counts before each call."
        )
    )


def going_text(found: RoundView) -> str:
    """Where a running round stands, in a few words."""
    what = {
        Part.POOL: "Pooling: every question is searched with the live model.",
        Part.LABEL: "Labelling what is new. The Labelling screen shows the job.",
        Part.TRAIN: "Retraining. The run is shown above.",
        Part.MEASURE: "Measuring the new model beside that of the round before.",
    }
    return what.get(found.next_part, str(found.next_part))


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _cost(one: RoundView) -> str:
    if one.labels is None:
        return "–"
    return "unknown" if one.cost_usd is None else f"${one.cost_usd:,.2f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _figure(figure: Figure | None, *, sign: str) -> str:
    if figure is None:
        return "–"
    value, interval = f"{figure.mean:{sign}.3f}", f"{figure.low:{sign}.3f} to {figure.high:{sign}.3f}"
    return _two(value.replace("-", "−"), interval.replace("-", "−")) if sign else _two(value, interval)


def _two(value: str, note: str) -> str:
    """A value over a smaller note, as HTML."""
    return f'<strong>{escaped(value)}</strong><br><span class="rl-muted">{escaped(note)}</span>'
