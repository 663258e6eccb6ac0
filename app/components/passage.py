"""A query and a passage as they are read: escaped, the evidence marked, line breaks and writing direction kept."""

from __future__ import annotations

import streamlit as st

from app.components.text import escaped


def marked(text: str, evidence: tuple[int, int] | None) -> str:
    """The text as HTML with the evidence inside `<mark>`; offsets that do not lie in the text mark nothing."""
    if evidence is None:
        return escaped(text)
    start, end = evidence
    if not 0 <= start < end <= len(text):
        return escaped(text)
    return f"{escaped(text[:start])}<mark>{escaped(text[start:end])}</mark>{escaped(text[end:])}"


def passage_html(*, title: str, text: str, evidence: tuple[int, int] | None) -> str:
    """The passage as HTML; an empty one says so."""
    heading = f'<h3 class="rl-passage-title" dir="auto">{escaped(title)}</h3>' if title.strip() else ""
    body = marked(text, evidence) if text.strip() else '<em class="rl-muted">This passage is empty.</em>'
    return (
        f'<section class="rl-passage" aria-label="Passage">{heading}'
        f'<div class="rl-passage-text" dir="auto" tabindex="0">{body}</div></section>'
    )


def query_html(query: str, definition: str | None) -> str:
    """The query large, and below it what counts as relevant for it."""
    below = (
        f'<p class="rl-definition" dir="auto"><span>Counts as relevant</span>{escaped(definition)}</p>'
        if definition and definition.strip()
        else ""
    )
    return f'<div class="rl-query"><h2 dir="auto">{escaped(query)}</h2>{below}</div>'


def show_passage(*, title: str, text: str, evidence: tuple[int, int] | None) -> None:
    st.html(passage_html(title=title, text=text, evidence=evidence))


def show_query(query: str, definition: str | None) -> None:
    st.html(query_html(query, definition))
