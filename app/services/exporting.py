"""Writes labels to files for other tools; each label names its source, judge and decision.

Everything streams, and appears under its name only when it is complete. BEIR and TREC files have no place for the
source of a grade, so `labels.jsonl` beside them has it. What judges proposed stays out of the judgements of held-out
and calibrate queries whatever is asked for: those measure, so they are people's alone.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from sqlalchemy.orm import Session

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid
from app.services.views import ExportReport
from db.enums import LabelSource, Split
from db.queries import exports
from db.queries.exports import ExportedLabel
from db.queries.histories import PairEvent, stream_events
from retriever.types import Passage

DIRECTORIES = ("beir", "trec")
FILES = ("labels", "triplets", "lists", "history")
NEGATIVES = 8
"""Triplets a positive is in at most; its negatives are taken in turn, so that all of a query's are used."""
MARK = "export.json"
"""The file that says a directory was written here, and so may be overwritten."""
PARQUET_ROWS = 1000
"""Rows that are written to a Parquet file at once where they hold texts, of lists up to a hundred passages each."""
PARQUET_SMALL_ROWS = 10_000
"""The same where they hold none: what a file keeps about each such part stays in memory until it is closed."""

_HUMAN = (LabelSource.HUMAN, LabelSource.ADJUDICATED)
_STEMS = {Split.TRAIN: "train", Split.CALIBRATE: "dev", Split.HELD_OUT: "test", None: "unsplit"}

Row = dict[str, Any]


def export(
    workspace: Workspace,
    *,
    layout: str,
    target: Path,
    file_format: str = "jsonl",
    criterion: Criterion = Criterion.RELEVANCE,
    overwrite: bool = False,
    include_proposed: bool = False,
) -> ExportReport:
    """Writes the curated labels, and with `include_proposed` also what was proposed and not decided.

    - `beir`: a directory with corpus.jsonl, queries.jsonl, qrels/train.tsv, dev.tsv (calibrate), test.tsv (held-out),
      unsplit.tsv, and labels.jsonl. Importing it gives the same queries, splits and human judgements.
    - `trec`: a directory with train.qrels and so on, and labels.jsonl.
    - `labels`: one row a label of every split, with everything about it.
    - `triplets`: query, positive, negative, then ids, grades, sources, judges and decisions; train queries only.
      Positives are relevant, negatives have grade 0; what is between is neither.
    - `lists`: query, docs, labels (grades, highest first), then the same columns; train queries only.
    - `history`: one row for everything that happened to a pair, oldest first: who did what, when, blind or not, what a
      judge said, which models it trained; see `db.queries.histories.PairEvent`.

    The last four are one file: `target` if that ends in .jsonl or .parquet, else a file named after the layout in the
    directory `target`. sentence-transformers takes the first three columns of the last two as they are.

    Raises:
        InputInvalid: there is no such layout or format, or an id does not fit into the layout.
        Conflict: the target is there and `overwrite` is not set, or is not an earlier export.
    """
    if layout not in (*DIRECTORIES, *FILES):
        raise InputInvalid(f"there is no layout {layout!r}; choose one of {', '.join((*DIRECTORIES, *FILES))}")
    if file_format not in ("jsonl", "parquet"):
        raise InputInvalid(f"there is no format {file_format!r}; choose jsonl or parquet")
    if layout in DIRECTORIES and file_format != "jsonl":
        raise InputInvalid(f"{layout} files are text; Parquet is for {', '.join(FILES)}")
    with workspace.sessions.read() as session:
        exports.freeze_snapshot(session)
        writer = _Writer(session, workspace, criterion, include_proposed)
        if layout in DIRECTORIES:
            return _write_directory(writer, layout, target, overwrite=overwrite)
        return _write_file(writer, layout, target, file_format, overwrite=overwrite)


