"""Imports a file or folder: finds out what it is, and sends its records to where they are written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import InputInvalid
from app.services.importing import fields, layouts
from app.services.importing.checks import MAX_GUESSED_GRADE
from app.services.importing.corpus_writing import write_passages, write_queries, write_splits
from app.services.importing.documents import read_documents
from app.services.importing.label_writing import (
    importer_of,
    settle_scale,
    write_candidates,
    write_judgements,
    write_suggestions,
)
from app.services.importing.reading import Record, format_of, read_lines, read_records, stem_of
from app.services.importing.rows import BadLine, Line, NewCandidate, NewJudgement, NewQuery, Refused
from app.services.importing.run import ImportRun, Progress, start
from app.services.near_duplicates import strictest
from app.services.views import ImportReport
from db.enums import Split
from db.queries import corpus

T = TypeVar("T")

_HUMAN = ("human", "adjudicated")


@dataclass(frozen=True, slots=True)
class _Request:
    """What the person asked for beside the path."""

    max_grade: int | None
    scale: Mapping[int, int] | None
    split: Split | None
    splits: Mapping[str, Split]
    person: str
    criterion: Criterion
    system: str | None


def import_path(
    workspace: Workspace,
    path: Path,
    *,
    layout: str = "auto",
    source: str | None = None,
    max_grade: int | None = None,
    scale: Mapping[int, int] | None = None,
    split: Split | None = None,
    splits: Mapping[str, Split] | None = None,
    judgements_as: str | None = None,
    criterion: Criterion = Criterion.RELEVANCE,
    system: str | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports what is at the path; good lines go in, bad ones are in the report.

    layout: one of `layouts.LAYOUTS`, or "auto". source: the name it is remembered under (default: that of the file or
    folder). max_grade, scale: the source's highest grade, and source grade -> workspace grade (default: `scales`).
    split: of all queries named; splits: judgement file's stem -> split. judgements_as: the person whose reviews the
    judgements become (default "import:<source>"). system: names a run's system in place of its tag.
    progress: called with what is read and how many so far.

    Raises:
        InputInvalid: the path, its layout or an argument cannot be used at all.
    """
    if layout == "auto":
        layout = layouts.detect(path)
    elif layout not in layouts.LAYOUTS:
        raise InputInvalid(f"there is no layout {layout!r}; choose auto or one of {', '.join(layouts.LAYOUTS)}")
    elif not path.exists():
        raise InputInvalid(f"{path} does not exist")
    if path.is_dir() != (layout in ("beir", "documents")) and not (layout == "documents" and path.is_file()):
        raise InputInvalid(f"{path} is a {'folder' if path.is_dir() else 'file'}, which {layout} is not")
    if split is not None and splits:
        raise InputInvalid("give split or splits, not both")
    name = source or path.absolute().name
    request = _Request(max_grade, scale, split, splits or {}, judgements_as or importer_of(name), criterion, system)
    if layout == "beir":
        files = layouts.beir_files(path, request.splits)
    else:
        files = None
        _look_at_columns(path, layout)
    with start(workspace, source=name, layout=layout, progress=progress) as run:
        if files is not None:
            _import_beir(run, path, files, request)
        else:
            _import_single(run, path, layout, request)
        if not any(run.counts[f"{what} read"] for what in _KINDS) and not run.n_problems:
            run.refuse(
                Refused(path.name, 1, "the file is empty" if path.is_file() else "there is nothing in the folder")
            )
        run.write_problems()
        return run.report()


_KINDS = ("passages", "queries", "judgements", "suggestions", "candidates")


def _look_at_columns(path: Path, layout: str) -> None:
    """Refuses a table that lacks a column before anything is written."""
    if layout in fields.NEEDS and format_of(path) in ("csv", "tsv", "parquet"):
        records = read_records(path, path.name)
        first = next((record for record in records if isinstance(record, Line)), None)
        records.close()
        if first is not None:
            fields.check_columns(list(first.value), layout, path.name)


def _import_single(run: ImportRun, path: Path, layout: str, request: _Request) -> None:
    file = path.name
    match layout:
        case "corpus":
            write_passages(run, _values(read_records(path, file), fields.passage_of))
        case "queries":
            write_queries(run, _with_splits(_values(read_records(path, file), fields.query_of), request.split, {}))
        case "query-lines":
            write_queries(run, _with_splits(_values(read_lines(path, file), _query_line), request.split, {}))
        case "documents":
            _import_documents(run, path)
        case "qrels" | "trec-qrels":
            _import_judgements(
                run, [path], [file], request, reader=_judgements if layout == "qrels" else _trec_judgements
            )
        case "run":
            _import_run(run, path, request)
        case "suggestions":
            _import_suggestions(run, path, file, request)


