"""The Adjudicate screen of this session: the case asked for, those put off, and the place in the list."""

from __future__ import annotations

import time

import streamlit as st

from app.state import session_keys


def want_case(pair_id: int | None) -> None:
    """Ask the Adjudicate screen for one particular pair; None returns to the order they wait in."""
    if pair_id is None:
        st.session_state.pop(session_keys.CASE, None)
    else:
        st.session_state[session_keys.CASE] = pair_id


def get_wanted_case() -> int | None:
    wanted = st.session_state.get(session_keys.CASE)
    return wanted if isinstance(wanted, int) else None


def open_case(card: str) -> None:
    """Start the clock of a case when it is first shown; showing it again changes nothing."""
    kept = st.session_state.get(session_keys.CASE_OPENED)
    if not isinstance(kept, tuple) or kept[0] != card:
        st.session_state[session_keys.CASE_OPENED] = (card, time.monotonic())


def get_seconds_on_case(card: str) -> float | None:
    """Seconds since that case was first shown in this session, or None if it is not the one shown."""
    kept = st.session_state.get(session_keys.CASE_OPENED)
    return time.monotonic() - kept[1] if isinstance(kept, tuple) and kept[0] == card else None


def put_off_case(pair_id: int) -> None:
    """Leave a case for later in this session."""
    st.session_state[session_keys.PUT_OFF] = (*get_put_off(), pair_id)


def get_put_off() -> tuple[int, ...]:
    """The cases this session left for later."""
    return tuple(st.session_state.get(session_keys.PUT_OFF, ()))


def clear_put_off() -> None:
    """What was left for later comes again."""
    st.session_state.pop(session_keys.PUT_OFF, None)


def get_cases_offset() -> int:
    """The first case of the list that is shown."""
    return int(st.session_state.get(session_keys.CASES_OFFSET, 0))


def set_cases_offset(offset: int) -> None:
    st.session_state[session_keys.CASES_OFFSET] = max(0, offset)
