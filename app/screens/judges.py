"""Judges: which judge or prompt is best, on the pairs that people graded blind, with intervals and prices."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.badges import judge_text
from app.components.comparison import names_of, show_accuracy, show_belief, show_verdict
from app.components.example_trial import show_example_trial
from app.components.problems import OURS, sentence, show_notice, told
from app.components.text import counted, literal
from app.services import choosing, comparing
from app.services.judge_views import JudgeComparison
from app.services.measured_examples import get_trial

RESAMPLES = 500
_CHOICE = "judges.chosen"


def draw() -> None:
    st.title("Judges", anchor=False)
    show_notice("judges")
    found = _compared(None)
    if not found.n_reviews:
        _no_reviews()
        return
    names = names_of({one.id: one.judge for one in found.judges} | {one.id: one.judge for one in found.others})
    if not names:
        _no_judges(found)
        return
    if len(names) > 1:
        chosen = st.multiselect(
            "Compare",
            list(names),
            default=[one.id for one in found.judges],
            format_func=lambda judge: names[judge],
            key=_CHOICE,
            placeholder="Choose the judges to compare",
        )
        found = _compared(tuple(sorted(chosen)) if chosen else None)
    if not found.judges:
        _nothing_in_common(found)
        return
    show_verdict(found)
    st.caption(_rests_on(found))
    show_accuracy(found)
    st.header("How far its confidence can be believed", anchor=False)
    show_belief(found)
    st.caption(
        "The line is the 95 % interval, drawn by question. Calibrated figures are cross-fitted: each comes from a "
        "calibrator that saw no review of that question. The price counts tokens, also of replies that came from the "
        "cache and so cost nothing this time."
    )
    _others(found)
    if len(names) > 1:
        _use(names)
    workspace = state.get_workspace()
    trial = get_trial(workspace)
    if trial is not None or workspace.settings.has_llm:
        show_example_trial(trial)


def _use(names: dict[int, str]) -> None:
    with st.popover("Use one judge's proposals", key="judges.use"):
        st.write(
            "Each pair goes by one judge's proposal. Put a judge in the place of the others: nothing is asked anew, "
            "what it proposed is decided on at once, and certificates of a judge that gives way are suspended for it."
        )
        st.selectbox("Judge", list(names), format_func=lambda judge: names[judge], key="judges.used")
        st.button("Use its proposals", key="judges.use_it", type="primary", on_click=_use_it)


def _use_it() -> None:
    judge_id = state.value_of("judges.used")
    if not isinstance(judge_id, int):
        return
    try:
        report = choosing.use_judge(state.get_workspace(), judge_id=judge_id, criterion=state.get_criterion())
    except OURS as exc:
        state.leave_notice("judges", sentence(exc), "refused")
    else:
        state.leave_notice(
            "judges",
            f"{counted(report.changed, 'pair')} go by {report.judge} now: {report.accepted:,} accepted, uncertified; "
            f"{report.waiting:,} wait for people.",
        )


def _compared(judges: tuple[int, ...] | None) -> JudgeComparison:
    """The comparison as it was drawn last, or made anew when a proposal or a review came since."""
    workspace = state.get_workspace()
    criterion = state.get_criterion()
    mark = (criterion, judges, comparing.comparison_mark(workspace))
    kept = state.get_comparison(mark)
    if kept is not None:
        return kept
    with st.spinner("Comparing the judges"):
        found = comparing.compare_judges(workspace, criterion=criterion, judge_ids=judges, resamples=RESAMPLES)
    state.keep_comparison(mark, found)
    return found


def _rests_on(found: JudgeComparison) -> str:
    text = (
        f"This rests on {counted(found.n_readable, 'pair')} of {counted(found.n_questions, 'calibrate question')} that "
        f"people graded without seeing any proposal and that every judge here labelled. Of all "
        f"{counted(found.n_reviews, 'pair')} graded so, people call {found.n_relevant:,} relevant."
    )
    if found.n_left_out:
        text += f" {counted(found.n_left_out, 'pair is', 'pairs are')} left out: not every judge here labelled them."
    if found.n_common > found.n_readable:
        n = found.n_common - found.n_readable
        text += f" {counted(n, 'more is', 'more are')} left out: the reply of one judge could not be read."
    if found.n_questions < 10:
        text += " So few questions tell judges apart only when they differ much."
    return text


def _others(found: JudgeComparison) -> None:
    if not found.others:
        return
    listed = "; ".join(f"{judge_text(one.judge)}: {counted(one.n_labelled, 'pair')}" for one in found.others)
    st.caption(literal(f"Not compared, with how many of the graded pairs each labelled: {listed}."))


def _no_reviews() -> None:
    st.html(
        '<div class="rl-empty"><h2>No blind reviews yet</h2><p>Judges are compared on calibrate questions, which '
        "people grade without seeing what was proposed. Some 50 graded pairs of ten questions are a start; 200 tell "
        "judges apart that differ by a few percent.</p></div>"
    )
    review = state.SCREENS["review"]
    st.page_link(review.path, label=f"Grade pairs on the {review.title} screen", icon=review.icon)
    st.html('<p class="rl-muted">Or import judgements that you have, for calibrate questions:</p>')
    st.code("relabel import judged/ --split calibrate", language=None)


def _no_judges(found: JudgeComparison) -> None:
    st.html(
        f'<div class="rl-empty"><h2>No judge has labelled these pairs</h2><p>People graded '
        f"{counted(found.n_reviews, 'pair')} of calibrate questions blind. Let a judge label them too:</p></div>"
    )
    st.code("relabel label", language=None)


def _nothing_in_common(found: JudgeComparison) -> None:
    st.html(
        '<div class="rl-empty"><h2>Nothing in common</h2><p>No graded pair was labelled readably by all of these '
        "judges. Take one away above, or let the one that labelled least label more.</p></div>"
    )
    _others(found)


with told():
    draw()
