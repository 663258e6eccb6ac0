"""A browser, a small demo workspace and the real application on a copy of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.bootstrap import Workspace, open_workspace
from bench.chromium import BrowserMissing, launch

if TYPE_CHECKING:
    from app.services.indexing import Progress

ROOT = Path(__file__).parents[2]
# A model nobody would want, trained in seconds: what is tested is the loop around it.
SETTINGS = """
name = "Small demo"
person = "Ada"
judge = "local"
max_length = 64
train_max_length = 64
epochs = 1
speed = "full"
list_size = 4
batch_queries = 4
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium from PATH, else Playwright's own; without either a skip, under CI a failure."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        try:
            started = launch(playwright)
        except BrowserMissing as exc:
            if os.environ.get("CI") == "true":
                pytest.fail(str(exc))
            pytest.skip(str(exc))
        yield started
        started.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of about 600 passages as `relabel demo` makes it, made once; copy it before changing it."""
    from app.demo.session import prepare

    folder = tmp_path_factory.mktemp("demo") / "workspace"
    folder.mkdir()
    (folder / "relabel.toml").write_text(SETTINGS, encoding="utf-8")

    @contextmanager
    def bar(title: str) -> Iterator[Progress]:
        yield lambda done, total: None

    workspace = open_workspace(folder)
    prepare(workspace, bar=bar, say=lambda line: None, limit=600)
    workspace.close()
    return folder


@dataclass
class Application:
    """`relabel serve` on a workspace, with its worker, in a process group of its own."""

    workspace: Workspace
    log: Path
    port: int
    address: str = field(init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        folder = self.workspace.settings.workspace
        command = [sys.executable, "-m", "app.cli", "serve", "--workspace", str(folder), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"HOME": str(folder.parent)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._until_it_answers()

    def _until_it_answers(self, seconds: float = 90) -> None:
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=2):
                return
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"no answer within {seconds} s\n{self.log.read_text()}"
            time.sleep(0.2)

    def kill(self) -> None:
        """Everything at once, as a crash or a power cut would end it."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=20)
            self.process = None

    def stop(self) -> None:
        """As Ctrl-C in the terminal ends it; whatever is left after that is killed."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=30)
        self.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(demo: Path, folder: Path) -> Iterator[Application]:
    shutil.copytree(demo, folder / "workspace")
    workspace = open_workspace(folder / "workspace")
    running = Application(workspace=workspace, log=folder / "serve.log", port=_free_port())
    running.start()
    try:
        yield running
    finally:
        running.stop()
        workspace.close()


@pytest.fixture
def application(demo: Path, tmp_path: Path) -> Iterator[Application]:
    """The application on a fresh copy of the demo workspace, started."""
    with _running(demo, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared_application(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The application on one copy for all tests of a file: what one test stores, the next one finds."""
    with _running(demo, tmp_path_factory.mktemp("shared")) as running:
        yield running


class Desk:
    """One browser page on the application, as a person uses it; remembers what went wrong in it."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))

    def _heard(self, message: Any) -> None:
        # Opened at /review, Streamlit's own script looks for its server below /review first, then at the root.
        looking = re.search("/[a-z]+/_stcore/(health|host-config)$", message.location["url"])
        if message.type == "error" and not looking:
            self.errors.append(f"{message.text} {message.location['url']}")

    def open(self, screen: str = "") -> None:
        self.page.goto(f"{self.address}/{screen}")
        self.settle()

    def go(self, title: str) -> None:
        """To another screen, by the sidebar."""
        self.page.get_by_test_id("stSidebarNav").get_by_role("link", name=title, exact=True).click()
        self.page.get_by_role("heading", name=title, level=1).wait_for()
        self.settle()

    def settle(self) -> None:
        """Until the script has run to its end and drawn everything."""
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        self.page.wait_for_function("() => !document.querySelector('[data-stale=true]')")

    def text(self) -> str:
        return str(self.page.get_by_test_id("stMain").inner_text())

    def check(self) -> None:
        """No traceback on the screen, nothing in the browser's console."""
        assert self.page.get_by_test_id("stException").count() == 0, self.text()
        assert self.errors == []


@pytest.fixture
def desk(browser: Any, application: Application) -> Iterator[Callable[[], Desk]]:
    """Opens pages on the application; every page is checked for errors at the end."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    desks: list[Desk] = []

    def open_desk() -> Desk:
        desks.append(Desk(context.new_page(), application.address))
        return desks[-1]

    yield open_desk
    for each in desks:
        if not each.page.is_closed():
            each.check()
        assert each.errors == []
    context.close()
