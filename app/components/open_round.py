"""The rounds of the Train screen: the open one with what it waits for, and all of them with what they gained."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.problems import OURS, sentence, told
from app.components.rounds import going_text, show_price, show_rounds, show_waiting
from app.components.text import counted, literal
from app.jobs import rounds
from app.services import round_parts
from app.services import rounds as round_services
from app.services.label_views import LabelPlan
from app.services.round_reading import get_open, get_round, list_rounds
from app.services.round_views import Part, RoundView
from db.enums import RoundStatus


def draw_rounds() -> None:
    workspace, criterion = state.get_workspace(), state.get_criterion()
    st.header("Rounds", anchor=False)
    found = get_open(workspace, criterion=criterion)
    if found is None:
        st.caption(
            "A round searches every question with the live model, has the judge label what is new, waits for audits, "
            "retrains at the speed chosen above, and says what the round gained per 100 audits."
        )
        st.button("Next round", key="train.round.start", on_click=_begin_round, args=(True,))
    else:
        with st.container(border=True):
            _open_round(found)
    show_rounds(list_rounds(workspace, criterion=criterion))


def _open_round(found: RoundView) -> None:
    if found.status is RoundStatus.RUNNING:
        st.fragment(watch_round, run_every=1.0)(found.id, found.next_part)
        return
    if found.status is RoundStatus.FAILED:
        st.error(literal(found.message or "The log says why."), icon=":material/error:")
    if found.next_part is Part.CONSENT or (found.status is RoundStatus.FAILED and found.next_part is Part.LABEL):
        with told():
            plan = round_parts.plan(state.get_workspace(), found.id)
            show_price(found, plan)
            _cap(plan)
            st.button(
                f"Label {counted(plan.n_pairs, 'pair')}",
                key="train.round.label",
                type="primary",
                on_click=_label_round,
                args=(found, plan.cost_usd is not None),
            )
    elif found.status is RoundStatus.FAILED:
        st.button("Go on with the round", key="train.round.again", type="primary", on_click=_begin_round)
    else:
        show_waiting(found)
        left, right = st.columns(2)
        left.button(
            "Retrain on this round’s labels",
            key="train.round.train",
            type="primary",
            on_click=_go_on,
            args=(found.id,),
            width="stretch",
        )
        review = state.SCREENS["review"]
        right.page_link(review.path, label=f"Go to {review.title}", icon=review.icon)
    st.button("Give this round up", key="train.round.cancel", on_click=_cancel_round, args=(found.id,))


def watch_round(round_id: int, part: Part) -> None:
    """A round while it goes; redraws the whole screen when its part is over."""
    with told():
        found = get_round(state.get_workspace(), round_id=round_id)
        if found.status is not RoundStatus.RUNNING or found.next_part is not part:
            st.rerun()
        st.html(f'<h3 class="rl-small-heading">Round {found.number}</h3>')
        st.write(going_text(found))
        if not found.alive:
            st.warning(
                "Nobody works on this round now. Start the worker in a terminal, or run the round there; it goes on "
                "from where it stood.",
                icon=":material/power_off:",
            )
            st.code("relabel worker", language=None)
            st.button("Leave it to the worker", key="train.round.again", on_click=_begin_round)
        st.button("Give this round up", key="train.round.cancel", on_click=_cancel_round, args=(found.id,))


def _cap(plan: LabelPlan) -> None:
    if plan.host is None:
        return
    if plan.cost_usd is None:
        st.number_input(
            "Use at most, in tokens",
            min_value=1_000,
            value=plan.token_cap,
            placeholder="no cap",
            key="train.round.tokens",
        )
    else:
        st.number_input(
            "Spend at most, in dollars",
            min_value=0.01,
            value=plan.cost_cap_usd,
            placeholder="no cap",
            key="train.round.usd",
        )


def chosen_speed() -> dict[str, object]:
    """The speed that is chosen; that of the settings where a run is shown in place of the choice."""
    return {"speed": str(state.value_of("train.speed") or state.get_workspace().settings.speed)}


def _begin_round(new: bool = False) -> None:
    """Asks for the next round at the chosen speed; one that goes on keeps the speed it was begun with."""
    try:
        rounds.start(
            state.get_workspace(),
            person=state.get_person(),
            criterion=state.get_criterion(),
            overrides=chosen_speed() if new else None,
        )
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")


def _label_round(found: RoundView, priced: bool) -> None:
    cap = state.value_of("train.round.usd" if priced else "train.round.tokens")
    given = cap if isinstance(cap, int | float) else None
    try:
        round_services.set_caps(
            state.get_workspace(),
            round_id=found.id,
            token_cap=None if priced or given is None else int(given),
            cost_cap_usd=None if not priced or given is None else float(given),
        )
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")
    else:
        if found.status is RoundStatus.FAILED:
            _begin_round()
        else:
            _go_on(found.id)


def _go_on(round_id: int) -> None:
    try:
        rounds.go_on(state.get_workspace(), round_id=round_id, person=state.get_person())
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")


def _cancel_round(round_id: int) -> None:
    try:
        round_services.request_cancel(state.get_workspace(), round_id=round_id, person=state.get_person())
    except OURS as exc:
        state.leave_notice("train", sentence(exc), "refused")
