"""Labels: every proposal with what was decided and why; one can be opened, and an accepted one overturned."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.badges import (
    KINDS,
    confidence_html,
    facts_html,
    grade_html,
    grade_text,
    judge_text,
    outcome_html,
    outcome_text,
    source_text,
)
from app.components.definition import edit_definition
from app.components.effective_prompt import show_effective_prompt
from app.components.label_filters import choose_labels, clear
from app.components.passage import show_passage, show_query
from app.components.problems import OURS, sentence, show_notice, told
from app.components.table import show_table
from app.components.text import escaped
from app.components.tiers import show_tiers
from app.components.votes import show_votes
from app.services import labels, reviewing, self_labelling
from app.services.label_choice import ALL, LabelChoice
from app.services.views import LabelPage, LabelRow, PairView, ScaleView
from db.enums import Outcome, Split

PAGE = 50
PEOPLE_ONLY = (Split.CALIBRATE, Split.HELD_OUT)
_TABLE = "labels.table"
_NARROW = ("Question", "Passage", "Decision")
_WIDE = ("Question", "Passage", "Proposed", "Confidence", "Decision", "By people", "Why", "Stated", "Judge", "Split")


def draw() -> None:
    st.title("Labels", anchor=False)
    show_notice("labels")
    workspace = state.get_workspace()
    scale = reviewing.get_scale(workspace)
    choice = choose_labels(scale)
    state.keep_labels_in_address()
    page = labels.list_labels(
        workspace,
        criterion=state.get_criterion(),
        after=_from("after"),
        before=_from("before"),
        limit=PAGE,
        **choice.filters(),
    )
    if not page.rows and (_from("after") or _from("before")):
        _first_page()  # what stood here is gone
        st.rerun()
    linked = state.get_linked_pair()
    if not page.rows and linked is not None:  # a link leads to its pair, whatever the list is narrowed to
        _open(linked, scale=scale)
        return
    if not page.rows:
        _nothing(choice, scale=scale)
        return
    chosen = _chosen(page)
    if chosen is None:
        if choice == ALL:
            show_tiers(self_labelling.get_tiers(workspace, criterion=state.get_criterion()))
        _table(page, scale=scale, narrow=False)
        st.caption("Select a row to read the passage, see who graded it, and overturn an accepted proposal.")
        return
    left, right = st.columns([6, 5], gap="medium")
    with left:
        _table(page, scale=scale, narrow=True)
    with right:
        _open(chosen, scale=scale)


def _first_page() -> None:
    state.set_labels_page()
    state.forget(_TABLE)


def _turn_page(after: int | None, before: int | None) -> None:
    state.set_labels_page(after=after, before=before)
    state.forget(_TABLE)


def _from(end: str) -> int | None:
    return state.get_labels_page().get(end)


def _chosen(page: LabelPage) -> int | None:
    """The pair that is open: the selected row's, else the one that the address names (`?pair=`)."""
    rows = state.selected_rows(_TABLE)
    if rows and rows[0] < len(page.rows):
        state.close_linked_pair()
        return page.rows[rows[0]].pair_id
    return state.get_linked_pair()


def _table(page: LabelPage, *, scale: ScaleView, narrow: bool) -> None:
    _pages(page)
    rows = page.rows
    columns: dict[str, list[object]] = {
        "Question": [row.query for row in rows],
        "Passage": [row.passage_title for row in rows],
        "Proposed": [_proposed(row, scale=scale) for row in rows],
        "Confidence": [None if row.confidence is None else 100 * row.confidence for row in rows],
        "Stated": [KINDS.get(str(row.confidence_kind), "") for row in rows],
        "Decision": [_decision(row) for row in rows],
        "By people": ["" if row.human_grade is None else grade_text(row.human_grade, scale) for row in rows],
        "Judge": ["" if row.judge is None else judge_text(row.judge) for row in rows],
        "Split": [row.split.value if row.split else "" for row in rows],
        "Why": [row.why for row in rows],
    }
    st.dataframe(
        columns,
        key=_TABLE,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        height=460,
        column_order=_NARROW if narrow else _WIDE,
        column_config={
            "Question": st.column_config.TextColumn(width=185 if narrow else 195),
            "Passage": st.column_config.TextColumn(width=125 if narrow else 175),
            "Proposed": st.column_config.TextColumn(width=130),
            "Decision": st.column_config.TextColumn(width=155),
            "Confidence": st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100, width=95),
            "By people": st.column_config.TextColumn(width=125),
            "Stated": st.column_config.TextColumn("Confidence is", width="medium"),
            "Why": st.column_config.TextColumn("Why decided so", width="medium"),
        },
    )


