"""Which workspace is open, who sits here and what is judged."""

from __future__ import annotations

import gc
from functools import cache
from pathlib import Path

import streamlit as st

from annotator.types import Criterion
from app.bootstrap import Workspace, open_workspace
from app.config import find_workspace
from app.services.names import clean_name
from app.state import session_keys


@st.cache_resource(show_spinner="Opening the workspace", on_release=lambda workspace: workspace.close())
def _opened(path: Path) -> Workspace:
    return open_workspace(path)


@cache
def rest_loaded() -> None:
    """Once a process: takes what is loaded by now out of the garbage collector's rounds.

    A full round over all of it holds a key press at the desk up for 150 ms, and there is nothing in it to be freed.
    """
    gc.collect()
    gc.freeze()


def get_workspace() -> Workspace:
    """The workspace this application serves, opened once a process.

    Raises:
        WorkspaceMissing, SettingsInvalid, DbError: it cannot be opened.
    """
    return _opened(find_workspace(None).absolute())


def get_criterion() -> Criterion:
    """What is judged on every screen of this session: relevance, until utility is chosen."""
    chosen = st.session_state.get(session_keys.CRITERION)
    return chosen if isinstance(chosen, Criterion) else Criterion.RELEVANCE


def choose_criterion(criterion: Criterion) -> None:
    """Show the other criterion from now on; a card, a page or a pair of the one before it is put away."""
    if criterion is not get_criterion():
        st.session_state[session_keys.CRITERION] = criterion
        for key in session_keys.OF_ONE_CRITERION:
            st.session_state.pop(key, None)


def get_person() -> str:
    """Who sits here: chosen in this session, else named by the address (`?person=`), else the workspace's default."""
    chosen = st.session_state.get(session_keys.PERSON)
    if isinstance(chosen, str) and chosen:
        return chosen
    return clean_name(st.query_params.get("person", "")) or get_workspace().settings.person


def choose_person(name: str) -> None:
    """Remember who sits here for this session and, in the address, across a reload."""
    st.session_state[session_keys.PERSON] = name


def keep_person_in_address() -> None:
    """Write the person into the address, so that a reload or a bookmark finds the same person."""
    person = get_person()
    if person != get_workspace().settings.person:
        if st.query_params.get("person") != person:
            st.query_params["person"] = person
    elif "person" in st.query_params:
        del st.query_params["person"]
