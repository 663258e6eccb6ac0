"""Rows that a program hands over, such as the demo's; the same rules as for files, line n is the n-th row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.importing.corpus_writing import write_passages, write_queries
from app.services.importing.label_writing import (
    importer_of,
    settle_scale,
    write_candidates,
    write_judgements,
    write_suggestions,
)
from app.services.importing.rows import Line, NewCandidate, NewJudgement, NewPassage, NewQuery, NewSuggestion
from app.services.importing.run import Progress, start
from app.services.views import ImportReport

T = TypeVar("T")


def import_passages(
    workspace: Workspace,
    passages: Iterable[tuple[str, str, str]],
    *,
    source_name: str,
    layout: str = "rows",
    progress: Progress | None = None,
) -> ImportReport:
    """Adds passages (external id, title, text)."""
    with start(workspace, source=source_name, layout=layout, progress=progress) as run:
        write_passages(run, _numbered((NewPassage(*passage) for passage in passages), source_name))
        run.write_problems()
        return run.report()


def import_queries(
    workspace: Workspace,
    rows: Iterable[NewQuery],
    *,
    source_name: str,
    layout: str = "rows",
    progress: Progress | None = None,
) -> ImportReport:
    """Adds queries with their splits and definitions; near-duplicates share the strictest split that any asks for."""
    with start(workspace, source=source_name, layout=layout, progress=progress) as run:
        write_queries(run, _numbered(rows, source_name))
        run.write_problems()
        return run.report()


def import_judgements(
    workspace: Workspace,
    rows: Iterable[NewJudgement],
    *,
    source_name: str,
    person: str | None = None,
    max_grade: int,
    scale: Mapping[int, int] | None = None,
    criterion: Criterion = Criterion.RELEVANCE,
    layout: str = "rows",
    progress: Progress | None = None,
) -> ImportReport:
    """Adds people's judgements on a scale 0..max_grade, as blind reviews of `person` (default "import:<source>")."""
    with start(workspace, source=source_name, layout=layout, progress=progress) as run:
        mapping = settle_scale(run, found=None, max_grade=max_grade, mapping=scale)
        name = person or importer_of(source_name)
        write_judgements(run, _numbered(rows, source_name), person=name, criterion=criterion, mapping=mapping)
        run.write_problems()
        return run.report()


def import_candidates(
    workspace: Workspace,
    rows: Iterable[NewCandidate],
    *,
    source_name: str,
    layout: str = "rows",
    progress: Progress | None = None,
) -> ImportReport:
    """Adds pairs that systems elsewhere retrieved."""
    with start(workspace, source=source_name, layout=layout, progress=progress) as run:
        write_candidates(run, _numbered(rows, source_name))
        run.write_problems()
        return run.report()


def import_suggestions(
    workspace: Workspace,
    rows: Iterable[NewSuggestion],
    *,
    source_name: str,
    max_grade: int | None = None,
    scale: Mapping[int, int] | None = None,
    criterion: Criterion = Criterion.RELEVANCE,
    layout: str = "rows",
    progress: Progress | None = None,
) -> ImportReport:
    """Adds what judges elsewhere said; `max_grade` holds for rows that do not say theirs."""
    with start(workspace, source=source_name, layout=layout, progress=progress) as run:
        write_suggestions(run, _numbered(rows, source_name), criterion=criterion, max_grade=max_grade, mapping=scale)
        run.write_problems()
        return run.report()


def _numbered(rows: Iterable[T], source: str) -> Iterator[Line[T]]:
    for number, row in enumerate(rows, start=1):
        yield Line(source, number, row)
