"""The sidebar: which workspace this is, and who sits here (a chosen name in local mode)."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.text import escaped
from app.services import reviewing

_WIDGET = "main.person"


def choose_who() -> None:
    """Draw the workspace's name and the chooser of the person, and make sure that the person exists."""
    workspace = state.get_workspace()
    person = state.get_person()
    people = reviewing.list_people(workspace)
    if person not in people:
        person = reviewing.ensure_person(workspace, name=person)
        people = (*people, person)
    state.choose_person(person)
    with st.sidebar:
        st.html(f'<p class="rl-workspace"><span>Workspace</span>{escaped(workspace.settings.name)}</p>')
        st.selectbox(
            "You are",
            options=people,
            index=people.index(person),
            key=_WIDGET,
            accept_new_options=True,
            on_change=_chosen,
            help="Every review carries this name. Type a new one and press Enter to add it.",
        )
    state.keep_person_in_address()


def _chosen() -> None:
    name = " ".join(str(state.value_of(_WIDGET) or "").split())[: state.MAX_NAME]
    if name:
        state.choose_person(reviewing.ensure_person(state.get_workspace(), name=name))
