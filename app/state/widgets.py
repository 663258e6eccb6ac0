"""What widgets hold, by their keys, and the one sentence that an action leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from app.state import session_keys

NoticeKind = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence about what the last action did, shown once."""

    text: str
    kind: NoticeKind


def leave_notice(screen: str, text: str, kind: NoticeKind = "done") -> None:
    st.session_state[session_keys.NOTICE + screen] = Notice(text, kind)


def take_notice(screen: str) -> Notice | None:
    """What the last action on that screen did, once."""
    notice = st.session_state.pop(session_keys.NOTICE + screen, None)
    return notice if isinstance(notice, Notice) else None


def value_of(widget: str) -> object:
    """The value a widget holds now, inside its callback; `widget` is its key, `screen.widget`."""
    return st.session_state.get(widget)


def has_value(widget: str) -> bool:
    """Whether that widget is drawn, or was when the screen was last left alone."""
    return widget in st.session_state


def set_value(widget: str, value: object) -> None:
    """Give a widget a value before it is drawn, as in the callback of another one."""
    st.session_state[widget] = value


def forget(widget: str) -> None:
    """Drop a widget's value, such as a selection that points into a list which is no longer shown."""
    st.session_state.pop(widget, None)


def selected_rows(widget: str) -> list[int]:
    """The rows selected in a table, by position; empty when none is."""
    table = st.session_state.get(widget)
    if not isinstance(table, Mapping):
        return []
    selection = table.get("selection")
    rows = selection.get("rows") if isinstance(selection, Mapping) else None
    return [int(row) for row in rows] if rows else []
