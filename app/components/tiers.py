"""Who labelled what: the retriever, a judge (an LLM or the local one), people, nobody."""

from __future__ import annotations

import streamlit as st

from app.components.text import counted
from app.services.self_labelling import TierView


def show_tiers(tiers: TierView) -> None:
    """One line for the tiers, one for what the first saved, and what looks wrong; nothing without candidates."""
    if not tiers.total:
        return
    parts = [
        f"retriever {tiers.retriever:,} ({tiers.retriever_relevant:,} relevant)",
        f"judge {tiers.llm_certified:,} certified and {tiers.llm_uncertified:,} uncertified",
        f"people {tiers.people:,}",
        f"nobody {tiers.nobody:,}",
    ]
    st.caption(f"Of {counted(tiers.total, 'train candidate')}, labelled by: {', '.join(parts)}.")
    if tiers.retriever:
        st.caption(
            f"The retriever's certified labels save {counted(tiers.calls_saved, 'LLM call')}; they rest on "
            f"{counted(tiers.human_cost, 'blind judgement')}."
        )
    for warning in tiers.warnings:
        st.warning(warning, icon=":material/warning:")
