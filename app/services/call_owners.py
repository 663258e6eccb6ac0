"""Who has calls under way: each ledger holds a lock file, which the system lets go of when its process dies."""

from __future__ import annotations

import secrets
from pathlib import Path

from filelock import FileLock, Timeout

from app.bootstrap import Workspace
from db.queries import spending

_FOLDER = ".callers"


class CallOwner:
    """A name that only this ledger uses, as long as it lives."""

    def __init__(self, workspace: Workspace) -> None:
        self.name = secrets.token_hex(12)
        folder = workspace.settings.workspace / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{self.name}.lock"
        self._lock = FileLock(self._file, thread_local=False)
        self._lock.acquire(timeout=10)

    def end(self) -> None:
        """Gives the name up."""
        self._file.unlink(missing_ok=True)
        self._lock.release()


def bury_the_dead(workspace: Workspace, *, but: str = "") -> int:
    """Frees the places of calls whose process died in this directory and counts them; their price stays counted.

    Workers on other machines are not seen from here: their places come free when the reservations expire.
    """
    dead: dict[str, FileLock] = {}
    for file in sorted((workspace.settings.workspace / _FOLDER).glob("*.lock")):
        if file.stem == but:
            continue
        lock = FileLock(file, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        dead[file.stem] = lock
    if not dead:
        return 0
    try:
        with workspace.sessions.begin() as session:
            freed = spending.end_reservations_of(session, sorted(dead), now=workspace.now())
        for lock in dead.values():
            Path(lock.lock_file).unlink(missing_ok=True)
    finally:
        for lock in dead.values():
            lock.release()
    return freed
