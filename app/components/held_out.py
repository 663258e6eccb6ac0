"""What can be done about a comparison: judge what nobody judged, read every question, pin what must not be lost."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import state
from app.components.problems import OURS, sentence
from app.components.table import show_table
from app.components.text import counted
from app.services import evaluation_views, judging_first, regression
from app.services.judging_first import JudgeFirstView
from app.services.views import CheckResult, EvaluationView

_NOTICE = "train"


def show_judge_first(evaluation: EvaluationView, view: JudgeFirstView) -> None:
    """How many results of either model nobody judged, and the button that puts them before the queue."""
    if evaluation.baseline is None:
        return
    if not view.unjudged:
        st.caption("People judged every result in the top 10 of both models on these questions.")
        return
    pairs = counted(view.unjudged, "pair")
    if view.asked:
        done = view.asked - view.waiting
        st.caption(f"{done:,} of {counted(view.asked, 'pair')} to judge first are judged.")
        if view.waiting:
            review = state.SCREENS["review"]
            st.page_link(review.path, label=f"Judge them: {counted(view.waiting, 'pair')} left", icon=review.icon)
        return
    st.button(
        f"Judge these first ({pairs})",
        key="train.judge_first",
        on_click=_judge_first,
        args=(evaluation.id,),
        icon=state.SCREENS["review"].icon,
    )
    st.caption(
        f"Nobody judged {pairs} in the top 10 of either model, and they count as unrelated. Judged first and blind, "
        f"best ranks before others, they make the comparison fairer. Comparing again is look {view.next_look}, and "
        "each look asks for more."
    )


def _judge_first(evaluation_id: int) -> None:
    try:
        put = judging_first.judge_first(state.get_workspace(), evaluation_id=evaluation_id)
    except OURS as exc:
        state.leave_notice(_NOTICE, sentence(exc), "refused")
    else:
        state.leave_notice(_NOTICE, f"{counted(put, 'pair')} will be judged first, blind, on the Review screen.")


def show_every_query(evaluation: EvaluationView) -> None:
    """A switch, and behind it every query with both models' figures, to be sorted and downloaded."""
    shown = st.toggle(
        f"Every question ({evaluation.n_queries:,})",
        key=f"train.every_query.{evaluation.id}",
        help="nDCG@10 of both models question by question; a click on a column's name sorts by it.",
    )
    if not shown:
        return
    rows = evaluation_views.list_query_rows(state.get_workspace(), evaluation_id=evaluation.id)
    columns: dict[str, list[object]] = {
        "Question": [row.text for row in rows],
        "Relevant": [row.n_relevant for row in rows],
        "Live": [row.live for row in rows],
        "New": [row.candidate for row in rows],
        "Difference": [row.difference for row in rows],
        "Training": [None if row.seen is None else "seen" if row.seen else "unseen" for row in rows],
        "Unjudged live": [_percent(row.live_unjudged) for row in rows],
        "Unjudged new": [_percent(row.candidate_unjudged) for row in rows],
    }
    figure = st.column_config.NumberColumn(format="%.3f", width=65)
    share = st.column_config.NumberColumn(format="%d %%", width=115, help="Of the first ten results.")
    st.dataframe(
        columns,
        key=f"train.queries.{evaluation.id}",
        hide_index=True,
        height=min(420, 38 + 35 * len(rows)),
        column_config={
            "Question": st.column_config.TextColumn(width=320),
            "Relevant": st.column_config.NumberColumn(width=75, help="Passages that people judged relevant."),
            "Live": figure,
            "New": figure,
            "Difference": st.column_config.NumberColumn(format="%+.3f", width=90),
            "Training": st.column_config.TextColumn(width=75),
            "Unjudged live": share,
            "Unjudged new": share,
        },
    )
    st.download_button(
        "Download as CSV",
        evaluation_views.query_rows_csv(rows),
        file_name=f"evaluation-{evaluation.id}.csv",
        mime="text/csv",
        key=f"train.queries_csv.{evaluation.id}",
        on_click="ignore",
        icon=":material/download:",
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def show_regression(results: Sequence[CheckResult]) -> None:
    """The regression set with what the shown comparison found, and how to pin and retire."""
    checks = regression.list_checks(state.get_workspace())
    found = {result.id: result for result in results}
    failing = sum(not _holds(found[check.id].candidate, check.deepest_rank) for check in checks if check.id in found)
    title = f"Regression set ({counted(len(checks), 'check')}{f', {failing} failing' if failing else ''})"
    with st.expander(title, key="train.regression"):
        st.caption(
            "A pinned passage must stay among the first results of its question. Every comparison checks both models; "
            "what the live model holds and a candidate fails blocks the gate."
        )
        if checks:
            show_table(
                ["Check", "Question", "Passage", "Within", "Live", "New", "Pinned by", "Note"],
                [
                    [
                        str(check.id),
                        check.query,
                        check.title or check.passage_id,
                        str(check.deepest_rank),
                        *_ranks(found.get(check.id)),
                        check.person,
                        check.note,
                    ]
                    for check in checks
                ],
                align=["right", "left", "left", "right", "right", "right", "left", "left"],
            )
        _pin()
        if checks:
            _retire([check.id for check in checks])


def _holds(rank: int | None, deepest: int) -> bool:
    return rank is not None and rank <= deepest


def _ranks(result: CheckResult | None) -> list[str]:
    if result is None:
        return ["not yet", "not yet"]
    return [_rank(result.baseline, result.deepest_rank), _rank(result.candidate, result.deepest_rank)]


def _rank(rank: int | None, deepest: int) -> str:
    if rank is None:
        return "✕ not found"
    return f"{'✓' if rank <= deepest else '✕'} {rank}"


def _pin() -> None:
    with st.form("train.pin", border=False):
        question, passage, within = st.columns([3, 2, 1])
        question.text_input("Question, its words or id", key="train.pin_question", max_chars=2000)
        passage.text_input("Passage's id", key="train.pin_passage", max_chars=500)
        within.number_input("Within", 1, regression.DEEPEST, 10, key="train.pin_within")
        st.text_input("Why", key="train.pin_note", max_chars=500)
        st.form_submit_button("Pin", key="train.pin_submit", on_click=_add)


def _add() -> None:
    try:
        check = regression.add_check(
            state.get_workspace(),
            query=str(state.value_of("train.pin_question") or ""),
            passage_id=str(state.value_of("train.pin_passage") or ""),
            deepest_rank=int(str(state.value_of("train.pin_within") or 10)),
            person=state.get_person(),
            note=str(state.value_of("train.pin_note") or ""),
        )
    except OURS as exc:
        state.leave_notice(_NOTICE, sentence(exc), "refused")
    else:
        state.leave_notice(_NOTICE, f"Check {check.id} is pinned; it takes part from the next comparison.")


def _retire(ids: Sequence[int]) -> None:
    with st.form("train.retire", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("Check", ids, key="train.retire_id", width=120)
        st.form_submit_button("Retire", key="train.retire_submit", on_click=_give_up)


def _give_up() -> None:
    check_id = int(str(state.value_of("train.retire_id") or 0))
    try:
        regression.retire_check(state.get_workspace(), check_id=check_id, person=state.get_person())
    except OURS as exc:
        state.leave_notice(_NOTICE, sentence(exc), "refused")
    else:
        state.leave_notice(_NOTICE, f"Check {check_id} is retired.")
