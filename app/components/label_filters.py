"""Above the list of labels: the decision, the search, further filters, saved views, and what is chosen as chips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import streamlit as st

from app import state
from app.components.badges import grade_text, judges_text
from app.components.text import literal, shortened
from app.components.view_saving import delete_view, save_view
from app.services import desk_filters, saved_views
from app.services.label_choice import ALL, MAX_TEXT, LabelChoice, from_filters, to_filters
from app.services.views import ScaleView
from db.enums import Outcome, Split

SHEET = Path(__file__).with_name("labels.css")
SCREEN = "labels"
_WIDGET = "labels.filter."
_DECISIONS: Mapping[str, Outcome | None] = MappingProxyType(
    {"All": None, "Accepted": Outcome.ACCEPTED, "Rejected": Outcome.REJECTED}
)
_REVIEWED: Mapping[str, bool | None] = MappingProxyType({"All": None, "By people": True, "Not yet": False})
_ONLY: Mapping[str, str] = MappingProxyType({"disputed": "People differ", "flagged": "Flagged"})
_ABOVE = ("outcome", "text")
"""These stand in the line above the chips."""

_WIDGETS = ("outcome", "reviewed", "judge_id", "grade", "confidence", "split", "only", "text")


def choose_labels(scale: ScaleView) -> LabelChoice:
    """Draw the two lines; what they say is the choice of this run."""
    if state.take_labels_address():  # the widgets follow, or the next click would bring back what they said before
        _forget_widgets()
    choice = state.get_labels_choice()
    judges = _judges() if choice.judge_id is not None else {}
    st.html(SHEET)
    with st.container(key="labels-bar", horizontal=True, gap="small", vertical_alignment="center"):
        _widget("outcome", _word(_DECISIONS, choice.outcome))
        st.segmented_control(
            "Decision",
            list(_DECISIONS),
            required=True,
            key=_WIDGET + "outcome",
            label_visibility="collapsed",
            on_change=_changed,
            width="content",
        )
        _widget("text", choice.text)
        with st.container(width=300):
            st.text_input(
                "Search",
                placeholder="Words in question, passage or reason",
                key=_WIDGET + "text",
                label_visibility="collapsed",
                on_change=_changed,
                max_chars=MAX_TEXT,
            )
        with st.popover("Filters", icon=":material/filter_list:", on_change="rerun", key="labels.filters") as opened:
            if getattr(opened, "open", False):
                _filters(choice, scale)
        with st.popover("Views", icon=":material/bookmark:", on_change="rerun", key="labels.views") as opened:
            if getattr(opened, "open", False):
                _views(choice)
    _chips(choice, scale, judges)
    return choice


def told_of(choice: LabelChoice, scale: ScaleView, judges: Mapping[int, str] | None = None) -> dict[str, str]:
    """What is chosen in words, by the name of what to take away; the words of data are as they are, to be escaped."""
    told: dict[str, str] = {}
    if choice.outcome is not None:
        told["outcome"] = choice.outcome.value.capitalize()
    if choice.grade is not None:
        told["grade"] = f"Proposed {grade_text(choice.grade, scale)}"
    if choice.confidence_from is not None or choice.confidence_to is not None:
        told["confidence"] = f"Confidence {_span(choice)}"
    if choice.judge_id is not None:
        told["judge_id"] = "Judge " + (judges or {}).get(choice.judge_id, f"no. {choice.judge_id}")
    if choice.split is not None:
        told["split"] = f"Split {choice.split.value}"
    if choice.reviewed is not None:
        told["reviewed"] = "Graded by people" if choice.reviewed else "Not graded by people yet"
    for name, word in _ONLY.items():
        if getattr(choice, name):
            told[name] = word
    if choice.text:
        told["text"] = f"“{shortened(choice.text, 40)}”"
    return told


def clear() -> None:
    """Take all filters away."""
    _apply(ALL)


def _span(choice: LabelChoice) -> str:
    low, high = choice.confidence_from, choice.confidence_to
    if low is None:
        return f"up to {100 * (high or 0):.0f} %"
    return f"from {100 * low:.0f} %" if high is None else f"{100 * low:.0f} to {100 * high:.0f} %"


def _chips(choice: LabelChoice, scale: ScaleView, judges: Mapping[int, str]) -> None:
    told = {name: words for name, words in told_of(choice, scale, judges).items() if name not in _ABOVE}
    if not told:
        return
    with st.container(key="labels-chips", horizontal=True, gap="small", vertical_alignment="center"):
        for name, words in told.items():
            st.button(
                literal(words),
                key=f"labels.chip.{name}",
                icon=":material/close:",
                icon_position="right",
                on_click=_without,
                args=(name,),
                help="Take this filter away",
            )
        st.button("Clear all", key="labels.clear", on_click=clear, type="tertiary")


def _filters(choice: LabelChoice, scale: ScaleView) -> None:
    _widget("grade", choice.grade)
    st.pills(
        "Proposed grade",
        list(range(scale.max_grade + 1)),
        format_func=lambda grade: grade_text(grade, scale),
        key=_WIDGET + "grade",
        on_change=_changed,
    )
    low, high = choice.confidence_from or 0.0, 1.0 if choice.confidence_to is None else choice.confidence_to
    _widget("confidence", (round(100 * low), round(100 * high)))
    st.slider("Stated confidence, %", 0, 100, key=_WIDGET + "confidence", on_change=_changed)
    judges = _judges()
    _widget("judge_id", choice.judge_id if choice.judge_id in judges else None)
    st.selectbox(
        "Proposed by",
        list(judges),
        format_func=lambda judge_id: judges.get(judge_id, "unknown"),
        index=None,
        placeholder="Any judge",
        key=_WIDGET + "judge_id",
        on_change=_changed,
    )
    left, right = st.columns(2)
    with left:
        _widget("split", None if choice.split is None else choice.split.value)
        st.pills("Split of the question", [split.value for split in Split], key=_WIDGET + "split", on_change=_changed)
    with right:
        _widget("reviewed", _word(_REVIEWED, choice.reviewed))
        st.segmented_control("Graded", list(_REVIEWED), required=True, key=_WIDGET + "reviewed", on_change=_changed)
    _widget("only", [name for name in _ONLY if getattr(choice, name)])
    st.pills(
        "Only those",
        list(_ONLY),
        format_func=_ONLY.__getitem__,
        selection_mode="multi",
        key=_WIDGET + "only",
        on_change=_changed,
    )
    if choice.by_proposal:
        st.caption("Pairs that people judge blind are not found by what was proposed, decided or disputed.")


def _judges() -> dict[int, str]:
    return {
        option.judge_id: f"{judges_text([option.name])} · {option.prompt_version[:8]}"
        for option in desk_filters.list_judge_options(state.get_workspace(), criterion=state.get_criterion())
    }


def _word(words: Mapping[str, object], value: object) -> str:
    return next(word for word, meant in words.items() if meant == value)


def _widget(name: str, value: object) -> None:
    """A widget starts from the choice, also after another screen or a saved view."""
    if state.value_of(_WIDGET + name) is None and value is not None:
        state.set_value(_WIDGET + name, value)


def _changed() -> None:
    """Take over what the widgets say; those that are not drawn keep what was chosen."""
    chosen: dict[str, object] = asdict(state.get_labels_choice())
    for name in ("text", "judge_id", "grade", "split"):
        if state.has_value(_WIDGET + name):
            chosen[name] = state.value_of(_WIDGET + name)
    for name, words in (("outcome", _DECISIONS), ("reviewed", _REVIEWED)):
        if state.has_value(_WIDGET + name):
            chosen[name] = words.get(str(state.value_of(_WIDGET + name)))
    only = state.value_of(_WIDGET + "only")
    if isinstance(only, list | tuple):
        chosen |= {name: name in only for name in _ONLY}
    span = state.value_of(_WIDGET + "confidence")
    if isinstance(span, tuple | list) and len(span) == 2:
        chosen["confidence_from"] = span[0] / 100 if span[0] > 0 else None
        chosen["confidence_to"] = span[1] / 100 if span[1] < 100 else None
    state.choose_labels(from_filters(chosen))


def _without(name: str) -> None:
    choice = state.get_labels_choice()
    names = ("confidence_from", "confidence_to") if name == "confidence" else (name,)
    _apply(from_filters({key: value for key, value in asdict(choice).items() if key not in names}))


def _apply(choice: LabelChoice) -> None:
    """Choose all of it at once and let the widgets follow."""
    _forget_widgets()
    state.choose_labels(choice)


def _forget_widgets() -> None:
    for name in _WIDGETS:
        state.forget(_WIDGET + name)


def _views(choice: LabelChoice) -> None:
    """Views of this person and those others share, and a name for what is chosen now."""
    views = saved_views.list_views(state.get_workspace(), **_mine())
    if not views and choice == ALL:
        st.caption("No view is saved yet. Choose filters, then give them a name here to come back to them.")
    for view in views:
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.button(
                literal(view.title),
                key=f"labels.view.{view.id}",
                on_click=_apply,
                args=(from_filters(view.filters),),
                type="tertiary",
            )
            if view.mine:
                st.button(
                    f"Delete {literal(view.name)}",
                    key=f"labels.view_delete.{view.id}",
                    icon=":material/delete:",
                    type="tertiary",
                    on_click=_delete_view,
                    args=(view.id, view.name),
                )
    if choice != ALL:
        with st.form("labels.view_form", border=False, clear_on_submit=True):
            st.text_input("Save these filters as", max_chars=saved_views.MAX_NAME, key="labels.view_name")
            st.checkbox("For everybody", key="labels.view_shared")
            st.form_submit_button("Save", key="labels.view_save", on_click=_save_view)
        st.caption("The address of this page is a link to the same list.")


def _mine() -> dict[str, str]:
    return {"person": state.get_person(), "screen": SCREEN}


def _save_view() -> None:
    save_view(SCREEN, to_filters(state.get_labels_choice()))


def _delete_view(view_id: int, name: str) -> None:
    delete_view(SCREEN, view_id, done=f"The view “{name}” is deleted.")
