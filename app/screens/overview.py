"""Overview: where the pairs stand, what it cost, how good the live model is, and what to do next."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.badges import judges_text
from app.components.problems import show_notice, told
from app.components.text import counted, escaped, literal
from app.components.tiers import show_tiers
from app.services import overview, self_labelling
from app.services.views import Funnel, ModelView, OverviewView

_NAMES = 8


def draw() -> None:
    st.title("Overview", anchor=False)
    show_notice("overview")
    view = overview.get_overview(state.get_workspace(), criterion=state.get_criterion())
    _funnel(view.funnel, uncertified=view.uncertified)
    others = f" People alone judge the others, blind: {view.graded_candidates}." if view.graded_candidates else ""
    st.caption(f"Every number above counts pairs of train questions; pairs that wait are of all questions.{others}")
    left, right = st.columns([3, 2], gap="large")
    with left:
        _next_steps(view)
    with right:
        _live(view.live)
        _cost(view)
    show_tiers(self_labelling.get_tiers(state.get_workspace(), criterion=state.get_criterion()))
    _corpus(view)


def _funnel(funnel: Funnel, *, uncertified: bool) -> None:
    proposed_note = "pairs a judge has answered for"
    if funnel.unreadable:
        proposed_note += f", {funnel.unreadable:,} unreadably"
    share = f"{funnel.accepted / funnel.proposed:.0%} of the proposed, " if funnel.proposed else ""
    accepted_note = share + ("uncertified" if uncertified else "under a certificate")
    steps = (
        ("Candidates", funnel.candidates, "pairs put up for judging", ""),
        ("Proposed", funnel.proposed, proposed_note, ""),
        ("Accepted", funnel.accepted, accepted_note, ""),
        ("Rejected", funnel.rejected, f"not sure enough; {funnel.waiting:,} wait for people", ""),
        ("Audited", funnel.audited, "pairs graded by people", ""),
        ("Curated", funnel.curated, "people first, then accepted", "rl-last"),
    )
    items = "".join(
        f'<li class="{css}"><span>{escaped(name)}</span><b>{number:,}</b><small>{escaped(note)}</small></li>'
        for name, number, note, css in steps
    )
    st.html(f'<ol class="rl-funnel" aria-label="From candidates to curated grades">{items}</ol>')


def _next_steps(view: OverviewView) -> None:
    st.header("Next", anchor=False)
    if not view.next_steps:
        st.write("Nothing is waiting. Import more questions, or ask the retriever something on the Search screen.")
    for number, step in enumerate(view.next_steps):
        with st.container(border=True, key=f"overview.step.{number}"):
            screen = state.SCREENS.get(step.screen) if step.screen else None
            command = f"<code>{escaped(step.command)}</code>" if step.command else ""
            if command:
                command = f"<div class='rl-muted'>{'or ' if screen else ''}{command}</div>"
            words, button = st.columns([5, 2], vertical_alignment="center")
            words.html(f"<div>{escaped(step.text)}</div>{command}")
            if screen is not None and button.button(
                screen.title,
                key=f"overview.go.{number}",
                type="primary" if number == 0 else "secondary",
                icon=screen.icon,
                width="stretch",
            ):
                st.switch_page(screen.path)


def _live(live: ModelView | None) -> None:
    st.header("Live model", anchor=False)
    if live is None:
        st.write("No model is live yet. Import passages first; the built-in encoder then serves until one is trained.")
        return
    evaluation = live.evaluation
    measure = next((m for m in evaluation.measures if m.name == "nDCG@10"), None) if evaluation else None
    if measure is None or evaluation is None:
        st.html(f"<p><strong>{escaped(live.name)}</strong></p>")
        st.caption("Not evaluated yet: it needs held-out questions with judgements by people.")
        return
    st.metric(f"Held-out nDCG@10 of {literal(live.name)}", f"{measure.value:.3f}")
    st.caption(
        f"{counted(measure.n_queries, 'held-out question')}, "
        f"{counted(evaluation.n_judgements, 'human judgement')}. Higher is better, 1 is perfect."
    )


def _cost(view: OverviewView) -> None:
    st.header("Cost so far", anchor=False)
    tokens = view.prompt_tokens + view.completion_tokens
    if view.cost_usd is not None:
        st.metric("Proposals", f"${view.cost_usd:,.2f}")
    elif tokens:
        st.metric("Proposals", "price unknown")
        st.caption("Set llm_price_in_per_million_usd and llm_price_out_per_million_usd to see the price.")
    else:
        st.metric("Proposals", "$0.00")
    spent = (
        f"{view.prompt_tokens:,} prompt and {view.completion_tokens:,} completion tokens"
        if tokens
        else "no tokens used"
    )
    st.caption(f"Judges: {literal(judges_text(view.judges))}; {spent}.")


def _corpus(view: OverviewView) -> None:
    queries = ", ".join(f"{number:,} {split}" for split, number in view.n_queries.items()) or "none"
    graded = ", ".join(f"{name} {number:,}" for name, number in list(view.graded_by.items())[:_NAMES]) or "nobody yet"
    more = len(view.graded_by) - _NAMES
    if more > 0:
        graded += f" and {counted(more, 'other')}"
    st.caption(f"Pairs graded by: {literal(graded)}.")
    st.caption(
        f"{counted(view.n_passages, 'passage')}. Questions: {literal(queries)}. Criterion: {view.criterion.value}."
    )


with told():
    draw()
