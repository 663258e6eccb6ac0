"""The help of the review desk: what each key and each grade means."""

from __future__ import annotations

import streamlit as st

from app.components.text import escaped
from app.services.views import ScaleView

_KEYS = (
    (("s",), "Skip this card; it comes again when nothing else is left"),
    (("u", "z"), "Undo your last step, as often as you like"),
    (("f",), "Flag what is wrong with this pair; write a few words, Enter sends them"),
    (("n",), "Write a note; it goes with your grade"),
    (("↑", "↓"), "Go through the other passages of this question; a grade then goes to the one under the cursor"),
    (("Enter",), "Open that one as the card; after a blind grade, with Space too: keep your grade"),
    (("Esc",), "Back to the card"),
    (("l",), "All passages of this question on one screen, and back"),
    (("b",), "Several at once: pick with Space, then one grade for all"),
    (("p",), "Show or hide what was proposed for them; what you have seen, you are not asked to judge blind any more"),
    (("a",), "The text around this passage"),
    (("d",), "Open a long definition"),
    (("/",), "Search the queue"),
    (("?", "h"), "This help; Esc closes it"),
)


@st.dialog("Keys and grades", width="medium")
def show_help(scale: ScaleView) -> None:
    grades = "".join(
        f"<dt><kbd>{grade}</kbd></dt><dd>{escaped(word)}"
        f"{' <span class=rl-muted>(counts as relevant)</span>' if grade >= scale.relevant_from else ''}</dd>"
        for grade, word in enumerate(scale.labels)
    )
    others = "".join(
        f"<dt>{' '.join(f'<kbd>{escaped(key)}</kbd>' for key in keys)}</dt><dd>{escaped(text)}</dd>"
        for keys, text in _KEYS
    )
    st.html(
        f'<dl class="rl-keys">{grades}{others}</dl>'
        "<p>A key grades what you see and saves it before the next one comes. A held key or a second press does "
        "nothing. With the left hand alone, the key left of <kbd>1</kbd> is a 0 too.</p>"
    )