class _Writer:
    """One export: the session it reads from, and what was asked for."""

    def __init__(self, session: Session, workspace: Workspace, criterion: Criterion, include_proposed: bool) -> None:
        self.session = session
        self.scale = workspace.scale
        self.criterion = criterion
        self.include_proposed = include_proposed

    def labels(self, *, split: Split | None = None, with_texts: bool = False) -> Iterator[ExportedLabel]:
        return exports.stream_labels(
            self.session,
            criterion=self.criterion,
            include_proposed=self.include_proposed,
            split=split,
            with_texts=with_texts,
        )

    def rows(self, layout: str) -> Iterator[Row]:
        match layout:
            case "triplets":
                return self._triplets()
            case "lists":
                return self._lists()
            case "history":
                return (_event_row(event) for event in stream_events(self.session, criterion=self.criterion))
            case _:
                return (_label_row(label) for label in self.labels())

    def directory(self, layout: str, folder: Path) -> int:
        """Writes a BEIR or TREC directory; how many labels are in its sidecar."""
        if layout == "beir":
            passages = exports.stream_passages(self.session)
            _write_json_lines(folder / "corpus.jsonl", ({"_id": i, "title": t, "text": x} for i, t, x in passages))
            queries = exports.stream_queries(self.session)
            _write_json_lines(folder / "queries.jsonl", (_query_row(*query) for query in queries))
            (folder / "qrels").mkdir()
        n = 0
        with ExitStack() as stack:
            sidecar = stack.enter_context(_create(folder / "labels.jsonl"))
            open_files: dict[Split | None, IO[str]] = {}
            for label in self.labels():
                n += 1
                sidecar.write(_json(_label_row(label)))
                if label.split in (Split.HELD_OUT, Split.CALIBRATE) and label.source not in _HUMAN:
                    continue
                if label.split not in open_files:
                    open_files[label.split] = stack.enter_context(_create(_qrels_path(folder, layout, label.split)))
                    if layout == "beir":
                        open_files[label.split].write("query-id\tcorpus-id\tscore\n")
                open_files[label.split].write(_qrel(layout, label))
        mark = {"layout": layout, "criterion": str(self.criterion), "max_grade": self.scale.max_grade, "labels": n}
        (folder / MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")
        return n

    def _triplets(self) -> Iterator[Row]:
        for labels in self._by_query():
            positives = [label for label in labels if label.grade >= self.scale.relevant_from]
            negatives = [label for label in labels if label.grade == 0]
            for turn, positive in enumerate(positives):
                for step in range(min(NEGATIVES, len(negatives))):
                    yield _triplet(positive, negatives[(turn * NEGATIVES + step) % len(negatives)])

    def _lists(self) -> Iterator[Row]:
        for labels in self._by_query():
            labels.sort(key=lambda label: -label.grade)
            yield {
                "query": labels[0].query,
                "docs": [_full_text(label) for label in labels],
                "labels": [float(label.grade) for label in labels],
                "query_id": labels[0].query_id,
                "doc_ids": [label.passage_id for label in labels],
                "sources": [str(label.source) for label in labels],
                "persons": [label.person for label in labels],
                "judges": [label.judge for label in labels],
                "decisions": [_word(label.decision) for label in labels],
            }

    def _by_query(self) -> Iterator[list[ExportedLabel]]:
        labels = self.labels(split=Split.TRAIN, with_texts=True)
        for _, group in groupby(labels, key=lambda label: label.query_id):
            yield list(group)


def _label_row(label: ExportedLabel) -> Row:
    return {
        "query_id": label.query_id,
        "corpus_id": label.passage_id,
        "grade": label.grade,
        "source": str(label.source),
        "split": _word(label.split),
        "person": label.person,
        "original_grade": label.original_grade,
        "visibility": _word(label.visibility),
        "judge": label.judge,
        "prompt_version": label.prompt_version,
        "judge_grade": label.judge_grade,
        "confidence": label.confidence,
        "confidence_kind": _word(label.confidence_kind),
        "decision": _word(label.decision),
        "policy": label.policy,
        "why": label.why,
    }


def _event_row(event: PairEvent) -> Row:
    return {
        "query_id": event.query_id,
        "corpus_id": event.passage_id,
        "split": _word(event.split),
        "at": event.at.isoformat(),
        "actor": event.actor,
        "who": event.who,
        "did": event.did,
        "grade": event.grade,
        "confidence": event.confidence,
        "confidence_kind": _word(event.confidence_kind),
        "visibility": _word(event.visibility),
        "seconds": event.seconds,
        "hidden_check": event.hidden_check,
        "note": event.note,
    }


def _triplet(positive: ExportedLabel, negative: ExportedLabel) -> Row:
    row: Row = {"query": positive.query, "positive": _full_text(positive), "negative": _full_text(negative)}
    row["query_id"] = positive.query_id
    for side, label in (("positive", positive), ("negative", negative)):
        row |= {
            f"{side}_id": label.passage_id,
            f"{side}_grade": label.grade,
            f"{side}_source": str(label.source),
            f"{side}_person": label.person,
            f"{side}_judge": label.judge,
            f"{side}_decision": _word(label.decision),
        }
    return row


def _query_row(external_id: str, text: str, definition: str | None, split: Split | None) -> Row:
    row = {"_id": external_id, "text": text, "definition": definition, "split": _word(split)}
    return {name: value for name, value in row.items() if value is not None}


def _full_text(label: ExportedLabel) -> str:
    return Passage(label.passage_id, label.title, label.text).full_text


def _word(value: object) -> str | None:
    return None if value is None else str(value)


def _qrels_path(folder: Path, layout: str, split: Split | None) -> Path:
    return folder / "qrels" / f"{_STEMS[split]}.tsv" if layout == "beir" else folder / f"{_STEMS[split]}.qrels"


def _qrel(layout: str, label: ExportedLabel) -> str:
    if layout == "beir":
        return f"{label.query_id}\t{label.passage_id}\t{label.grade}\n"
    for external_id in (label.query_id, label.passage_id):
        if len(external_id.split()) != 1 or external_id != external_id.strip():
            raise InputInvalid(f"the id {external_id!r} holds a space, which TREC files cannot carry; export as beir")
    return f"{label.query_id} 0 {label.passage_id} {label.grade}\n"


def _write_directory(writer: _Writer, layout: str, target: Path, *, overwrite: bool) -> ExportReport:
    if target.exists() or target.is_symlink():
        empty = target.is_dir() and not any(target.iterdir())
        if not empty and not overwrite:
            raise Conflict(f"{target} is there already; name another place, or say that it may be overwritten")
        if not empty and not (target.is_dir() and not target.is_symlink() and (target / MARK).is_file()):
            raise Conflict(f"{target} is not an earlier export (it has no {MARK}), so it is not overwritten")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as holder:
        new = Path(holder, "new")
        new.mkdir()
        n = writer.directory(layout, new)
        if target.exists():
            target.rename(Path(holder, "old"))
        new.rename(target)
    files = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    return ExportReport(path=str(target), n_rows=n, files=tuple(files))


def _write_file(writer: _Writer, layout: str, target: Path, file_format: str, *, overwrite: bool) -> ExportReport:
    if target.suffix in (".jsonl", ".parquet") and not target.is_dir():
        if target.suffix != f".{file_format}":
            raise InputInvalid(f"{target.name} does not end in .{file_format}, the format asked for")
        file = target
    else:
        file = target / f"{layout}.{file_format}"
    if file.is_dir() or (file.exists() and not overwrite):
        raise Conflict(f"{file} is there already; name another place, or say that it may be overwritten")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise Conflict(f"{file.parent} is a file, so nothing can be written into it") from exc
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        rows = writer.rows(layout)
        n = _write_parquet(temporary, rows, layout) if file_format == "parquet" else _write_json_lines(temporary, rows)
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return ExportReport(path=str(target if target.is_dir() else file), n_rows=n, files=(file.name,))


def _create(path: Path) -> IO[str]:
    return path.open("w", encoding="utf-8", newline="\n")


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _write_json_lines(path: Path, rows: Iterable[Row]) -> int:
    n = 0
    with _create(path) as stream:
        for n, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the count
            stream.write(_json(row))
    return n


def _write_parquet(path: Path, rows: Iterable[Row], layout: str) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 0
    schema, at_once = _schema(layout), PARQUET_SMALL_ROWS if layout in ("labels", "history") else PARQUET_ROWS
    with pq.ParquetWriter(path, schema) as writer:
        batch: list[Row] = []
        for n, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the count
            batch.append(row)
            if len(batch) == at_once:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return n


def _schema(layout: str) -> Any:
    """The columns of a Parquet file, fixed so that an empty export has them too."""
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    match layout:
        case "labels":
            numbers = {"grade": whole, "judge_grade": whole, "confidence": real}
            names = [
                *("query_id", "corpus_id", "grade", "source", "split", "person", "original_grade", "visibility"),
                *("judge", "prompt_version", "judge_grade", "confidence", "confidence_kind"),
                *("decision", "policy", "why"),
            ]
            return pa.schema([(name, numbers.get(name, text)) for name in names])
        case "history":
            kinds = {"grade": real, "confidence": real, "seconds": real, "hidden_check": pa.bool_()}
            names = [
                *("query_id", "corpus_id", "split", "at", "actor", "who", "did", "grade", "confidence"),
                *("confidence_kind", "visibility", "seconds", "hidden_check", "note"),
            ]
            return pa.schema([(name, kinds.get(name, text)) for name in names])
        case "triplets":
            sides = [
                (f"{side}_{name}", whole if name == "grade" else text)
                for side in ("positive", "negative")
                for name in ("id", "grade", "source", "person", "judge", "decision")
            ]
            return pa.schema([(name, text) for name in ("query", "positive", "negative", "query_id")] + sides)
        case _:
            texts = [(name, pa.list_(text)) for name in ("doc_ids", "sources", "persons", "judges", "decisions")]
            first = [("query", text), ("docs", pa.list_(text)), ("labels", pa.list_(real)), ("query_id", text)]
            return pa.schema(first + texts)
