"""Work: what one person did, how far people and judges agree, and what the time of all gained."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.problems import told
from app.components.text import counted, literal
from app.components.work import (
    show_everybody,
    show_flags,
    show_judges,
    show_over_time,
    show_raters,
    show_return,
    show_work,
)
from app.services import agreement_views, my_work, return_on_time

_MINE, _AGREEMENT, _RETURN = "My work", "Agreement", "Return"


def draw() -> None:
    st.title("Work", anchor=False)
    part = st.segmented_control(
        "Part",
        [_MINE, _AGREEMENT, _RETURN],
        default=_MINE,
        required=True,
        key="work.part",
        label_visibility="collapsed",
    )
    if part == _AGREEMENT:
        _agreement()
    elif part == _RETURN:
        _return()
    else:
        _mine()


def _mine() -> None:
    workspace, person, criterion = state.get_workspace(), state.get_person(), state.get_criterion()
    everybody = my_work.list_work(workspace, person=person, criterion=criterion)
    chosen = person
    if len(everybody) > 1:
        names = [one.person for one in everybody]
        names = names if person in names else [person, *names]
        chosen = st.selectbox("Whose work", names, index=names.index(person), key="work.whose", width=320)
    view = my_work.get_work(workspace, person=person, of=chosen, criterion=criterion)
    if not view.labels and not view.skips and not view.flags:
        st.html(
            '<div class="rl-empty"><h2>No labels yet</h2><p>What you grade on the Review screen is counted here: pace, '
            "agreement with what was adjudicated, and what came of your flags.</p></div>"
        )
        review = state.SCREENS["review"]
        st.page_link(review.path, label=f"Go to {review.title}", icon=review.icon)
    else:
        show_work(view)
        st.caption(
            "Pace: skips, flags and what was undone take time and give no label. Pairs come to be "
            "adjudicated because people differ on them, so half right there is nothing unusual. Hidden checks are "
            "pairs that were adjudicated before; which they are is never told."
        )
        show_flags(view)
    if len(everybody) > 1:
        st.header("Everybody", anchor=False)
        show_everybody(everybody)
        st.caption("Owners see this table; everybody else sees their own work alone.")


def _agreement() -> None:
    view = agreement_views.get_agreement(
        state.get_workspace(), person=state.get_person(), criterion=state.get_criterion()
    )
    if not view.n_grades:
        st.html(
            '<div class="rl-empty"><h2>No blind grades yet</h2><p>Agreement is measured on grades that people gave '
            "without seeing what was proposed: on calibrate and held-out questions, in the samples of certificates, "
            "and wherever blind judging is chosen on the Review screen.</p></div>"
        )
        review = state.SCREENS["review"]
        st.page_link(review.path, label=f"Go to {review.title}", icon=review.icon)
        return
    st.caption(
        literal(
            f"From {counted(view.n_grades, 'first blind grade')} of {counted(view.n_pairs, 'pair')}; two people or "
            f"more graded {view.n_twice:,}. 1 is full agreement, 0 is chance. Nothing is told below "
            f"{view.least_pairs} pairs of {view.least_questions} questions; the line is the 95 % interval, drawn by "
            "question." + (" Older grades are left out." if view.is_capped else "")
        )
    )
    st.header("Judges", anchor=False)
    if view.judges:
        show_judges(view)
    else:
        st.write("No judge has graded any of these pairs.")
    st.header("Over time", anchor=False)
    show_over_time(view)
    st.header("By person" if view.everything else "You", anchor=False)
    show_raters(view)
    if not view.people and not view.with_judges:
        st.write("Nobody has graded the same pairs blind yet.")
    if view.n_left_out:
        st.caption(f"{counted(view.n_left_out, 'more pair of raters', 'more pairs of raters')} with less in common.")
    if not view.named:
        st.caption("Others are numbered: owners alone see their names here.")


def _return() -> None:
    show_return(
        return_on_time.get_return(state.get_workspace(), person=state.get_person(), criterion=state.get_criterion())
    )


with told():
    draw()
