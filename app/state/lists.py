"""Long lists of this session: what Labels is narrowed to, and which page of it and of Lineage is shown."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app.services.label_choice import ALL, NAMES, LabelChoice, from_filters, to_address
from app.state import session_keys
from app.state.widgets import forget


def get_labels_page() -> Mapping[str, int]:
    """Behind (`after`) or before (`before`) which pair the page of labels that is shown lies; empty for the first."""
    kept = st.session_state.get(session_keys.OFFSET)
    return kept if isinstance(kept, Mapping) else {}


def set_labels_page(*, after: int | None = None, before: int | None = None) -> None:
    ends = {"after": after, "before": before}
    st.session_state[session_keys.OFFSET] = {end: pair_id for end, pair_id in ends.items() if pair_id is not None}


def get_labels_choice() -> LabelChoice:
    """What the Labels screen is narrowed to in this session."""
    choice, _ = st.session_state.get(session_keys.LABELS, (ALL, {}))
    return choice if isinstance(choice, LabelChoice) else ALL


def take_labels_address() -> bool:
    """Choose what an address that was opened names, by a link or by going back; False where it names nothing new."""
    _, address = st.session_state.get(session_keys.LABELS, (ALL, {}))
    named = {name: st.query_params[name] for name in NAMES if name in st.query_params}
    if not named or named == address:
        return False
    choose_labels(from_filters(named))
    return True


def choose_labels(choice: LabelChoice) -> None:
    """Narrow the Labels screen anew: it begins at its first page, with nothing selected."""
    _keep_labels(choice)
    set_labels_page()
    forget(session_keys.LABELS_TABLE)


def keep_labels_in_address() -> None:
    """Write what the Labels screen is narrowed to into the address, so that it can be sent to somebody."""
    _keep_labels(get_labels_choice())


def _keep_labels(choice: LabelChoice) -> None:
    address = to_address(choice)
    st.session_state[session_keys.LABELS] = (choice, address)
    for name in NAMES:
        if name in address and st.query_params.get(name) != address[name]:
            st.query_params[name] = address[name]
        elif name not in address and name in st.query_params:
            del st.query_params[name]


def get_lineage_offset() -> int:
    """The first label of the Lineage page that is shown."""
    return int(st.session_state.get(session_keys.LINEAGE_OFFSET, 0))


def set_lineage_offset(offset: int) -> None:
    st.session_state[session_keys.LINEAGE_OFFSET] = max(0, offset)
