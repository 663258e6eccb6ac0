"""What the LLM's own questions cover: shares of the corpus, ways of asking, and questions that miss their passage."""

from __future__ import annotations

import streamlit as st

from app.components.table import show_table
from app.components.text import counted, literal
from app.services.question_coverage import QuestionCoverage, ReachView


def show_question_coverage(coverage: QuestionCoverage) -> None:
    """Read only; questions are written by the command line."""
    st.header("Questions written by the LLM", anchor=False)
    columns = st.columns(4)
    columns[0].metric("Questions for training", f"{coverage.questions:,}")
    reached = (("Passages", coverage.passages), ("Documents", coverage.documents), ("Sources", coverage.sources))
    for column, (name, reach) in zip(columns[1:], reached, strict=True):
        column.metric(f"{name} with a question", f"{reach.share:.1%}", help=_counts(reach))
    st.caption(
        f"{counted(coverage.asked, 'passage')} asked; {counted(coverage.unreadable, 'reply', 'replies')} unreadable, "
        f"{counted(coverage.failed, 'passage')} without a reply. Held-out questions are never written by an LLM."
    )
    left, right = st.columns(2, gap="large")
    with left:
        rows = [[pattern, f"{count:,}"] for pattern, count in coverage.patterns.items()]
        show_table(["Way of asking", "Questions"], rows, align=["left", "right"])
    with right:
        if coverage.dropped:
            dropped = sorted(coverage.dropped.items(), key=lambda item: (-item[1], item[0]))
            show_table(
                ["Not kept, because", "Questions"], [[why, f"{n:,}"] for why, n in dropped], align=["left", "right"]
            )
    _own_passages(coverage)


def _own_passages(coverage: QuestionCoverage) -> None:
    pooled = coverage.found + coverage.lost
    if not pooled:
        st.caption("No question was pooled yet, so nobody knows which find their own passage: relabel pool")
        return
    rank = "" if coverage.mean_rank is None else f", at rank {coverage.mean_rank:.1f} on average"
    waiting = f" {counted(coverage.not_pooled, 'question')} not pooled yet." if coverage.not_pooled else ""
    st.write(
        literal(
            f"{coverage.found:,} of {counted(pooled, 'pooled question')} find the passage they were written from{rank}."
            f"{waiting}"
        )
    )
    if coverage.lost:
        st.warning(
            f"{counted(coverage.lost, 'question')} cannot find their own passage; look at them before training.",
            icon=":material/search_off:",
        )
        show_table(["Question", "Written from"], [[lost.question, lost.passage] for lost in coverage.lost_questions])


def _counts(reach: ReachView) -> str:
    return f"{reach.with_question:,} of {reach.total:,}"
