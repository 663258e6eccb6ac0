"""Errors of ours become a sentence on the screen and a line in the log; no traceback reaches a person."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from annotator.errors import AnnotatorError
from app import state
from app.components.text import escaped, literal
from app.errors import AppError
from db.errors import DbError
from retriever.errors import RetrieverError

log = logging.getLogger(__name__)

OURS = (AppError, DbError, AnnotatorError, RetrieverError)


def sentence(error: Exception) -> str:
    """What to tell a person about an error of ours."""
    return str(getattr(error, "user_message", "")) or "That did not work; the log says why."


@contextmanager
def told() -> Iterator[None]:
    """Show an error of ours where it happened and go on after the block."""
    try:
        yield
    except OURS as exc:
        log.warning("%s: %s", type(exc).__name__, exc)
        st.error(literal(sentence(exc)), icon=":material/error:")


def show_notice(screen: str) -> None:
    """What the last action on that screen did, once; announced to screen readers."""
    notice = state.take_notice(screen)
    if notice is None:
        return
    if notice.kind == "refused":
        st.warning(literal(notice.text), icon=":material/block:")
    else:
        st.success(literal(notice.text), icon=":material/check:")


def notice_html(notice: state.Notice | None) -> str:
    """The same as a line that floats over the screen and moves nothing; without a notice, nothing to see."""
    if notice is None:
        return "<span hidden></span>"
    if notice.kind == "refused":
        return f'<p class="rl-notice rl-refused" role="alert"><b aria-hidden="true">⊘</b> {escaped(notice.text)}</p>'
    return f'<p class="rl-notice" role="status"><b aria-hidden="true">✓</b> {escaped(notice.text)}</p>'
