"""The hash of the corpus, kept beside it so that nobody has to read every passage for it.

Whoever writes a passage calls `mark_changed` in the same transaction, before the write. What is kept then is gone, and
comes back with `keep`, which stores a hash only if nothing was marked since it was computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from db.models import Passage
from db.queries.registry import hash_corpus
from db.queries.workspace_values import get_value, lock_value, set_value

_NAME = "corpus"
_UNMARKED: dict[str, Any] = {"changes": 0}


@dataclass(frozen=True, slots=True)
class CorpusState:
    """The hash of all passages, how many there are, and after how many marked changes; `kept`: read, not computed."""

    hash: str
    n: int
    changes: int
    kept: bool


def mark_changed(session: Session, *, now: datetime) -> None:
    """Forgets the hash; other writers of passages wait until this transaction ends."""
    changes = int(lock_value(session, _NAME, _UNMARKED, now=now)["changes"])
    set_value(session, _NAME, {"changes": changes + 1}, now=now)


def read_state(session: Session) -> CorpusState:
    """The state of the corpus, as kept, or else from every passage."""
    value = get_value(session, _NAME) or _UNMARKED
    # A program from before this was kept may have added passages since.
    if "hash" in value and value["last_id"] == _last_id(session):
        return CorpusState(value["hash"], value["n"], value["changes"], kept=True)
    computed, n = hash_corpus(session)
    return CorpusState(computed, n, value["changes"], kept=False)


def keep(session: Session, state: CorpusState, *, now: datetime) -> bool:
    """Keeps a computed state, unless passages were written since; returns whether it did."""
    if int(lock_value(session, _NAME, _UNMARKED, now=now)["changes"]) != state.changes:
        return False
    value = {"changes": state.changes, "hash": state.hash, "n": state.n, "last_id": _last_id(session)}
    set_value(session, _NAME, value, now=now)
    return True


def _last_id(session: Session) -> int | None:
    return session.scalar(sa.select(sa.func.max(Passage.id)))
