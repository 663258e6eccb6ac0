"""Records of a file, one at a time: JSON lines, CSV, TSV, Parquet, plain lines; plain or gzipped; never all in memory.

A line that cannot be read becomes a `Refused` and the reading goes on. CSV is quoted as in RFC 4180; TSV is not quoted
at all (a quotation mark in it is a character like any other).
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, NoReturn, cast

from app.errors import InputInvalid
from app.services.importing.rows import Line, Refused

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is refused instead of filling the memory."""
PARQUET_ROWS = 1000

Record = dict[str, object]
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}


def format_of(path: Path) -> str | None:
    """ "jsonl", "csv", "tsv" or "parquet" by the name's ending (a final .gz aside), else None."""
    name = path.name.removesuffix(".gz")
    return FORMATS.get(Path(name).suffix.lower())


def stem_of(path: Path) -> str:
    """The name without its ending and without .gz."""
    return Path(path.name.removesuffix(".gz")).stem


def read_lines(path: Path, file: str) -> Iterator[Line[str] | Refused]:
    """The lines of a text file in UTF-8, without their ends; blank ones are left out.

    Raises:
        InputInvalid: the file cannot be opened, or is no gzip file though its name says so.
    """
    number = 0
    try:
        with _open(path) as stream:
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES:
                    _skip_line(stream, raw)
                    yield Refused(file, number, f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB")
                    continue
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                try:
                    text = raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as exc:
                    yield Refused(file, number, f"not UTF-8: byte 0x{raw[exc.start]:02x} at position {exc.start + 1}")
                    continue
                if text.strip():
                    yield Line(file, number, text)
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        if number == 0:
            raise InputInvalid(f"{file} is no readable gzip file: {exc}") from exc
        yield Refused(file, number + 1, f"the compressed file is damaged from here on: {exc}")
    except OSError as exc:
        raise InputInvalid(f"{file} cannot be read: {exc.strerror or exc}") from exc


def read_records(path: Path, file: str) -> Generator[Line[Record] | Refused, None, None]:
    """The records of a JSONL, CSV, TSV or Parquet file; in CSV and TSV the first line names the columns.

    Raises:
        InputInvalid: the file cannot be read at all.
    """
    match format_of(path):
        case "jsonl":
            yield from _json_lines(path, file)
        case "csv":
            yield from _csv(path, file)
        case "tsv":
            yield from _tsv(path, file)
        case "parquet":
            yield from _parquet(path, file)
        case _:
            raise InputInvalid(f"{file} is none of JSONL, CSV, TSV and Parquet by its name ({', '.join(FORMATS)})")


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _skip_line(stream: IO[bytes], raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(MAX_LINE_BYTES)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _json_lines(path: Path, file: str) -> Iterator[Line[Record] | Refused]:
    for line in read_lines(path, file):
        if isinstance(line, Refused):
            yield line
            continue
        try:
            record = json.loads(line.value, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            yield Refused(file, line.line, f"invalid JSON: {exc}")
            continue
        if isinstance(record, dict):
            yield Line(file, line.line, record)
        else:
            yield Refused(file, line.line, "invalid JSON: a line must hold one object, {…}")


class _Feed:
    """Feeds decoded lines to the csv reader, keeps aside those that cannot be decoded, and knows where it stands."""

    def __init__(self, lines: Iterator[Line[str] | Refused]) -> None:
        self._lines = lines
        self.refused: list[Refused] = []
        self.first: int | None = None

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            if isinstance(line, Refused):
                self.refused.append(line)
                continue
            if self.first is None:
                self.first = line.line
            return line.value + "\n"
        raise StopIteration


def _csv(path: Path, file: str) -> Iterator[Line[Record] | Refused]:
    csv.field_size_limit(MAX_LINE_BYTES)
    feed = _Feed(_with_blank_lines(path, file))
    reader = csv.reader(feed, strict=True)
    columns: list[str] | None = None
    while True:
        feed.first = None
        try:
            values = next(reader, None)
        except csv.Error as exc:
            if columns is None:
                raise InputInvalid(f"{file}: its first line, which names the columns, is invalid CSV: {exc}") from exc
            yield from _drain(feed)
            yield Refused(file, feed.first or 0, f"invalid CSV: {exc}")
            continue
        if columns is None and feed.refused:
            raise InputInvalid(f"{file}: its first line, which names the columns, is {feed.refused[0].reason}")
        yield from _drain(feed)
        if values is None:
            return
        if not values or values == [""]:
            continue
        if columns is None:
            columns = [name.strip() for name in values]
        elif len(values) != len(columns):
            yield Refused(file, feed.first or 0, f"{len(values)} values for {len(columns)} columns")
        else:
            yield Line(file, feed.first or 0, dict(zip(columns, values, strict=True)))


def _drain(feed: _Feed) -> list[Refused]:
    refused, feed.refused = feed.refused, []
    return refused


def _with_blank_lines(path: Path, file: str) -> Iterator[Line[str] | Refused]:
    """The lines with the blank ones put back: inside a quoted CSV value they are part of the text."""
    expected = 1
    for line in read_lines(path, file):
        while expected < line.line:
            yield Line(file, expected, "")
            expected += 1
        yield line
        expected = line.line + 1


def _tsv(path: Path, file: str) -> Iterator[Line[Record] | Refused]:
    columns: list[str] | None = None
    for line in read_lines(path, file):
        if isinstance(line, Refused):
            if columns is None:
                raise InputInvalid(f"{file}: its first line, which names the columns, is {line.reason}")
            yield line
            continue
        values = line.value.split("\t")
        if columns is None:
            columns = [name.strip() for name in values]
        elif len(values) != len(columns):
            yield Refused(file, line.line, f"{len(values)} values for {len(columns)} columns")
        else:
            yield Line(file, line.line, dict(zip(columns, values, strict=True)))


def _parquet(path: Path, file: str) -> Iterator[Line[Record] | Refused]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as parquet:
            for batch in parquet.iter_batches(batch_size=PARQUET_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield Line(file, number, record)
    except (pa.ArrowException, OSError) as exc:
        if number == 0:
            raise InputInvalid(f"{file} is no readable Parquet file: {exc}") from exc
        yield Refused(file, number + 1, f"the Parquet file is damaged from here on: {exc}")
    except UnicodeDecodeError:
        yield Refused(file, number + 1, "not UTF-8; the rest of the Parquet file was not read")
