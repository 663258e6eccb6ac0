"""Editing what counts as relevant for a query; every version is kept, and the labels of the older one go stale."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.problems import OURS, sentence
from app.services import definitions
from app.services.views import PairView


def edit_definition(pair: PairView) -> None:
    """A closed form with the definition that holds; saving it makes a new version."""
    title = "Change what counts as relevant" if pair.definition else "Write what counts as relevant"
    with st.expander(title), st.form(f"labels.definition.{pair.query_id}", border=False):
        text = st.text_area(
            "For this question, a passage counts as relevant when …",
            value=pair.definition or "",
            max_chars=definitions.MAX_CHARACTERS,
            height=160,
            key=f"labels.definition_text.{pair.query_id}",
        )
        st.caption(
            "All labels of this question that an LLM gave under the older text lose acceptance and are asked again."
        )
        sent = st.form_submit_button("Save as a new version", key="labels.definition_save")
    if not sent:
        return
    try:
        report = definitions.set_definition(
            state.get_workspace(), query=pair.query_id, text=text, person=state.get_person()
        )
    except OURS as exc:
        state.leave_notice("labels", sentence(exc), "refused")
    else:
        number = len(report.definitions.versions)
        said = f"Version {number} holds now; {report.dropped:,} accepted labels lost acceptance."
        state.leave_notice("labels", said if report.changed else "That is the definition already.")
    st.rerun()
