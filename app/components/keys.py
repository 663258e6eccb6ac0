"""The key handler of the review desk: which key was pressed on which card or row.

The browser's half is `keys.js`, and `reading.js` for what it does alone: cursor, scrolling, a note not yet sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from app import state

SKIP, UNDO, HELP, FLAG, LIST, SEVERAL, AROUND, PROPOSALS = "s", "u", "?", "f", "l", "b", "a", "p"
KEEP, OPEN = "keep", "open"
"""What Enter means: the blind grade of the card stays; the row under the cursor becomes the card."""
SERVER_KEYS = (SKIP, UNDO, HELP, FLAG, LIST, SEVERAL, AROUND, PROPOSALS)
PICKED = "several"
"""The target of a grade that is meant for all picked rows."""
MAX_NOTE = 2000
TOO_EARLY = "That came before the screen had changed, so it was not counted. Look, and press again."
_MOST_PICKED = 1000
_SCRIPTS = [Path(__file__).with_name(name) for name in ("reading.js", "keys.js")]
_NEVER = 10**9


@dataclass(frozen=True, slots=True)
class Press:
    """One key pressed while that target was on screen.

    `card` is the id of the card, or `pair:ID` for a row of a list; `turn` is how many presses the server had dealt with
    as far as the screen showed; `pressed_at` is the browser's clock, milliseconds.
    """

    card: str
    key: str
    pressed_at: float
    turn: int = 0
    note: str = ""
    pairs: tuple[int, ...] = ()


@cache
def _component() -> Any:
    script = "\n".join(path.read_text(encoding="utf-8") for path in _SCRIPTS)
    return st.components.v2.component("relabel.keys", js=script)


def grade_of(key: str, *, max_grade: int) -> int | None:
    """The grade a key stands for, or None when it stands for none."""
    if len(key) != 1 or key not in "0123456789":
        return None
    return int(key) if int(key) <= max_grade else None


def target_of(pair_id: int) -> str:
    """What a row of a list is called in a press."""
    return f"pair:{pair_id}"


def pair_of(target: str) -> int | None:
    """The pair of a row, or None when the target is a card."""
    number = target.removeprefix("pair:")
    return int(number) if number != target and number.isascii() and number.isdigit() and len(number) < 16 else None


def press_from(value: object) -> Press | None:
    """The press that the browser sent, or None when it is not one; the browser is not trusted to be well-formed."""
    if not isinstance(value, Mapping):
        return None
    card, key, at = value.get("card"), value.get("key"), value.get("pressed_at")
    if not isinstance(card, str) or not isinstance(key, str) or not isinstance(at, int | float):
        return None
    turn, note, pairs = value.get("turn", 0), value.get("note", ""), value.get("pairs", [])
    if not isinstance(turn, int) or not isinstance(note, str) or not isinstance(pairs, list | tuple):
        return None
    if len(pairs) > _MOST_PICKED or not all(isinstance(pair, int) for pair in pairs):
        return None
    return Press(
        card=card,
        key=key,
        pressed_at=float(at),
        turn=turn,
        note=note.replace("\0", "").strip()[:MAX_NOTE],
        pairs=tuple(pairs),
    )


def listen(
    *,
    widget: str,
    max_grade: int,
    on_press: Callable[[Press], None],
    once: str = "",
    on_alive: Callable[[str], None] | None = None,
    renew_seconds: float = _NEVER,
    idle_seconds: float = _NEVER,
) -> None:
    """Listen for keys for as long as this is drawn; they go to what is on screen when they are pressed.

    `widget` is the session key, `once` the CSS class of buttons that take no double click. While somebody works on a
    card, `on_alive` gets its id every `renew_seconds`; nobody does once nothing moved for `idle_seconds`.
    """

    def sent(event: str) -> object:
        value = state.value_of(widget)
        return value.get(event) if hasattr(value, "get") else None

    def pressed() -> None:
        press = press_from(sent("pressed"))
        if press is not None:
            on_press(press)

    def alive() -> None:
        value = sent("alive")
        card = value.get("card") if isinstance(value, Mapping) else None
        if on_alive is not None and isinstance(card, str) and card:
            on_alive(card)

    _component()(
        key=widget,
        data={
            "keys": [*(str(grade) for grade in range(max_grade + 1)), *SERVER_KEYS],
            "once": once,
            "renew_seconds": renew_seconds,
            "idle_seconds": idle_seconds,
        },
        on_pressed_change=pressed,
        on_alive_change=alive,
        height=1,
    )