def _pages(page: LabelPage) -> None:
    first, last = page.rows[0].pair_id, page.rows[-1].pair_id
    at_start = page.offset == 0
    place = "" if page.offset is None else f"{page.offset + 1:,} to {page.offset + len(page.rows):,} of "
    with st.container(key="labels-pages", horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(f"{place}{'' if page.counted else 'more than '}{page.total:,} pairs", width="content")
        for words, icon, disabled, after, before in (
            ("Previous", ":material/chevron_left:", at_start, None, first),
            ("Next", ":material/chevron_right:", not page.has_more, last, None),
        ):
            st.button(
                words,
                icon=icon,
                key=f"labels.{words.lower()}",
                disabled=disabled,
                type="tertiary",
                on_click=_turn_page,
                args=(after, before),
            )


def _decision(row: LabelRow) -> str:
    if row.concealed:
        return "hidden"
    return "stale" if row.stale else outcome_text(row.outcome, certified=row.certified)


def _proposed(row: LabelRow, *, scale: ScaleView) -> str:
    if row.status is None:
        return "hidden: judged blind"
    return grade_text(row.grade, scale) if row.status.value == "ok" else "unreadable reply"


def _open(pair_id: int, *, scale: ScaleView) -> None:
    """The pair, or why it cannot be shown and the way back."""
    pair = None
    with told():
        pair = labels.get_pair(state.get_workspace(), pair_id=pair_id, criterion=state.get_criterion())
    if pair is None:
        st.button("Back to the list", key="labels.close", on_click=state.close_linked_pair)
        return
    _detail(pair, scale=scale)


def _detail(pair: PairView, *, scale: ScaleView) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if state.get_linked_pair() is not None:
            st.button("Close", key="labels.close", on_click=state.close_linked_pair, type="tertiary")
        st.page_link(
            state.SCREENS["labels"].path,
            label="Link to this pair",
            icon=":material/link:",
            query_params={"pair": str(pair.pair_id)},
        )
    with st.container(key="labels-read"):
        show_query(pair.query, pair.definition)
        show_passage(title=pair.passage_title, text=pair.passage_text, evidence=pair.evidence)
    if pair.concealed:
        st.info(
            "People judge this pair blind, so what was proposed for it is not shown: it measures the judge, "
            "or it is part of an audit that is still going on."
        )
        _to_review(pair)
        return
    if pair.stale:
        st.warning(
            "Stale: the definition of what counts changed after the judge had seen it. Label again to ask the judge "
            "under the definition that holds now.",
            icon=":material/update:",
        )
    facts = [("Proposed", grade_html(pair.grade, scale) if not _unreadable(pair) else "the reply was unreadable")]
    facts.append(("Confidence", confidence_html(pair.confidence, pair.confidence_kind)))
    facts.append(("Reason", escaped(pair.reason) or "none given"))
    facts.append(("Judge", escaped(judge_text(pair.judge))))
    why = escaped(pair.why.removeprefix("uncertified: "))  # the outcome has said so already
    outcome = outcome_html(pair.outcome, certified=pair.certified)
    facts.append(("Decision", f'{outcome} <span class="rl-muted">{why}</span>'))
    if pair.curated_source is not None:
        facts.append(
            (
                "Curated grade",
                f"{grade_html(pair.curated_grade, scale)} from {escaped(source_text(pair.curated_source))}",
            )
        )
    st.html(facts_html(facts))
    if pair.votes is not None:
        show_votes(pair.votes, scale=scale)
    if pair.outcome is Outcome.ACCEPTED:
        _overturn(pair, scale=scale)
    else:
        _to_review(pair)
    edit_definition(pair)
    if pair.judge is not None:
        show_effective_prompt(pair)
    if pair.history:
        show_table(
            ["When", "Who", "What", "Note"],
            [[entry.at.strftime("%Y-%m-%d %H:%M"), entry.who, entry.what, entry.note] for entry in pair.history],
            caption="History",
        )


def _to_review(pair: PairView) -> None:
    review = state.SCREENS["review"]
    if st.button(f"Grade it on the {review.title} screen", key="labels.review", icon=review.icon):
        state.want_pair(pair.pair_id)
        st.switch_page(review.path)


def _unreadable(pair: PairView) -> bool:
    return pair.status is not None and pair.status.value == "unreadable"


def _overturn(pair: PairView, *, scale: ScaleView) -> None:
    with st.form("labels.overturn", border=True):
        grade = st.radio(
            "Overturn: the right grade is",
            list(range(scale.max_grade + 1)),
            format_func=lambda g: grade_text(g, scale),
            index=None,
            horizontal=True,
            key=f"labels.grade.{pair.pair_id}",
        )
        note = st.text_input("Why (others will read it)", key=f"labels.note.{pair.pair_id}", max_chars=2000)
        sent = st.form_submit_button("Overturn", key="labels.submit")
    if not sent:
        return
    if grade is None:
        st.warning("Choose the right grade first.")
        return
    try:
        labels.overturn(
            state.get_workspace(),
            pair_id=pair.pair_id,
            person=state.get_person(),
            grade=grade,
            note=note.strip(),
            criterion=state.get_criterion(),
        )
    except OURS as exc:
        state.leave_notice("labels", sentence(exc), "refused")
    else:
        state.leave_notice("labels", f"Saved: {grade_text(grade, scale)}. It counts from the next label set on.")
    st.rerun()


def _nothing(choice: LabelChoice, *, scale: ScaleView) -> None:
    if choice != ALL:
        blind = choice.split in PEOPLE_ONLY and choice.by_proposal
        why = (
            f"People judge {choice.split} questions blind, so their pairs are not found by what was proposed, decided "
            "or disputed. Take either the split or those filters away."
            if blind
            else "Take one of the filters above away: each has a cross. Or look at all labels."
        )
        st.html(f'<div class="rl-empty"><h2>No label fits all of this</h2><p>{escaped(why)}</p></div>')
        st.button("Show all labels", key="labels.show_all", on_click=clear)
        return
    st.html(
        '<div class="rl-empty"><h2>No labels yet</h2><p>Import questions and passages, then let a judge propose grades:'
        "</p></div>"
    )
    st.code("relabel pool\nrelabel label", language=None)
    st.page_link(state.SCREENS["data"].path, label="Go to Data", icon=state.SCREENS["data"].icon)


with told():
    draw()
