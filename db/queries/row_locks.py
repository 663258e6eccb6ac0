"""Whether rows are locked one by one, or the whole database by whoever writes."""

from __future__ import annotations

from sqlalchemy.orm import Session


def locks_rows(session: Session) -> bool:
    """Whether others may write while this transaction does, so that rows have to be held and looked at again.

    SQLite has one writer at a time, from the beginning of its transaction: what a writer read stays so until it ends.
    """
    return session.get_bind().dialect.name == "postgresql"
