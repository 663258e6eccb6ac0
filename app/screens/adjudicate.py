"""Adjudicate: what reviewers differ about or flagged, one case at a time; names and proposals come after the decision.

Open to everybody to see how much waits; decided by adjudicators and owners.
"""

from __future__ import annotations

from functools import partial

import streamlit as st

from app import state
from app.components import keys
from app.components.adjudication import case_html, settled_html, use_sheet
from app.components.badges import grade_text
from app.components.pages import show_pages
from app.components.people import show_people
from app.components.problems import OURS, sentence, show_notice, told
from app.components.text import counted, escaped, literal, shortened
from app.services import adjudicating, reviewing
from app.services.adjudication_views import Case, CasePage, CaseRow
from app.services.views import ScaleView

PAGE = 50
_ONCE = "st-key-adjudicate-grades"
_TABLE = "adjudicate.table"


@st.fragment
def desk() -> None:
    with told():
        workspace, person, criterion = state.get_workspace(), state.get_person(), state.get_criterion()
        scale = reviewing.get_scale(workspace)
        may = adjudicating.may_adjudicate(workspace, person=person)
        case = _open() if may else None
        page = adjudicating.list_cases(
            workspace, person=person, criterion=criterion, offset=state.get_cases_offset(), limit=PAGE
        )
        st.html(_heading(page))
        with st.container():  # always there, so that a notice coming or going moves no other element's place
            show_notice("adjudicate")
        if not may:
            _not_allowed()
        elif case is None:
            _empty(page)
        else:
            state.open_case(case.card)
            st.html(case_html(case, scale=scale, turn=state.get_turn()))
            _answers(case, scale=scale)
            keys.listen(widget="adjudicate.keys", max_grade=scale.max_grade, once=_ONCE, on_press=_pressed)
        if may:
            _last(scale)
        if page.total:
            _list(page, may=may)


def _open() -> Case | None:
    """The case that was asked for, else the next; one that cannot be had says why and the next one comes."""
    workspace, person, criterion = state.get_workspace(), state.get_person(), state.get_criterion()
    wanted = state.get_wanted_case() or state.get_linked_pair()
    put_off = state.get_put_off()
    if wanted is not None:
        try:
            return adjudicating.open_case(workspace, person=person, criterion=criterion, pair_id=wanted)
        except OURS as exc:
            _in_order()
            state.leave_notice("adjudicate", sentence(exc), "refused")
    case = adjudicating.open_case(workspace, person=person, criterion=criterion, put_off=put_off)
    if case is not None and case.pair.pair_id in put_off:  # nothing else is left: they start over
        state.clear_put_off()
    return case


def _heading(page: CasePage) -> str:
    text = (
        f"{counted(page.total, 'pair')} of {counted(page.queries, 'question')} · "
        f"{page.disputed:,} disputed · {page.flagged:,} flagged"
        if page.total
        else "nothing waits"
    )
    return f'<div class="rl-cases"><h1>Adjudicate</h1><span class="rl-muted">{text}</span></div>'


def _answers(case: Case, *, scale: ScaleView) -> None:
    card, pair_id = case.card, case.pair.pair_id
    with st.container(key="adjudicate-grades", horizontal=True, gap="xsmall", vertical_alignment="bottom"):
        for grade in range(scale.max_grade + 1):
            st.button(
                f"`{grade}` {literal(scale.labels[grade])}",
                key=f"adjudicate.grade.{card}.{grade}",
                on_click=_decide,
                args=(card, grade),
            )
        if case.flagged:
            st.button(
                "Settle the flag, no grade" if case.disputed else "Back to the queue, no grade",
                key=f"adjudicate.back.{card}",
                on_click=_send_back,
                args=(card,),
            )
        st.button("`s` Later", key=f"adjudicate.later.{card}", on_click=_later, args=(pair_id,), type="tertiary")
        st.button("`u` Undo", key="adjudicate.undo", on_click=_undo, type="tertiary")
        st.text_input(
            "Note",
            key=_note(card),
            placeholder="Why? The graders read it",
            label_visibility="collapsed",
            max_chars=2000,
            width=230,
        )


def _not_allowed() -> None:
    names = ", ".join(adjudicating.list_adjudicator_names(state.get_workspace()))
    who = f"They are: {names}." if names else "Nobody is one yet."
    st.info(
        literal(
            f"Adjudicators and owners settle what reviewers differ about. {who} Your own grades count until then; you "
            "see here how much waits."
        ),
        icon=":material/gavel:",
    )


def _empty(page: CasePage) -> None:
    if page.total:
        title = "None of these is for you"
        text = "You graded them yourself, so another adjudicator decides them, or somebody has them open now."
    else:
        title = "Nothing to settle"
        text = (
            "Pairs come here when two people grade one differently, or when somebody flags one. For two people to "
            "grade the same pair, set overlap to 2 or more in relabel.toml (docs/settings.md)."
        )
    st.html(f'<div class="rl-empty"><h2>{escaped(title)}</h2><p>{escaped(text)}</p></div>')
    target = state.SCREENS["review"]
    with st.container(horizontal=True):
        st.page_link(target.path, label=f"Go to {target.title}", icon=target.icon)
        st.button("Undo my last decision", key="adjudicate.undo", on_click=_undo, type="tertiary")


