"""Remembers which ids one import has met, on disk beyond a small cache, so that millions of lines take no memory."""

from __future__ import annotations

import sqlite3
from enum import Enum, auto
from hashlib import blake2b
from types import TracebackType


class Sight(Enum):
    FIRST = auto()
    SAME = auto()
    DIFFERENT = auto()


class SeenKeys:
    """Keys of one import with a digest of what came with them; a private temporary database, gone when closed."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA cache_size=-16000")
        self._connection.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID")
        self._connection.execute("BEGIN")

    def __enter__(self) -> SeenKeys:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def meet(self, *key: str, content: str) -> Sight:
        """Whether the key is new, came before with the same content, or with other content (the first one is kept)."""
        name, digest = _digest(*key), _digest(content)
        inserted = self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, digest))
        if inserted.rowcount:
            return Sight.FIRST
        (known,) = self._connection.execute("SELECT content FROM seen WHERE key = ?", (name,)).fetchone()
        return Sight.SAME if known == digest else Sight.DIFFERENT

    def has(self, *key: str) -> bool:
        """Whether the key was met."""
        found = self._connection.execute("SELECT 1 FROM seen WHERE key = ?", (_digest(*key),))
        return found.fetchone() is not None


def _digest(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
