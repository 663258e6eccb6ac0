"""Search: what the live model finds for a question and what the candidate finds, side by side."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.hits import show_hits
from app.components.problems import told
from app.services import search

K = 10
_SEARCH_BY = {"dense": "Meaning", "hybrid": "Meaning and words"}


def draw() -> None:
    st.title("Search", anchor=False)
    with st.form("search.form", border=False):
        left, right = st.columns([5, 1], vertical_alignment="bottom")
        with left:
            question = st.text_input(
                "Question",
                value=state.get_question(),
                key="search.question",
                placeholder="Ask as your users would",
                max_chars=2000,
            )
        with right:
            st.form_submit_button("Search", key="search.submit", type="primary", width="stretch")
        retriever = st.segmented_control(
            "Search by",
            options=list(_SEARCH_BY),
            format_func=_SEARCH_BY.__getitem__,
            default="dense",
            required=True,
            key="search.retriever",
        )
    question = question.strip()
    state.keep_question(question)
    if not question:
        st.html(
            '<div class="rl-empty"><h2>Ask something</h2><p>The live model answers on the left. When a candidate is '
            "trained, it answers on the right, and what moved is marked.</p></div>"
        )
        return
    with st.spinner("Searching"):
        result = search.search(
            state.get_workspace(),
            question=question,
            k=K,
            retriever=retriever or "dense",
            criterion=state.get_criterion(),
        )
    if result.mixed:
        st.caption(f"Live model: {result.mixed}. To fit the mix on what was judged: `relabel hybrid`.")
    if result.candidate_model is None:
        st.header("Live model", anchor=False)
        st.caption("No candidate to compare with yet. Train one on the Train screen.")
        show_hits(result.live_model, result.live, other=None, k=K)
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Live model", anchor=False)
        show_hits(result.live_model, result.live, other="candidate", k=K)
    with right:
        st.header("Candidate", anchor=False)
        show_hits(result.candidate_model, result.candidate, other="live model", k=K, is_new=True)


with told():
    draw()
