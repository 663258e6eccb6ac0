"""The key handler of the review desk: which key was pressed on which card. The browser's half is `keys.js`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from app import state

SKIP, UNDO, HELP = "s", "u", "?"
_SCRIPT = Path(__file__).with_name("keys.js")


@dataclass(frozen=True, slots=True)
class Press:
    """One key pressed while the card with that id was on screen; `pressed_at` is the browser's clock, milliseconds."""

    card: str
    key: str
    pressed_at: float


@cache
def _component() -> Any:
    return st.components.v2.component("relabel.keys", js=_SCRIPT.read_text(encoding="utf-8"))


def grade_of(key: str, *, max_grade: int) -> int | None:
    """The grade a key stands for, or None when it stands for none."""
    if len(key) != 1 or key not in "0123456789":
        return None
    return int(key) if int(key) <= max_grade else None


def press_from(value: object) -> Press | None:
    """The press that the browser sent, or None when it is not one; the browser is not trusted to be well-formed."""
    if not isinstance(value, dict):
        return None
    card, key, at = value.get("card"), value.get("key"), value.get("pressed_at")
    if not isinstance(card, str) or not isinstance(key, str) or not isinstance(at, int | float):
        return None
    return Press(card=card, key=key, pressed_at=float(at))


def listen(*, widget: str, max_grade: int, once: str, on_press: Callable[[Press], None]) -> None:
    """Listen for keys for as long as this is drawn; they go to the card that is on screen when they are pressed.

    `widget` is the session key, `once` the CSS class of buttons that take no double click.
    """

    def pressed() -> None:
        sent = state.value_of(widget)
        press = press_from(sent.get("pressed") if hasattr(sent, "get") else None)
        if press is not None:
            on_press(press)

    _component()(
        key=widget,
        data={
            "keys": [*(str(grade) for grade in range(max_grade + 1)), SKIP, UNDO, HELP],
            "once": once,
        },
        on_pressed_change=pressed,
        height=1,
    )
