"""The screens by name, and the pair that an address names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import streamlit as st


@dataclass(frozen=True, slots=True)
class Screen:
    """A page of the application; `path` is relative to `app/main.py`."""

    path: str
    title: str
    icon: str


SCREENS: Mapping[str, Screen] = MappingProxyType(
    {
        "overview": Screen("screens/overview.py", "Overview", ":material/dashboard:"),
        "labelling": Screen("screens/labelling.py", "Labelling", ":material/smart_toy:"),
        "labels": Screen("screens/labels.py", "Labels", ":material/label:"),
        "review": Screen("screens/review.py", "Review", ":material/rate_review:"),
        "adjudicate": Screen("screens/adjudicate.py", "Adjudicate", ":material/gavel:"),
        "judges": Screen("screens/judges.py", "Judges", ":material/balance:"),
        "work": Screen("screens/work.py", "Work", ":material/schedule:"),
        "calibration": Screen("screens/calibration.py", "Calibration", ":material/verified:"),
        "train": Screen("screens/train.py", "Train", ":material/model_training:"),
        "lineage": Screen("screens/lineage.py", "Lineage", ":material/account_tree:"),
        "search": Screen("screens/search.py", "Search", ":material/search:"),
        "data": Screen("screens/data.py", "Data", ":material/database:"),
    }
)


def get_linked_pair() -> int | None:
    """The pair that the address names, as in `/labels?pair=12`, so that a pair can be sent to somebody."""
    named = st.query_params.get("pair", "")
    return int(named) if named.isascii() and named.isdigit() and len(named) < 16 else None


def close_linked_pair() -> None:
    if "pair" in st.query_params:
        del st.query_params["pair"]
