"""Exports that wait to be taken away, written into the workspace's `exports` folder and never held in memory.

Each person's browser session has one at a time: a new one takes the old one's place. What nobody took is removed after
a day, when the next is prepared.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.exporting import export

FOLDER = "exports"
KEPT = timedelta(days=1)
BROWSER_BYTES = 32 * 1024**2
"""Up to this size a file is handed out by the browser: the server holds what it hands out in memory. Our choice."""


@dataclass(frozen=True, slots=True)
class PreparedExport:
    """A finished file. n_rows: labels or events in it; n_bytes: its size."""

    path: Path
    n_rows: int
    n_bytes: int

    @property
    def file_name(self) -> str:
        """What it is called when it is taken away."""
        return f"relabel-{self.path.name}"

    @property
    def for_browser(self) -> bool:
        """Whether it is small enough to be downloaded by the browser; else it is fetched from where it lies."""
        return self.n_bytes <= BROWSER_BYTES


def prepare_export(
    workspace: Workspace,
    *,
    layout: str,
    file_format: str = "jsonl",
    criterion: Criterion = Criterion.RELEVANCE,
) -> PreparedExport:
    """Writes the export into a folder of its own under `exports`, a directory as one zip.

    Raises:
        InputInvalid: as `exporting.export` does.
    """
    folder = _folder(workspace)
    folder.mkdir(exist_ok=True)
    clear_old(workspace)
    place = Path(tempfile.mkdtemp(prefix=f"{workspace.now():%Y%m%d-%H%M%S}-", dir=folder))
    try:
        report = export(workspace, layout=layout, target=place / layout, file_format=file_format, criterion=criterion)
        path = _one_file(Path(report.path), place=place, layout=layout)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return PreparedExport(path=path, n_rows=report.n_rows, n_bytes=path.stat().st_size)


def drop_export(workspace: Workspace, prepared: PreparedExport) -> None:
    """Removes a prepared export; one that is gone already is no error."""
    place = prepared.path.parent
    if place.parent == _folder(workspace):
        shutil.rmtree(place, ignore_errors=True)


def clear_old(workspace: Workspace) -> int:
    """Removes what was prepared more than a day ago; how many were."""
    folder, n = _folder(workspace), 0
    if not folder.is_dir():
        return 0
    for place in folder.iterdir():
        made = None
        with suppress(ValueError):
            made = datetime.strptime(place.name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=workspace.now().tzinfo)
        if made is not None and place.is_dir() and workspace.now() - made > KEPT:
            shutil.rmtree(place, ignore_errors=True)
            n += 1
    return n


def _folder(workspace: Workspace) -> Path:
    return workspace.settings.workspace / FOLDER


def _one_file(target: Path, *, place: Path, layout: str) -> Path:
    """The one file of an export, moved up, or a zip of the directory, which is then removed."""
    files = sorted(path for path in target.rglob("*") if path.is_file()) if target.is_dir() else [target]
    if len(files) == 1:
        path = place / files[0].name
        if files[0] != path:
            files[0].rename(path)
    else:
        path = place / f"{layout}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.relative_to(target).as_posix())
    if target.is_dir():
        shutil.rmtree(target)
    return path
