"""Review: one pair at a time; a key grades it, and it is saved before the next card is drawn.

Audits and spot checks of certificates come first and blind; then what was not accepted, and the candidates of calibrate
and held-out questions, which people alone judge.
"""

from __future__ import annotations

import streamlit as st

from app import state
from app.components import keys
from app.components.badges import grade_text
from app.components.card import show_card
from app.components.problems import OURS, sentence, show_notice, told
from app.components.text import escaped, literal, shortened
from app.services import reviewing
from app.services.views import Card, ReviewProgress, ScaleView

_ONCE = "st-key-review-grades"


@st.fragment
def desk() -> None:
    with told():
        workspace, person, criterion = state.get_workspace(), state.get_person(), state.get_criterion()
        scale = reviewing.get_scale(workspace)
        if state.get_wanted_pair() is not None:
            st.button("Back to the queue", key="review.queue", on_click=state.want_pair, args=(None,))
        card = reviewing.claim(workspace, person=person, criterion=criterion, pair_id=state.get_wanted_pair())
        progress = reviewing.get_progress(workspace, person=person, criterion=criterion)
        st.html(_heading(progress))
        with st.container():  # always there, so that a notice coming or going moves no other element's place
            show_notice("review")
        if card is None:
            _empty(progress)
            return
        state.open_card(card.card)
        show_card(card, scale=scale)
        _answers(card, scale=scale, progress=progress)
        keys.listen(widget="review.keys", max_grade=scale.max_grade, once=_ONCE, on_press=_pressed)
        if state.take_help_request():
            show_help(scale)


def _heading(progress: ReviewProgress) -> str:
    text = f"{progress.graded_today:,} graded today · {progress.graded:,} in all · {progress.waiting:,} waiting"
    if progress.skipped:
        text += f" · {progress.skipped:,} skipped"
    return f'<div class="rl-desk"><h1>Review</h1><span class="rl-muted">{text}</span></div>'


def _answers(card: Card, *, scale: ScaleView, progress: ReviewProgress) -> None:
    with st.container(key="review-grades", horizontal=True, gap="xsmall", vertical_alignment="bottom"):
        for grade in range(scale.max_grade + 1):
            st.button(
                f"`{grade}` {literal(scale.labels[grade])}",
                key=f"review.grade.{card.card}.{grade}",
                on_click=_answer,
                args=(card.card, grade),
            )
        st.button("`s` Skip", key=f"review.skip.{card.card}", on_click=_skip, args=(card.card,), type="tertiary")
        st.button(
            "`u` Undo",
            key=f"review.undo.{card.card}",
            on_click=_undo,
            disabled=not (progress.graded or progress.skipped),
            type="tertiary",
        )
        st.button("`?` Help", key="review.help", on_click=state.ask_for_help, type="tertiary")
        st.text_input(
            "Note",
            key=f"review.note.{card.card}",
            placeholder="Note (optional)",
            label_visibility="collapsed",
            max_chars=2000,
            width=180,
        )


def _empty(progress: ReviewProgress) -> None:
    if progress.graded or progress.skipped:
        title, text = (
            "Nothing is waiting for you",
            "Your reviews are saved. Train a model on them to see what they gained.",
        )
        target = state.SCREENS["train"]
    else:
        title = "The queue is empty"
        text = (
            "Pairs come here when a judge has graded them and the grade was not accepted, when a certificate audits or "
            "spot-checks them, and when their question calibrates judges or is held out. See what is there already."
        )
        target = state.SCREENS["overview"]
    st.html(f'<div class="rl-empty"><h2>{escaped(title)}</h2><p>{escaped(text)}</p></div>')
    with st.container(horizontal=True):
        st.page_link(target.path, label=f"Go to {target.title}", icon=target.icon)
        if progress.graded or progress.skipped:
            st.button("Undo the last one", key="review.undo", on_click=_undo, type="tertiary")


def _pressed(press: keys.Press) -> None:
    """Deal with one key press; whatever comes of it, keys count again afterwards."""
    state.next_turn()
    if press.key == keys.HELP:
        state.ask_for_help()
    elif press.key == keys.UNDO:
        _undo()
    elif press.key == keys.SKIP:
        _skip(press.card)
    else:
        scale = reviewing.get_scale(state.get_workspace())
        grade = keys.grade_of(press.key, max_grade=scale.max_grade)
        if grade is not None:
            _answer(press.card, grade)


def _answer(card: str, grade: int) -> None:
    """Grade the card with that id, and no other; a card that was already answered is refused."""
    try:
        reviewing.grade(
            state.get_workspace(),
            card=card,
            person=state.get_person(),
            grade=grade,
            seconds=state.get_seconds_on(card),
            note=str(state.value_of(f"review.note.{card}") or "").strip(),
        )
    except OURS as exc:
        state.leave_notice("review", sentence(exc), "refused")
    else:
        state.want_pair(None)


def _skip(card: str) -> None:
    try:
        reviewing.skip(state.get_workspace(), card=card, person=state.get_person(), seconds=state.get_seconds_on(card))
    except OURS as exc:
        state.leave_notice("review", sentence(exc), "refused")
    else:
        state.want_pair(None)


def _undo() -> None:
    workspace = state.get_workspace()
    state.want_pair(None)
    try:
        undone = reviewing.undo(workspace, person=state.get_person(), criterion=state.get_criterion())
    except OURS as exc:
        state.leave_notice("review", sentence(exc), "refused")
        return
    if undone is None:
        state.leave_notice("review", "There is nothing of yours to take back.", "refused")
        return
    what = undone.action if undone.grade is None else grade_text(undone.grade, reviewing.get_scale(workspace))
    state.leave_notice("review", f"Taken back: {what}, on “{shortened(undone.query, 70)}”. Here it is again.")


@st.dialog("Keys and grades")
def show_help(scale: ScaleView) -> None:
    grades = "".join(
        f"<dt><kbd>{grade}</kbd></dt><dd>{escaped(word)}"
        f"{' <span class=rl-muted>(counts as relevant)</span>' if grade >= scale.relevant_from else ''}</dd>"
        for grade, word in enumerate(scale.labels)
    )
    st.html(
        f'<dl class="rl-keys">{grades}'
        "<dt><kbd>s</kbd></dt><dd>Skip this card; somebody may get it later</dd>"
        "<dt><kbd>u</kbd></dt><dd>Undo your last grade or skip, as often as you like</dd>"
        "<dt><kbd>?</kbd></dt><dd>This help; <kbd>Esc</kbd> closes it</dd></dl>"
        "<p>A key grades the card you see and saves it before the next one comes. "
        "A held key or a second press does nothing.</p>"
    )


desk()
