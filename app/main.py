"""Navigation only: which screens there are, which workspace is open and who sits in front of it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import streamlit as st

from app import state
from app.components.problems import told
from app.components.style import MARK, WORDMARK, use_style
from app.components.who import choose_who

# `streamlit run app/main.py` puts app/ first, where app/config.py or app/errors.py could shadow another package; and
# this file runs anew for every click, so the repository root must not pile up.
sys.path[:] = [
    entry for entry in dict.fromkeys(sys.path) if Path(entry or ".").resolve() != Path(__file__).resolve().parent
]

st.set_page_config(page_title="Relabel", page_icon=str(MARK), layout="wide", initial_sidebar_state=240)
st.logo(str(WORDMARK), size="medium")
page = st.navigation(
    [st.Page(screen.path, title=screen.title, icon=screen.icon) for screen in state.SCREENS.values()],
    position="sidebar",
)
use_style()
with told():
    choose_who()
    page.run()
state.rest_loaded()
