"""A desk of numbered cards without a database, to see what the key handler sends."""

from __future__ import annotations

import time

import streamlit as st

from app import state
from app.components import keys

ONCE = "st-key-once"


def log() -> list[str]:
    entries: list[str] = st.session_state.setdefault("log", [])
    return entries


def answer(card: str, key: str) -> None:
    shown = f"card-{sum(entry.startswith('graded') for entry in log())}"
    log().append(f"{'graded' if card == shown else 'refused'} {card} {key}")


def pressed(press: keys.Press) -> None:
    state.next_turn()
    if press.key == keys.UNDO:
        log().append("undo")
    else:
        answer(press.card, press.key)


@st.fragment
def desk() -> None:
    card = f"card-{sum(entry.startswith('graded') for entry in log())}"
    time.sleep(0.03)  # a service takes its time
    st.html(f'<p data-card="{card}" data-turn="{state.get_turn()}">{card}</p>')
    with st.container(key="once"):
        st.button("grade", key=f"keys.{card}", on_click=answer, args=(card, "button"))
    st.text_input("note", key="keys.note")
    keys.listen(widget="keys.keys", max_grade=3, once=ONCE, on_press=pressed)
    st.code("\n".join(log()) or "nothing")


desk()
