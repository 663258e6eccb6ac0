"""Engines and sessions: one rule set for SQLite and PostgreSQL, and the migrations that bring a database up to date.

`Sessions.begin()` is for writing (on SQLite it takes the write lock at once, so that a transaction never fails half way
because another writer came first); `Sessions.read()` is a snapshot that is always rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session, sessionmaker

from db.errors import DatabaseUnreachable, SchemaTooNew

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000
_MIGRATION_LOCK = 7_245_001


class Sessions:
    """Makes sessions on one database; cheap to keep, closed with `dispose()`."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._write = sessionmaker(engine.execution_options(relabel_begin="IMMEDIATE"), expire_on_commit=False)
        self._read = sessionmaker(engine, expire_on_commit=False, autoflush=False)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A session in one write transaction: committed at the end, rolled back on any error."""
        with self._write.begin() as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one snapshot; whatever is written in it is lost."""
        with self._read() as session:
            yield session

    def dispose(self) -> None:
        self.engine.dispose()


def normalise_url(url: str) -> str:
    """The URL with the drivers we ship: `postgresql://` and `postgres://` mean psycopg 3."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def connect(url: str) -> Sessions:
    """Sessions on the database at `url`, which is not touched yet.

    Raises:
        DatabaseUnreachable: this is no database's URL, or its driver is not installed.
    """
    try:
        engine = sa.create_engine(normalise_url(url), pool_pre_ping=not url.startswith("sqlite"))
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as exc:
        raise DatabaseUnreachable(
            f"no database is named by the URL: {exc}",
            user_message="DATABASE_URL names no database that Relabel knows. Use sqlite:///… or postgresql://….",
        ) from exc
    except ModuleNotFoundError as exc:
        raise DatabaseUnreachable(
            f"the driver {exc.name} is not installed",
            user_message=f"The database's driver {exc.name} is missing. For PostgreSQL: pip install -e .[postgres]",
        ) from exc
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return Sessions(engine)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver's own BEGIN comes too late
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('relabel_begin', 'DEFERRED')}")


def _alembic(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def upgrade(sessions: Sessions, revision: str = "head") -> None:
    """Brings the database to `revision`; safe when several processes start at once, and one that is there only reads.

    Raises:
        DatabaseUnreachable: nothing answers at the URL.
        SchemaTooNew: a newer Relabel has already migrated this database.
    """
    engine = sessions.engine.execution_options(relabel_begin="IMMEDIATE")
    scripts = ScriptDirectory.from_config(_alembic())
    try:
        if _is_at(sessions, scripts.get_current_head() if revision == "head" else revision):
            return
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            current = current_revision(connection)
            known = {script.revision for script in scripts.walk_revisions()}
            if current is not None and current not in known:
                raise SchemaTooNew(
                    f"the database is at revision {current}, which this version of Relabel does not know",
                    user_message="This workspace was opened with a newer Relabel. Update Relabel and try again.",
                )
            command.upgrade(_alembic(connection), revision)
    except sa.exc.OperationalError as exc:
        raise DatabaseUnreachable(
            f"cannot use the database {engine.url.render_as_string(hide_password=True)}: {exc.orig}",
            user_message="The database does not answer. Check its address (DATABASE_URL) and that it runs.",
        ) from exc
    except sa.exc.DatabaseError as exc:
        if engine.dialect.name != "sqlite" or "not a database" not in str(exc.orig):
            raise
        raise DatabaseUnreachable(
            f"{engine.url.database} is no SQLite database: {exc.orig}",
            user_message=f"{engine.url.database} is damaged or no SQLite file. Put a copy back, or move it away.",
        ) from exc


def _is_at(sessions: Sessions, revision: str | None) -> bool:
    """Whether the database is at that revision, found without the write lock: reviewers may hold it by turns."""
    with sessions.engine.connect() as connection:
        current = current_revision(connection)
    return current is not None and current == revision


def current_revision(connection: sa.Connection) -> str | None:
    """The migration a database is at, or None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if revision is None else str(revision)
