"""What the command line shows: progress bars, tables, JSON, and errors as one sentence with an exit code."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

# A file or a pipe has no width of its own; a table folded to 80 columns there cannot be read or parsed.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line for the person, on standard error, so that standard output stays for data."""
    err.print(harmless(text), markup=False)


def tell(text: str) -> None:
    """One line of the answer, on standard output, never read as markup."""
    out.print(harmless(text), markup=False)


def harmless(text: str) -> str:
    """The text without control characters: a passage or a reply must not steer the terminal it is printed on."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf"))


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; call what it yields with (done, total)."""
    with Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=False,
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=max(total, 1))
        total = progress.tasks[0].total
        progress.update(task, completed=1 if total is None else total, total=1 if total is None else total)


def plain(value: Any) -> Any:
    """A service's value as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def print_json(value: Any) -> None:
    """The value as one line of JSON on standard output."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False) + "\n")


def give(value: T, *, as_json: bool, show: Callable[[T], None]) -> None:
    """The value as one line of JSON, or as `show` prints it for people."""
    if as_json:
        print_json(value)
    else:
        show(value)


def print_table(columns: list[str], rows: list[list[str]], *, title: str | None = None) -> None:
    """A table on standard output; cells are never read as markup."""
    heading = None if title is None else Text(harmless(title))
    table = Table(title=heading, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(Text(column))
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    out.print(table)


@contextmanager
def reported() -> Iterator[None]:
    """Turns our errors into one sentence and their exit code; anything else is a defect and says where to look.

    What the system refuses (a folder that may not be written, a full disk) is no defect of ours.
    """
    try:
        yield
    except KeyboardInterrupt:
        say("Stopped. Nothing that was done is lost; run the same command again to go on.")
        raise typer.Exit(130) from None
    except Exception as exc:
        user_message = getattr(exc, "user_message", None)
        if user_message is None:
            if os.environ.get("RELABEL_DEBUG"):
                raise
            if isinstance(exc, OSError) and exc.strerror and exc.filename is not None:
                say(f"Error: {exc.filename}: {exc.strerror}")
                raise typer.Exit(1) from exc
            logging.getLogger("relabel").debug("unexpected", exc_info=True)
            say(f"Error: something unexpected: {type(exc).__name__}: {exc}. Set RELABEL_DEBUG=1 to see where.")
            raise typer.Exit(70) from exc
        say(f"Error: {user_message}")
        raise typer.Exit(getattr(exc, "exit_code", 1)) from exc
