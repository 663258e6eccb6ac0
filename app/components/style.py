"""The style sheet over the theme of `.streamlit/config.toml`, and the marks; nothing comes from a network."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

SHEET = Path(__file__).with_name("relabel.css")
MARK = Path(__file__).with_name("mark.svg")
WORDMARK = Path(__file__).with_name("wordmark.svg")


def use_style() -> None:
    """Put the style sheet into the page; its colours follow the theme's light or dark scheme by themselves."""
    st.html(SHEET)