def _import_beir(run: ImportRun, path: Path, files: layouts.BeirFiles, request: _Request) -> None:
    if files.corpus is not None:
        name = files.corpus.name
        _check_table(files.corpus, "corpus", name)
        write_passages(run, _reported(run, name, _values(read_records(files.corpus, name), fields.passage_of)))
    if files.foreign:
        run.note(f"these are no part of a BEIR directory and were left alone: {', '.join(files.foreign)}")
    for file in files.ignored:
        run.note(f"{_name(path, file)} was left out; name it in splits to use it")
    names = [_name(path, file) for file in files.qrels]
    for file, name in zip(files.qrels, names, strict=True):
        _check_table(file, "qrels", name)
    exported = None if files.labels is None else _ExportedLabels(files.labels, path / layouts.EXPORT_MARK)
    if exported is not None:
        run.note(
            "this folder was exported by Relabel: judgements were read from labels.jsonl, and only those of people, "
            "not the grades that a judge proposed"
        )
        wanted: dict[str, Split] = {}
        found = None
    else:
        wanted, found = _survey(run, files.qrels, names, request, _judgements)
    if files.queries is not None:
        name = files.queries.name
        _check_table(files.queries, "queries", name)
        queries = _values(read_records(files.queries, name), fields.query_of)
        write_queries(run, _with_splits(_reported(run, name, queries), request.split, wanted))
    else:
        write_splits(run, wanted)
    if exported is not None:
        mapping = settle_scale(
            run, found=None, max_grade=request.max_grade or exported.max_grade, mapping=request.scale
        )
        write_judgements(
            run, exported.judgements(), person=request.person, criterion=request.criterion, mapping=mapping
        )
    elif files.qrels:
        mapping = settle_scale(run, found=found, max_grade=request.max_grade, mapping=request.scale)
        for file, name in zip(files.qrels, names, strict=True):
            write_judgements(
                run,
                _reported(run, name, _judgements(file, name)),
                person=request.person,
                criterion=request.criterion,
                mapping=mapping,
            )
    if files.suggestions is not None:
        _check_table(files.suggestions, "suggestions", files.suggestions.name)
        _import_suggestions(run, files.suggestions, files.suggestions.name, request)


