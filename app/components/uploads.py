"""Uploaded files written under their own names into a directory of ours."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from streamlit.runtime.uploaded_file_manager import UploadedFile

from app.errors import InputInvalid


def safe_name(name: str) -> str:
    """The last part of an uploaded file's name, fit to be written into an empty directory."""
    last = PureWindowsPath(PurePosixPath(name).name).name.replace("\0", "")
    return last if last not in ("", ".", "..") else "upload"


def write_uploads(files: Sequence[UploadedFile], directory: Path) -> Path:
    """Write the files under their own names; returns the file when there is one, else the directory.

    Files that belong together as a BEIR directory are laid out as one: beside its corpus, a TSV file holds judgements,
    which lie one level down.

    Raises:
        InputInvalid: two files have the same name, and one would take the other's place.
    """
    names = Counter(safe_name(file.name) for file in files)
    twice = sorted(name for name, times in names.items() if times > 1)
    if twice:
        raise InputInvalid(f"more than one file is called {twice[0]}; import them one after the other")
    is_beir = "corpus.jsonl" in names
    written: list[Path] = []
    for file in files:
        name = safe_name(file.name)
        target = directory / "qrels" / name if is_beir and name.endswith(".tsv") else directory / name
        target.parent.mkdir(exist_ok=True)
        with target.open("wb") as sink:
            shutil.copyfileobj(file, sink)
        written.append(target)
    return written[0] if len(written) == 1 else directory
