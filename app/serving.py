"""Running the application: the Streamlit server and the worker as child processes, a dead worker started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import types
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.config import Settings
from app.errors import AppError

ROOT = Path(__file__).resolve().parent.parent
_PORTS_TRIED = 50
_RESTART_SECONDS = 2.0
_STOP_SECONDS = 10.0


class PortTaken(AppError):
    """No free port was found."""


def free_port(host: str, wanted: int) -> int:
    """The wanted port if it is free, else the next free one.

    Raises:
        PortTaken: none of the next fifty is free.
    """
    for port in range(wanted, min(wanted + _PORTS_TRIED, 65_536)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, port))
                return port
    raise PortTaken(f"no free port from {wanted} on {host}; choose another with --port")


def serve(settings: Settings, *, port: int | None = None, announce: Callable[[str], None]) -> int:
    """Serves the workspace until it is told to stop (Ctrl-C or SIGTERM); returns the exit code.

    `announce` gets the address once the server answers.
    """
    chosen = free_port(settings.host, port or settings.port)
    environment = os.environ | {"RELABEL_WORKSPACE": str(settings.workspace), "PYTHONUNBUFFERED": "1"}
    app = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "streamlit",
            "run",
            str(ROOT / "app" / "main.py"),
            f"--server.port={chosen}",
            f"--server.address={settings.host}",
            "--server.headless=true",
            "--browser.gatherUsageStats=false",
            "--logger.level=warning",
            "--client.toolbarMode=minimal",
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    worker = _start_worker(environment)
    restarted = time.monotonic()
    stopping = False

    def stop(number: int, frame: types.FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    address = f"http://{settings.host}:{chosen}"
    announced = False
    try:
        while not stopping:
            if app.poll() is not None:
                raise AppError(f"the Streamlit server stopped with exit code {app.returncode}")
            if not announced and _answers(address):
                announced = True
                announce(address)
            if worker.poll() is not None and time.monotonic() - restarted > _RESTART_SECONDS:
                worker, restarted = _start_worker(environment), time.monotonic()
            time.sleep(0.2)
    finally:
        for child in (app, worker):
            _end(child)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _start_worker(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "app.cli", "worker", "--with-parent"], cwd=ROOT, env=environment)


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=1) as reply:
        return bool(reply.status == 200)
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