def _name(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _check_table(path: Path, layout: str, file: str) -> None:
    if format_of(path) in ("csv", "tsv", "parquet"):
        records = read_records(path, file)
        first = next((record for record in records if isinstance(record, Line)), None)
        records.close()
        if first is not None:
            fields.check_columns(list(first.value), layout, file)


class _ExportedLabels:
    """The sidecar of a BEIR directory that Relabel exported, which tells people's grades from a judge's."""

    def __init__(self, labels: Path, mark: Path) -> None:
        self._labels = labels
        try:
            self.max_grade = int(json.loads(mark.read_text(encoding="utf-8"))["max_grade"])
        except (ValueError, KeyError, TypeError, OSError) as exc:
            raise InputInvalid(f"{mark.name} cannot be read: {exc}") from exc

    def judgements(self) -> Iterator[Line[NewJudgement] | Refused]:
        for line in read_records(self._labels, self._labels.name):
            if isinstance(line, Refused) or line.value.get("source") in _HUMAN:
                yield from _values([line], fields.judgement_of)


def _import_judgements(
    run: ImportRun,
    paths: list[Path],
    names: list[str],
    request: _Request,
    *,
    reader: Callable[[Path, str], Iterator[Line[NewJudgement] | Refused]],
) -> None:
    wanted, found = _survey(run, paths, names, request, reader)
    write_splits(run, wanted)
    mapping = settle_scale(run, found=found, max_grade=request.max_grade, mapping=request.scale)
    for path, name in zip(paths, names, strict=True):
        write_judgements(run, reader(path, name), person=request.person, criterion=request.criterion, mapping=mapping)


def _survey(
    run: ImportRun,
    paths: Iterable[Path],
    names: Iterable[str],
    request: _Request,
    reader: Callable[[Path, str], Iterator[Line[NewJudgement] | Refused]],
) -> tuple[dict[str, Split], int | None]:
    """A first pass over judgements: query id -> the strictest split that its files ask for, and the highest grade."""
    wanted: dict[str, Split] = {}
    found: int | None = None
    for path, name in zip(paths, names, strict=True):
        stem = stem_of(path)
        split = request.split or request.splits.get(stem) or layouts.split_of(stem)
        if split is None:
            run.note(
                f"{name} names no split (train, dev or test), so its queries got none; give one with splits or split"
            )
        for line in reader(path, name):
            if isinstance(line, Refused):
                continue
            grade = line.value.grade
            if isinstance(grade, int) and grade <= MAX_GUESSED_GRADE:
                found = grade if found is None else max(found, grade)
            if split is not None and wanted.get(line.value.query_id) is not split:
                asked = [split, wanted.get(line.value.query_id, split)]
                wanted[line.value.query_id] = strictest(asked) or split
    return wanted, found


def _import_run(run: ImportRun, path: Path, request: _Request) -> None:
    """A six-column run; ranks that count from 0 are moved to count from 1."""
    file = path.name
    lowest = min((line.value.rank for line in _trec_run(path, file, None, 0) if isinstance(line, Line)), default=1)
    if lowest == 0:
        run.note("the run's ranks count from 0; 1 was added to each")
    write_candidates(run, _trec_run(path, file, request.system, int(lowest == 0)))


def _import_suggestions(run: ImportRun, path: Path, file: str, request: _Request) -> None:
    write_suggestions(
        run,
        _reported(run, file, _values(read_records(path, file), fields.suggestion_of)),
        criterion=request.criterion,
        max_grade=request.max_grade,
        mapping=request.scale,
    )


def _import_documents(run: ImportRun, path: Path) -> None:
    write_passages(run, read_documents(path))
    with run.workspace.sessions.read() as session:
        there = corpus.count_passages(session, source_id=run.source_id)
    met = sum(run.counts[f"passages{how}"] for how in ("", " changed", " kept", " as they were"))
    if there > met:
        run.note(f"{there - met} passages of this source are no longer in its documents; they stay, with their labels")


def _judgements(path: Path, file: str) -> Iterator[Line[NewJudgement] | Refused]:
    return _values(read_records(path, file), fields.judgement_of)


def _trec_judgements(path: Path, file: str) -> Iterator[Line[NewJudgement] | Refused]:
    return _values(read_lines(path, file), _trec_judgement)


def _trec_judgement(line: str) -> NewJudgement:
    values = line.split()
    if len(values) != 4:
        raise BadLine(f"{len(values)} columns; TREC judgements have 4: query, 0, passage, grade")
    if values[1].upper() not in ("0", "Q0"):
        raise BadLine(f"the second column is {values[1]!r}; TREC judgements have 0 or Q0 there")
    return fields.judgement_of({"query_id": values[0], "corpus_id": values[2], "score": values[3]})


def _trec_run(path: Path, file: str, system: str | None, shift: int) -> Iterator[Line[NewCandidate] | Refused]:
    def candidate(line: str) -> NewCandidate:
        values = line.split()
        if len(values) != 6:
            raise BadLine(f"{len(values)} columns; a run has 6: query, Q0, passage, rank, score, tag")
        if not re.fullmatch("[0-9]{1,9}", values[3]):
            raise BadLine(f"the rank is {values[3]!r}; it must be a whole number")
        try:
            score = float(values[4])
        except ValueError:
            raise BadLine(f"the score is {values[4]!r}; it must be a number") from None
        return NewCandidate(values[0], values[2], system or values[5], int(values[3]) + shift, score)

    return _values(read_lines(path, file), candidate)


def _query_line(line: str) -> NewQuery:
    """A query whose id is made of its text, so that it stays when lines move."""
    text = " ".join(line.split())
    return NewQuery(f"q-{hashlib.sha256(text.encode()).hexdigest()[:16]}", text)


def _with_splits(
    lines: Iterable[Line[NewQuery] | Refused], split: Split | None, wanted: Mapping[str, Split]
) -> Iterator[Line[NewQuery] | Refused]:
    for line in lines:
        if isinstance(line, Refused):
            yield line
            continue
        query = line.value
        asked = split or wanted.get(query.external_id) or query.split
        yield Line(line.file, line.line, NewQuery(query.external_id, query.text, asked, query.definition))


S = TypeVar("S", str, Record)


def _values(lines: Iterable[Line[S] | Refused], convert: Callable[[S], T]) -> Iterator[Line[T] | Refused]:
    """The value of each line; a line that cannot be converted is refused with the reason."""
    for line in lines:
        if isinstance(line, Refused):
            yield line
            continue
        try:
            yield Line(line.file, line.line, convert(line.value))
        except BadLine as exc:
            yield Refused(line.file, line.line, str(exc))


def _reported(run: ImportRun, file: str, lines: Iterable[Line[T] | Refused]) -> Iterator[Line[T] | Refused]:
    """The same lines; an empty file is listed instead of passing for one that was read."""
    n = 0
    for line in lines:
        n += 1
        yield line
    if n == 0:
        yield Refused(file, 1, "the file is empty")
