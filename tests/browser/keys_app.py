"""A desk of numbered cards without a database, to see what keys send; `?reveals=1` shows each card twice.

With `?late=1` the rows come a second after their card, as on a slow server.
"""

from __future__ import annotations

import time

import streamlit as st

from app import state
from app.components import keys

ONCE = "st-key-once"
REVEALS = "reveals" in st.query_params


def log() -> list[str]:
    entries: list[str] = st.session_state.setdefault("log", [])
    return entries


def shown() -> tuple[str, str]:
    """The card's id and its phase: with reveals, the even ones are the blind grades and the odd ones what follows."""
    number = sum(entry.startswith("graded") for entry in log())
    if REVEALS:
        return f"card-{number // 2}{'-revealed' if number % 2 else ''}", "revise" if number % 2 else "grade"
    return f"card-{number}", "grade"


def answer(card: str, key: str) -> None:
    log().append(f"{'graded' if card == shown()[0] else 'refused'} {card} {key}")


def pressed(press: keys.Press) -> None:
    late = press.turn != state.get_turn()
    state.next_turn()
    if late:
        log().append(f"late {press.card} {press.key}")
    elif press.key == keys.UNDO:
        log().append("undo")
    elif press.key == keys.FLAG:
        log().append(f"graded {press.card} flag: {press.note}")
    elif keys.pair_of(press.card) is not None:
        log().append(f"row {press.card} {press.key}")
    elif press.card == keys.PICKED:
        log().append(f"picked {','.join(map(str, press.pairs))} {press.key}")
    else:
        answer(press.card, press.key)


def alive(card: str) -> None:
    log().append(f"alive {card}")


@st.fragment
def desk() -> None:
    card, phase = shown()
    time.sleep(0.03)  # a service takes its time
    rows = "".join(
        f'<li data-target="pair:{number}" data-open="yes" tabindex="-1"><input type="checkbox" data-pick>row</li>'
        for number in (1, 2, 3)
    )
    late = "late" in st.query_params
    mode = "several" if "several" in st.query_params else "card"
    text = "<br>".join(["long"] * 60 + ["<mark>evidence</mark>"] + ["long"] * 60)
    beside = '<section class="rl-others" data-beside-here></section>' if late else f"<ol>{rows}</ol>"
    st.html(
        f'<div data-card="{card}" data-turn="{state.get_turn()}" data-phase="{phase}" data-mode="{mode}">{card}'
        f'<div data-read tabindex="0" style="height:80px;overflow:auto">{text}</div>{beside}</div>'
    )
    st.html(f'<input data-note="{card}" data-ask-flag="?" data-ask-note="!"><button data-press="1">one</button>')
    with st.container(key="once"):
        st.button("grade", key=f"keys.{card}", on_click=answer, args=(card, "button"))
    with st.container(key="review-search"):
        st.text_input("note", key="keys.note")
    keys.listen(
        widget="keys.keys",
        max_grade=3,
        once=ONCE,
        on_press=pressed,
        on_alive=alive,
        renew_seconds=1 if "renews" in st.query_params else 10**6,
        idle_seconds=3,
    )
    st.code("\n".join(log()) or "nothing")
    if late:
        time.sleep(1)
        buttons = '<div hidden><div class="rl-row-grades"><button data-press="2">two</button></div></div>'
        st.html(f'<template data-beside="{card}" data-at="{state.get_turn()}"><ol>{rows}</ol>{buttons}</template>')


desk()
