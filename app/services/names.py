"""Names of people as they are stored, however they were typed or stood in an address."""

from __future__ import annotations

import re

MAX_NAME = 200
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control signs, which PostgreSQL cannot store, and those that turn the direction of what follows a name."""


def clean_name(name: str) -> str:
    """The name on one line without signs that nobody sees, cut at `MAX_NAME`; "" where nothing is left.

    Signs that join or part letters stay: Persian and Indian names are written with them.
    """
    return " ".join(_UNSEEN.sub(" ", name).split())[:MAX_NAME].strip()
