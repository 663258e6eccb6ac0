"""The sidebar: which workspace this is, who sits here (a chosen name in local mode), and what is judged."""

from __future__ import annotations

import streamlit as st

from annotator.types import Criterion
from app import state
from app.components.text import escaped
from app.services import criteria, reviewing
from app.services.names import clean_name

_WIDGET = "main.person"
_CRITERION = "main.criterion"


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
        _choose_criterion()
    state.keep_person_in_address()


def _choose_criterion() -> None:
    """Which criterion the screens show; drawn once there is more than one."""
    used = criteria.list_criteria(state.get_workspace())
    if len(used) > 1:
        st.segmented_control(
            "Judged by",
            used,
            default=state.get_criterion(),
            format_func=lambda criterion: criterion.value.capitalize(),
            required=True,
            key=_CRITERION,
            on_change=_criterion_chosen,
            help="Relevance and utility are different questions; their labels are never mixed.",
        )


def _criterion_chosen() -> None:
    chosen = state.value_of(_CRITERION)
    if isinstance(chosen, Criterion):
        state.choose_criterion(chosen)


def _chosen() -> None:
    name = clean_name(str(state.value_of(_WIDGET) or ""))
    if name:
        state.choose_person(reviewing.ensure_person(state.get_workspace(), name=name))
