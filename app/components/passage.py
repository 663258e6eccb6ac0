"""A query and a passage as they are read: escaped, the evidence marked, line breaks and writing direction kept."""

from __future__ import annotations

import streamlit as st

from app.components.scripts import written_in
from app.components.text import escaped

_LONG = 280  # characters of a definition that are shown without asking


def marked(text: str, evidence: tuple[int, int] | None) -> str:
    """The text as HTML with the evidence inside `<mark>`; offsets that do not lie in the text mark nothing."""
    if evidence is None:
        return escaped(text)
    start, end = evidence
    if not 0 <= start < end <= len(text):
        return escaped(text)
    return f"{escaped(text[:start])}<mark>{escaped(text[start:end])}</mark>{escaped(text[end:])}"


def passage_html(
    *, title: str, text: str, evidence: tuple[int, int] | None, before: str = "", after: str = "", foot: str = ""
) -> str:
    """The passage as HTML; an empty one says so. `before` and `after` are HTML within the text, `foot` below it."""
    heading = f'<h3 class="rl-passage-title" {written_in(title)}>{escaped(title)}</h3>' if title.strip() else ""
    body = marked(text, evidence) if text.strip() else '<em class="rl-muted">This passage is empty.</em>'
    if before or after:
        body = f'{before}<div class="rl-itself">{body}</div>{after}'
    return (
        f'<section class="rl-passage" aria-label="Passage">{heading}'
        f'<div class="rl-passage-text" {written_in(text)} tabindex="0" data-read role="group" '
        f'aria-label="Text of the passage">{body}</div>{foot}</section>'
    )


def query_html(query: str, definition: str | None, *, guidelines: str = "") -> str:
    """The query large, and below it what counts as relevant for it; what is long opens on demand."""
    below = _explained("Counts as relevant", definition or "", key="d") + _explained("Guidelines", guidelines)
    return f'<div class="rl-query"><h2 {written_in(query)}>{escaped(query)}</h2>{below}</div>'


def _explained(name: str, text: str, *, key: str = "") -> str:
    if not text.strip():
        return ""
    words = f"<bdi {written_in(text)}>{escaped(text)}</bdi>"
    if len(text) <= _LONG and text.count("\n") < 3:
        return f'<p class="rl-definition"><span>{escaped(name)}</span>{words}</p>'
    mark = f' data-definition aria-keyshortcuts="{key}"' if key else ""
    return (
        f'<details class="rl-definition"{mark}><summary><span>{escaped(name)}</span>'
        f"<i {written_in(text)}>{escaped(' '.join(text.split()))}</i></summary>"
        f'<div class="rl-whole" {written_in(text)} tabindex="0" role="group" '
        f'aria-label="{escaped(name)}">{escaped(text)}</div></details>'
    )


def show_passage(*, title: str, text: str, evidence: tuple[int, int] | None) -> None:
    st.html(passage_html(title=title, text=text, evidence=evidence))


def show_query(query: str, definition: str | None) -> None:
    st.html(query_html(query, definition))
