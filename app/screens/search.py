"""Search: what the live model finds for a question and what the candidate finds, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.components.problems import told
from app.components.text import escaped, shortened
from app.services import search
from app.services.views import SearchHit

K = 10


def draw() -> None:
    st.title("Search")
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
    question = question.strip()
    state.keep_question(question)
    if not question:
        st.html(
            '<div class="rl-empty"><h2>Ask something</h2><p>The live model answers on the left. When a candidate is '
            "trained, it answers on the right, and what moved is marked.</p></div>"
        )
        return
    with st.spinner("Searching"):
        result = search.search(state.get_workspace(), question=question, k=K)
    if result.candidate_model is None:
        st.header("Live model")
        st.caption("No candidate to compare with yet. Train one on the Train screen.")
        _hits(result.live_model, result.live, other=None)
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Live model")
        _hits(result.live_model, result.live, other="candidate")
    with right:
        st.header("Candidate")
        _hits(result.candidate_model, result.candidate, other="live model")


def moved(hit: SearchHit, *, other: str) -> tuple[str, str]:
    """How a hit stands against the other list: the words, and the CSS class that goes with them."""
    if hit.other_rank is None:
        return f"not in the {other}'s first {K}", "rl-new"
    if hit.other_rank == hit.rank:
        return "same place", "rl-same"
    if hit.rank < hit.other_rank:
        return f"▲ {hit.other_rank - hit.rank} higher than {other} ({hit.other_rank})", "rl-up"
    return f"▼ {hit.rank - hit.other_rank} lower than {other} ({hit.other_rank})", "rl-down"


def _hits(model: str, hits: Sequence[SearchHit], *, other: str | None) -> None:
    st.html(f'<p class="rl-muted">{escaped(model)}</p>')
    if not hits:
        st.write("Nothing found.")
        return
    st.html(f'<ol class="rl-hits">{"".join(_hit(hit, other=other) for hit in hits)}</ol>')


def _hit(hit: SearchHit, *, other: str | None) -> str:
    move = ""
    if other is not None:
        words, css = moved(hit, other=other)
        move = f'<span class="rl-move {css}">{escaped(words)}</span>'
    return (
        f'<li><span class="rl-rank">{hit.rank}</span><div><h3 dir="auto">{escaped(hit.title or hit.passage_id)}</h3>'
        f'<p dir="auto">{escaped(shortened(hit.text, 400))}</p>'
        f'{move} <span class="rl-muted">score {hit.score:.3f}</span></div></li>'
    )


with told():
    draw()
