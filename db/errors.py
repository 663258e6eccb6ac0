"""What can go wrong with the database.

DbError
├── DatabaseUnreachable   nothing usable answers at the URL: the person fixes the address or starts the server
├── SchemaTooNew          a newer Relabel wrote it: the person updates
├── NotFound              no row with that id: the caller shows that it is gone
└── SearchTooLong         more words than a search takes: the person leaves some out
"""

from __future__ import annotations


class DbError(Exception):
    """Root of this package's errors; `user_message` is fit for a screen."""

    def __init__(self, message: str, *, user_message: str | None = None) -> None:
        super().__init__(message)
        self.user_message = user_message or message


class DatabaseUnreachable(DbError):
    """Nothing usable answers at the database's URL."""


class SchemaTooNew(DbError):
    """The database was migrated by a newer version."""


class NotFound(DbError):
    """There is no row with that id or name."""


class SearchTooLong(DbError):
    """There are more words in a search than are looked for; none is left out unasked."""
