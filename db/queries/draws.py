"""Drawing pairs to be judged blind and serving cards that show a proposal exclude each other."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from annotator.types import Criterion

_LOCK = 7_261_400  # our own number; one more for each criterion


def hold_draws(session: Session, *, criterion: Criterion, shared: bool) -> None:
    """Waits for whoever draws a sample (`shared`), or also for whoever is served a card; until the transaction ends.

    To be called before anything else is locked, so that nobody waits in a circle. SQLite has one writer at a time.
    """
    if session.get_bind().dialect.name == "postgresql":
        lock = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
        key = _LOCK + list(Criterion).index(criterion)
        session.execute(sa.text(f"SELECT {lock}(:key)"), {"key": key})
