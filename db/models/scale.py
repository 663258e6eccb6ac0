"""What keeps a large workspace quick: which of the database's own structures stand outside the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_modelled(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
    """Whether a table or index of the database is one that the models describe; for Alembic's `include_name`.

    Full-text indexes (`search_…`) are made in migration 0009 and have no model: no row of them is ever read.
    """
    return not (name is not None and kind in ("table", "index") and name.startswith("search_"))
