"""One import: its source, what it added, what it refused, and the report at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from app.bootstrap import Workspace
from app.errors import InputInvalid
from app.services.importing.rows import Line, Refused
from app.services.importing.seen import SeenKeys
from app.services.views import ImportReport, LineProblem
from db.queries import sources

T = TypeVar("T")

BATCH = 2000
"""Rows written in one transaction: short enough that reviewers do not wait for the write lock."""
REPORTED_PROBLEMS = 1000
MAX_SOURCE_NAME = 500

Progress = Callable[[str, int], None]


class ImportRun:
    """What one import has done so far; made by `start`, which also ends it."""

    def __init__(
        self, workspace: Workspace, *, source_id: int, source: str, seen: SeenKeys, progress: Progress | None
    ) -> None:
        self.workspace = workspace
        self.source_id = source_id
        self.source = source
        self.seen = seen
        self.now: datetime = workspace.now()
        self.counts: Counter[str] = Counter()
        self.judge_scales: dict[int, dict[int, int]] = {}
        self._progress = progress
        self._problems: list[LineProblem] = []
        self._unwritten: list[sources.RejectionRow] = []
        self.n_problems = 0
        self._notes: dict[str, None] = {}

    def refuse(self, refused: Refused) -> None:
        """Lists a line that was not imported."""
        self.n_problems += 1
        if len(self._problems) < REPORTED_PROBLEMS:
            self._problems.append(LineProblem(refused.file, refused.line, refused.reason))
        reason = refused.reason.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
        self._unwritten.append(sources.RejectionRow(refused.file, refused.line, reason))
        if len(self._unwritten) >= BATCH:
            self.write_problems()

    def refuse_id(self, what: str, external_id: str) -> None:
        """Remembers that in this import the id means another text than in the workspace."""
        self.seen.meet(what, external_id, content="")
        self.counts["ids refused"] += 1

    def write_problems(self) -> None:
        """Stores the refused lines met since the last time."""
        if self._unwritten:
            with self.workspace.sessions.begin() as session:
                sources.add_rejections(session, self._unwritten, source_id=self.source_id, now=self.now)
            self._unwritten = []

    def note(self, text: str) -> None:
        """Adds a sentence to the report, once."""
        self._notes[text] = None

    def advance(self, what: str, n: int) -> None:
        """Tells whoever watches that n more lines of that kind are done."""
        self.counts[f"{what} read"] += n
        if self._progress is not None:
            self._progress(what, self.counts[f"{what} read"])

    def batches(self, lines: Iterable[Line[T] | Refused]) -> Iterator[list[Line[T]]]:
        """The good lines, some at a time; the others are listed as refused."""
        batch: list[Line[T]] = []
        for line in lines:
            if isinstance(line, Refused):
                self.refuse(line)
                continue
            batch.append(line)
            if len(batch) >= BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def report(self) -> ImportReport:
        if self.counts["nul"]:
            self.note(f"{self.counts['nul']} NUL characters were removed from texts")
        for what, n in (("passages", self.counts["passages changed"]), ("queries", self.counts["queries changed"])):
            if n:
                self.note(f"{n} {what} were there with another text, which was replaced")
        if self.counts["judgements changed"]:
            self.note(
                f"{self.counts['judgements changed']} judgements changed in the source; the earlier ones are kept"
            )
        if self.counts["suggestions changed"]:
            self.note(
                f"{self.counts['suggestions changed']} suggestions changed in the source; the earlier ones are kept"
            )
        return ImportReport(
            source=self.source,
            passages=self.counts["passages"],
            queries=self.counts["queries"],
            judgements=self.counts["judgements"] + self.counts["judgements changed"],
            suggestions=self.counts["suggestions"] + self.counts["suggestions changed"],
            candidates=self.counts["candidates"],
            unchanged=self.counts["unchanged"],
            problems=tuple(self._problems),
            n_problems=self.n_problems,
            notes=tuple(self._notes),
        )


@contextmanager
def start(workspace: Workspace, *, source: str, layout: str, progress: Progress | None = None) -> Iterator[ImportRun]:
    """A run into the source of that name; lines it refused earlier are forgotten, those of this run are stored.

    Raises:
        InputInvalid: the name cannot be a source's.
    """
    if not source.strip() or len(source) > MAX_SOURCE_NAME or not source.isprintable():
        raise InputInvalid(f"{source!r} cannot name a source; it needs 1 to {MAX_SOURCE_NAME} printable characters")
    with workspace.sessions.begin() as session:
        source_id = sources.ensure_source(session, source, layout=layout, now=workspace.now()).id
        sources.clear_rejections(session, source_id=source_id)
    with SeenKeys() as seen:
        run = ImportRun(workspace, source_id=source_id, source=source, seen=seen, progress=progress)
        try:
            yield run
        finally:
            run.write_problems()
