"""Turning the pages of a long list, and where in it one is."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st


def show_pages(
    *, key: str, offset: int, shown: int, total: int, size: int, noun: str, turn: Callable[[int], None]
) -> None:
    """Previous, next, and which of how many are shown. turn: takes the offset of the page that is wanted."""
    last = offset + shown
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", key=f"{key}.previous", disabled=offset == 0, on_click=turn, args=(offset - size,))
        st.button("Next", key=f"{key}.next", disabled=last >= total, on_click=turn, args=(last,))
        st.caption(f"{offset + 1:,} to {last:,} of {total:,} {noun}")
