"""The review desk of this session: the card, the turn, what was asked for and how it is shown."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from app.services.desk_choice import DEFAULT, DeskChoice
from app.state import session_keys


@dataclass(frozen=True, slots=True)
class QueryList:
    """A whole query on the review screen, found by one of its pairs; `picking`: rows are picked and graded at once."""

    pair_id: int
    picking: bool


def open_card(card: str, *, pair_id: int) -> None:
    """Start the clock of a card when it is first shown; showing it again changes nothing."""
    if st.session_state.get(session_keys.CARD) != card:
        st.session_state[session_keys.CARD] = card
        st.session_state[session_keys.CARD_PAIR] = pair_id
        st.session_state[session_keys.CARD_OPENED] = time.monotonic()


def note_open_pair(pair_id: int) -> None:
    """Remember which pair is open where no card is shown, as after an undo in a list."""
    st.session_state[session_keys.CARD_PAIR] = pair_id


def forget_open_pair() -> None:
    st.session_state.pop(session_keys.CARD_PAIR, None)


def get_open_pair() -> int | None:
    """The pair that this person has open, as far as this session knows."""
    pair_id = st.session_state.get(session_keys.CARD_PAIR)
    return pair_id if isinstance(pair_id, int) else None


def get_seconds_on(card: str) -> float | None:
    """Seconds since that card was first shown in this session, or None if it is not the one shown."""
    if st.session_state.get(session_keys.CARD) != card:
        return None
    return time.monotonic() - float(st.session_state[session_keys.CARD_OPENED])


def get_turn() -> int:
    """How many key presses were dealt with; a new number tells the browser that keys count again."""
    return int(st.session_state.get(session_keys.TURN, 0))


def next_turn() -> None:
    st.session_state[session_keys.TURN] = get_turn() + 1


def want_pair(pair_id: int | None) -> None:
    """Ask the review screen for one particular pair; None returns to the queue."""
    if pair_id is None:
        st.session_state.pop(session_keys.WANTED_PAIR, None)
    else:
        st.session_state[session_keys.WANTED_PAIR] = pair_id


def get_wanted_pair() -> int | None:
    wanted = st.session_state.get(session_keys.WANTED_PAIR)
    return wanted if isinstance(wanted, int) else None


def ask_for_help() -> None:
    st.session_state[session_keys.HELP] = True


def take_help_request() -> bool:
    """Whether help was asked for since the last call."""
    return bool(st.session_state.pop(session_keys.HELP, False))


def get_desk() -> DeskChoice:
    """The order and the part of the queue that this session asks for."""
    chosen = st.session_state.get(session_keys.DESK)
    return chosen if isinstance(chosen, DeskChoice) else DEFAULT


def choose_desk(desk: DeskChoice) -> None:
    st.session_state[session_keys.DESK] = desk


def ask_around(card: str | None) -> None:
    """Show the text around the passage of that card; None puts it away."""
    st.session_state[session_keys.AROUND] = card


def is_around_asked(card: str) -> bool:
    return st.session_state.get(session_keys.AROUND) == card


def show_proposals(shown: bool) -> None:
    """Show or hide what was proposed for the query's other candidates, from now on."""
    st.session_state[session_keys.PROPOSALS] = shown


def are_proposals_shown() -> bool:
    """Whether this session asked for them; hidden until then, for whoever has seen one cannot judge it blind."""
    return bool(st.session_state.get(session_keys.PROPOSALS, False))


def show_list(shown: QueryList | None) -> None:
    """Show a whole query in place of the card; None returns to the card."""
    st.session_state[session_keys.LIST] = shown


def get_list() -> QueryList | None:
    shown = st.session_state.get(session_keys.LIST)
    return shown if isinstance(shown, QueryList) else None


def keep_bulk(pair_ids: tuple[int, ...]) -> None:
    """Remember what was just graded at once, so that one undo takes all of it back; () forgets it."""
    st.session_state[session_keys.BULK] = pair_ids


def get_bulk() -> tuple[int, ...]:
    return tuple(st.session_state.get(session_keys.BULK, ()))