def _last(scale: ScaleView) -> None:
    """What this person decided last, with what was hidden until then."""
    settled = adjudicating.get_last_settled(
        state.get_workspace(), person=state.get_person(), criterion=state.get_criterion()
    )
    if settled is not None:
        with st.expander("Your last decision: who said what", expanded=True):
            st.html(settled_html(settled, scale=scale))


def _list(page: CasePage, *, may: bool) -> None:
    with st.expander(f"All that waits: {counted(page.total, 'pair')}"):
        st.dataframe(
            {
                "Question": [row.query for row in page.rows],
                "Passage": [row.passage_title for row in page.rows],
                "Why": [_why(row) for row in page.rows],
                "Graders": [row.graders for row in page.rows],
                "Waits since": [row.since for row in page.rows],
                "For you": [_for_you(row, may=may) for row in page.rows],
            },
            key=_TABLE,
            hide_index=True,
            on_select=partial(_chosen, tuple(row.pair_id for row in page.rows)) if may else "ignore",
            selection_mode="single-row",
            column_config={
                "Question": st.column_config.TextColumn(width="large"),
                "Waits since": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm"),
            },
        )
        show_pages(
            key="adjudicate",
            offset=page.offset,
            shown=len(page.rows),
            total=page.total,
            size=PAGE,
            noun="pairs",
            turn=_turn_page,
        )
        if may:
            st.caption("Select a row to decide that one now.")


def _why(row: CaseRow) -> str:
    return " and ".join(word for word, so in (("disputed", row.disputed), ("flagged", row.flagged)) if so)


def _for_you(row: CaseRow, *, may: bool) -> str:
    if row.held:
        return "open elsewhere"
    if row.mine:
        return "you graded it"
    return "yes" if may else ""


def _chosen(pair_ids: tuple[int, ...]) -> None:
    rows = state.selected_rows(_TABLE)
    if rows and rows[0] < len(pair_ids):
        state.close_linked_pair()
        state.want_case(pair_ids[rows[0]])
    state.forget(_TABLE)  # a selection points at a place in a list that changes with every decision


def _turn_page(offset: int) -> None:
    state.set_cases_offset(offset)
    state.forget(_TABLE)


def _note(card: str) -> str:
    return f"adjudicate.note.{card}"


def _in_order() -> None:
    state.want_case(None)
    state.close_linked_pair()


def _pressed(press: keys.Press) -> None:
    """Deal with one key press; whatever comes of it, keys count again afterwards."""
    late = press.turn != state.get_turn()
    state.next_turn()
    if late:
        state.leave_notice("adjudicate", keys.TOO_EARLY, "refused")
    elif press.key == keys.UNDO:
        _undo()
    elif press.key == keys.SKIP:
        pair_id = adjudicating.pair_of(press.card)
        if pair_id is not None:
            _later(pair_id)
    else:
        scale = reviewing.get_scale(state.get_workspace())
        grade = keys.grade_of(press.key, max_grade=scale.max_grade)
        if grade is not None:
            _decide(press.card, grade)


def _decide(card: str, grade: int) -> None:
    """Decide the case with that card, and no other; one that was answered or changed is refused."""
    workspace = state.get_workspace()
    try:
        settled = adjudicating.decide(
            workspace,
            card=card,
            person=state.get_person(),
            grade=grade,
            note=str(state.value_of(_note(card)) or "").strip(),
            seconds=state.get_seconds_on_case(card),
        )
    except OURS as exc:
        state.leave_notice("adjudicate", sentence(exc), "refused")
        return
    _in_order()
    words = grade_text(settled.grade, reviewing.get_scale(workspace))
    state.leave_notice("adjudicate", f"Decided: {words}, on “{shortened(settled.pair.query, 70)}”.")


def _send_back(card: str) -> None:
    try:
        settled = adjudicating.send_back(
            state.get_workspace(),
            card=card,
            person=state.get_person(),
            note=str(state.value_of(_note(card)) or "").strip(),
            seconds=state.get_seconds_on_case(card),
        )
    except OURS as exc:
        state.leave_notice("adjudicate", sentence(exc), "refused")
        return
    _in_order()
    state.leave_notice("adjudicate", f"The flag on “{shortened(settled.pair.query, 70)}” is settled without a grade.")


def _later(pair_id: int) -> None:
    _in_order()
    state.put_off_case(pair_id)


def _undo() -> None:
    _in_order()
    try:
        undone = adjudicating.undo(state.get_workspace(), person=state.get_person(), criterion=state.get_criterion())
    except OURS as exc:
        state.leave_notice("adjudicate", sentence(exc), "refused")
        return
    if undone is None:
        state.leave_notice("adjudicate", "There is no decision of yours to take back.", "refused")
        return
    state.clear_put_off()
    state.leave_notice("adjudicate", f"Taken back, on “{shortened(undone.query, 70)}”. Here it is again.")


use_sheet()
desk()
show_people("adjudicate")
