"""Reads a document or a folder of them as passages: one file in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.errors import InputInvalid
from app.services.importing import chunking
from app.services.importing.layouts import DOCUMENT_ENDINGS, find_documents
from app.services.importing.rows import Line, NewPassage, Refused

MAX_BYTES = 16 * 1024 * 1024
"""A longer document is refused instead of filling the memory."""


def read_documents(path: Path) -> Iterator[Line[NewPassage] | Refused]:
    """The passages of the documents at the path; ids begin with the path below the folder (`guide/setup.md#…`).

    The line of a passage is its number in the document.

    Raises:
        InputInvalid: a single file is of no known kind.
    """
    if path.is_file():
        if path.suffix.lower() not in DOCUMENT_ENDINGS:
            raise InputInvalid(f"{path.name} is no document that can be cut ({', '.join(DOCUMENT_ENDINGS)})")
        yield from _read(path, path.name)
        return
    for file in find_documents(path):
        yield from _read(file, file.relative_to(path).as_posix())


def _read(path: Path, name: str) -> Iterator[Line[NewPassage] | Refused]:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        yield Refused(name, 1, f"the file cannot be read: {exc.strerror or exc}")
        return
    if len(raw) > MAX_BYTES:
        yield Refused(name, 1, f"the document is longer than {MAX_BYTES // 2**20} MiB")
        return
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as exc:
        yield Refused(name, raw.count(b"\n", 0, exc.start) + 1, f"not UTF-8: byte 0x{raw[exc.start]:02x}")
        return
    try:
        chunks = _chunk(path, text)
    except RecursionError:
        yield Refused(name, 1, "the document is nested too deeply")
        return
    if not chunks:
        yield Refused(name, 1, "the document has no text")
    for number, chunk in enumerate(chunks, start=1):
        yield Line(name, number, NewPassage(f"{name}#{chunk.anchor}", chunk.title, chunk.text))


def _chunk(path: Path, text: str) -> list[chunking.Chunk]:
    match path.suffix.lower():
        case ".html" | ".htm":
            return chunking.chunk_html(text, name=path.stem)
        case ".md" | ".markdown":
            return chunking.chunk_markdown(text, name=path.stem)
        case _:
            return chunking.chunk_text(text, name=path.stem)
