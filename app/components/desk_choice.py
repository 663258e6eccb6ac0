"""One line above the card: the order, filters and saved views, the search, and whether grades are given blind first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from types import MappingProxyType

import streamlit as st

from app import state
from app.components.badges import grade_text, judges_text
from app.components.view_saving import delete_view, save_view
from app.services import desk_filters, saved_views
from app.services.desk_choice import DEFAULT, ORDERS, DeskChoice, Order
from app.services.views import ScaleView
from db.enums import QueueCause

SCREEN = "review"
_WIDGET = "review.desk."
ORDER_WORDS: Mapping[Order, str] = MappingProxyType(
    {
        "value": "Most useful first",
        "random": "Random",
        "query": "Question by question",
        "oldest": "Oldest first",
    }
)
CAUSE_WORDS: Mapping[QueueCause, str] = MappingProxyType(
    {
        QueueCause.NEAR_THRESHOLD: "Nearly sure enough",
        QueueCause.HIGH_RANK: "Found high up",
        QueueCause.DISAGREEMENT: "Judges disagree",
        QueueCause.FALSE_NEGATIVE: "Perhaps missed by the judge",
        QueueCause.UNREADABLE: "Reply could not be read",
        QueueCause.SUSPECT_HUMAN: "A person's label in doubt",
        QueueCause.PEOPLE_ONLY: "Judged by people only",
        QueueCause.DRAWN: "Drawn for a certificate",
        QueueCause.OTHER: "Other",
    }
)


def choose_desk(scale: ScaleView) -> None:
    """Draw the line; what is chosen is in `state.get_desk()` from the next run on."""
    desk = state.get_desk()
    with st.container(key="review-bar", horizontal=True, gap="small", vertical_alignment="center"):
        st.html('<h1 class="rl-title">Review</h1>', width="content")
        _widget("order", desk.order)
        st.selectbox(
            "Order",
            ORDERS,
            format_func=ORDER_WORDS.__getitem__,
            key=_WIDGET + "order",
            label_visibility="collapsed",
            on_change=_changed,
            width=190,
        )
        n_filters = _n_filters(desk)
        label = "Filters" if not n_filters else f"Filters · {n_filters}"
        with st.popover(label, icon=":material/filter_list:", on_change="rerun", key="review.filters") as opened:
            if getattr(opened, "open", False):
                _filters(desk, scale)
        _widget("text", desk.text)
        with st.container(key="review-search", width=230):
            st.text_input(
                "Search",
                key=_WIDGET + "text",
                placeholder="/  Search question, passage",
                label_visibility="collapsed",
                max_chars=200,
                on_change=_changed,
            )
        _widget("blind", desk.blind)
        st.toggle(
            "Blind first",
            key=_WIDGET + "blind",
            on_change=_changed,
            help="You grade before you see the proposal. Then it shows, and you keep your grade or give another. Both "
            "are stored.",
        )
        if n_filters or desk.text.strip():
            st.button("Clear", key="review.clear", on_click=clear, type="tertiary", icon=":material/close:")


def clear() -> None:
    """Take all filters away; order and blind stay."""
    desk = state.get_desk()
    _apply(replace(DEFAULT, order=desk.order, blind=desk.blind))


def _n_filters(desk: DeskChoice) -> int:
    by_confidence = desk.confidence_from is not None or desk.confidence_to is not None
    return sum((desk.cause is not None, desk.judge_id is not None, desk.grade is not None, by_confidence))


def _filters(desk: DeskChoice, scale: ScaleView) -> None:
    _widget("cause", desk.cause)
    st.selectbox(
        "Why it waits",
        list(CAUSE_WORDS),
        format_func=CAUSE_WORDS.__getitem__,
        index=None,
        placeholder="Any reason",
        key=_WIDGET + "cause",
        on_change=_changed,
    )
    options = {
        option.judge_id: f"{judges_text([option.name])} · {option.prompt_version[:8]}"
        for option in desk_filters.list_judge_options(state.get_workspace(), criterion=state.get_criterion())
    }
    _widget("judge_id", desk.judge_id if desk.judge_id in options else None)
    st.selectbox(
        "Proposed by",
        list(options),
        format_func=lambda judge_id: options.get(judge_id, "unknown"),
        index=None,
        placeholder="Any judge",
        key=_WIDGET + "judge_id",
        on_change=_changed,
    )
    _widget("grade", desk.grade)
    st.pills(
        "Proposed grade",
        list(range(scale.max_grade + 1)),
        format_func=lambda grade: grade_text(grade, scale),
        key=_WIDGET + "grade",
        on_change=_changed,
    )
    low, high = desk.confidence_from or 0.0, 1.0 if desk.confidence_to is None else desk.confidence_to
    _widget("confidence", (round(100 * low), round(100 * high)))
    st.slider("Stated confidence, %", 0, 100, key=_WIDGET + "confidence", on_change=_changed)
    if desk.by_proposal:
        st.caption("Pairs that are judged blind are not found by what was proposed for them.")
    _views(desk)


def _widget(name: str, value: object) -> None:
    """A widget starts from the choice, also after another screen or a saved view."""
    if state.value_of(_WIDGET + name) is None and value is not None:
        state.set_value(_WIDGET + name, value)


def _changed() -> None:
    """Take over what the widgets say; those that are not drawn keep what was chosen."""
    desk = state.get_desk()
    chosen: dict[str, object] = {}
    for name in ("order", "text", "blind", "cause", "judge_id", "grade"):
        if state.has_value(_WIDGET + name):
            chosen[name] = state.value_of(_WIDGET + name)
    span = state.value_of(_WIDGET + "confidence")
    if isinstance(span, tuple | list) and len(span) == 2:
        chosen["confidence_from"] = span[0] / 100 if span[0] > 0 else None
        chosen["confidence_to"] = span[1] / 100 if span[1] < 100 else None
    _take(from_filters({**asdict(desk), **chosen}))


def _take(desk: DeskChoice) -> None:
    state.choose_desk(desk)
    state.show_list(None)
    state.want_pair(None)
    state.close_linked_pair()


def _apply(desk: DeskChoice) -> None:
    """Choose all of it at once and let the widgets follow."""
    for name in ("order", "text", "blind", "cause", "judge_id", "grade", "confidence"):
        state.forget(_WIDGET + name)
    _take(desk)


def to_filters(desk: DeskChoice) -> dict[str, saved_views.FilterValue]:
    """The choice as words and numbers by name, without what is left at its default."""
    default = asdict(DEFAULT)
    return {
        name: value.value if isinstance(value, QueueCause) else value
        for name, value in asdict(desk).items()
        if value != default[name]
    }


def from_filters(filters: Mapping[str, object]) -> DeskChoice:
    """The choice that stored or chosen filters mean; what makes no sense any more is left out."""
    order, cause, text = filters.get("order"), filters.get("cause"), filters.get("text")
    judge_id, grade = filters.get("judge_id"), filters.get("grade")
    return DeskChoice(
        order=order if order in ORDERS else DEFAULT.order,
        blind=filters.get("blind") is True,
        cause=next((known for known in QueueCause if known == cause), None),
        judge_id=judge_id if isinstance(judge_id, int) else None,
        grade=grade if isinstance(grade, int) else None,
        confidence_from=_share(filters.get("confidence_from")),
        confidence_to=_share(filters.get("confidence_to")),
        text=text.strip()[:200] if isinstance(text, str) else "",
    )


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _views(desk: DeskChoice) -> None:
    """Views of this person and those others share, and a name for the one that is set up now."""
    views = {view.id: view for view in saved_views.list_views(state.get_workspace(), **_mine())}
    if views:
        left, right = st.columns([4, 1], vertical_alignment="bottom")
        with left:
            chosen = st.selectbox(
                "Saved views",
                list(views),
                format_func=lambda view_id: views[view_id].title if view_id in views else "gone",
                index=None,
                placeholder="Choose one",
                key="review.view",
                on_change=_open_view,
            )
        with right:
            st.button(
                "Delete this view",
                key="review.view_delete",
                icon=":material/delete:",
                type="tertiary",
                disabled=chosen is None,
                on_click=_delete_view,
            )
    if to_filters(desk):
        with st.form("review.view_form", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
            st.text_input("Save this view as", max_chars=saved_views.MAX_NAME, key="review.view_name")
            st.checkbox("For everybody", key="review.view_shared")
            st.form_submit_button("Save", key="review.view_save", on_click=_save_view)


def _mine() -> dict[str, str]:
    return {"person": state.get_person(), "screen": SCREEN}


def _open_view() -> None:
    chosen = state.value_of("review.view")
    for view in saved_views.list_views(state.get_workspace(), **_mine()):
        if view.id == chosen:
            _apply(from_filters(view.filters))


def _save_view() -> None:
    save_view(SCREEN, to_filters(state.get_desk()))


def _delete_view() -> None:
    chosen = state.value_of("review.view")
    if isinstance(chosen, int) and delete_view(SCREEN, chosen, done="The view is deleted."):
        state.forget("review.view")
