"""Which layout a path has: told by its names, its columns and its first lines, and refused where that is not clear."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from app.errors import InputInvalid
from app.services.importing.fields import has_columns
from app.services.importing.reading import FORMATS, format_of, read_lines, read_records, stem_of
from app.services.importing.rows import Line
from db.enums import Split

LAYOUTS = (
    "beir",
    "corpus",
    "queries",
    "qrels",
    "suggestions",
    "trec-qrels",
    "run",
    "query-lines",
    "documents",
)
"""Every layout `import_path` knows, besides "auto"."""

DOCUMENT_ENDINGS = (".md", ".markdown", ".txt", ".html", ".htm")
EXPORT_MARK = "export.json"
"""What a directory exported by Relabel holds beside the BEIR files."""

_SPLITS = {"train": Split.TRAIN, "dev": Split.CALIBRATE, "test": Split.HELD_OUT}
_NAMES = (
    ("suggestions", re.compile("suggestion")),
    ("qrels", re.compile("qrel|judg[e]?ment")),
    ("queries", re.compile("quer(y|ies)|question|topic")),
    ("corpus", re.compile("corpus|passage|collection|document")),
)
_TREC_QREL = re.compile(r"\S+[ \t]+[Qq]?0[ \t]+\S+[ \t]+-?\d+\s*")
_TREC_RUN = re.compile(r"\S+[ \t]+[Qq]?0[ \t]+\S+[ \t]+\d+[ \t]+\S+[ \t]+\S+\s*")


@dataclass(frozen=True, slots=True)
class BeirFiles:
    """The files of a BEIR directory; `labels` is the sidecar of one that Relabel exported.

    ignored: judgement files left out. foreign: names of files that are no part of the layout.
    """

    corpus: Path | None
    queries: Path | None
    qrels: tuple[Path, ...]
    suggestions: Path | None
    labels: Path | None
    ignored: tuple[Path, ...]
    foreign: tuple[str, ...]


def detect(path: Path) -> str:
    """The layout of that file or directory.

    Raises:
        InputInvalid: nothing fits, or more than one layout does; the message says what was looked for.
    """
    if path.is_dir():
        if _tables(path, "corpus") or _tables(path, "queries") or (path / "qrels").is_dir():
            return "beir"
        if next(find_documents(path), None) is not None:
            return "documents"
        raise InputInvalid(
            f"{path} is of no known layout. Looked for a BEIR directory (corpus or queries as "
            f"{', '.join(FORMATS)}, a folder qrels) and for documents ({', '.join(DOCUMENT_ENDINGS)}); found neither"
        )
    if not path.is_file():
        raise InputInvalid(f"{path} does not exist")
    return _detect_table(path) if format_of(path) else _detect_text(path)


def beir_files(path: Path, splits: Iterable[str]) -> BeirFiles:
    """What a BEIR directory holds. `splits` are the stems of judgement files that were asked for by name.

    A `*_disjoint` file is a stricter cut of the file without that ending: it is left out unless asked for, and where
    it is, the other one is left out unless that is asked for too.

    Raises:
        InputInvalid: a file is there twice (plain and gzipped), or one that was asked for is not there.
    """
    asked = set(splits)
    files = sorted(file for file in (path / "qrels").glob("*") if format_of(file)) + _tables(path, "qrels")
    stems = [stem_of(file) for file in files]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise InputInvalid(f"{path / 'qrels'} holds more than one file for {', '.join(sorted(twice))}; keep one")
    if missing := asked - set(stems):
        raise InputInvalid(
            f"{path / 'qrels'} holds no file named {', '.join(sorted(missing))}; it has {', '.join(stems) or 'none'}"
        )
    replaced = {stem.removesuffix("_disjoint") for stem in asked if stem.endswith("_disjoint")}
    ignored = [
        file
        for file in files
        if (stem := stem_of(file)) not in asked and (stem.endswith("_disjoint") or stem in replaced)
    ]
    labels = path / "labels.jsonl"
    corpus, queries, suggestions = (_only(path, stem) for stem in ("corpus", "queries", "suggestions"))
    own = {*files, corpus, queries, suggestions}
    return BeirFiles(
        corpus=corpus,
        queries=queries,
        qrels=tuple(file for file in files if file not in ignored),
        suggestions=suggestions,
        labels=labels if labels.is_file() and (path / EXPORT_MARK).is_file() else None,
        ignored=tuple(ignored),
        foreign=tuple(
            sorted(file.name for file in path.iterdir() if file.is_file() and file not in own and _is_data(file))
        ),
    )


def split_of(stem: str) -> Split | None:
    """The split that a judgement file's name means: train, dev (calibrate) or test (held-out); None for other names."""
    return _SPLITS.get(stem.removesuffix("_disjoint"))


def find_documents(path: Path) -> Iterator[Path]:
    """The Markdown, text and HTML files below a folder in a fixed order; hidden ones and links are passed over."""
    for folder, folders, names in os.walk(path, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and file.suffix.lower() in DOCUMENT_ENDINGS and not file.is_symlink():
                yield file


def _is_data(file: Path) -> bool:
    """Whether a person may have meant this file to be imported: not hidden, no licence or description, not our own."""
    return not file.name.startswith(".") and file.suffix not in (".md", ".json", "") and file.name != "labels.jsonl"


def _tables(path: Path, stem: str) -> list[Path]:
    return sorted(file for file in path.glob(f"{stem}.*") if stem_of(file) == stem and format_of(file))


def _only(path: Path, stem: str) -> Path | None:
    found = _tables(path, stem)
    if len(found) > 1:
        raise InputInvalid(f"{path} holds {' and '.join(file.name for file in found)}; keep one of them")
    return found[0] if found else None


def _detect_table(path: Path) -> str:
    named = [layout for layout, pattern in _NAMES if pattern.search(stem_of(path).lower())]
    with closing(read_records(path, path.name)) as records:
        first = next((record for record in records if isinstance(record, Line)), None)
    if first is None:
        if path.suffix == ".tsv" and (layout := _detect_trec(path)):
            return layout
        if len(named) == 1:
            return named[0]
        raise InputInvalid(f"{path.name} holds no readable record, so its layout cannot be told; say it with layout")
    columns = list(first.value)
    fitting = [layout for layout in ("suggestions", "qrels", "queries", "corpus") if has_columns(columns, layout)]
    if "suggestions" in fitting:
        return "suggestions"
    if "qrels" in fitting:
        return "qrels"
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        if layout := _detect_trec(path):
            return layout
        raise InputInvalid(
            f"{path.name} is of no known layout by its columns ({', '.join(map(str, columns))}). Looked for an id and "
            "a text (corpus, queries), query-id, corpus-id and score (qrels), and judge and grade too (suggestions)"
        )
    if "definition" in columns or "title" in columns:
        return "queries" if "definition" in columns else "corpus"
    chosen = [layout for layout in named if layout in fitting]
    if len(chosen) == 1:
        return chosen[0]
    raise InputInvalid(
        f"{path.name} could be {' or '.join(sorted(fitting))}: it has an id and a text, and neither its name nor a "
        "column title tells. Say which with layout"
    )


def _detect_text(path: Path) -> str:
    if layout := _detect_trec(path):
        return layout
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending in (".md", ".markdown", ".html", ".htm"):
        return "documents"
    if ending == ".txt":
        if re.search("quer(y|ies)|question|topic", stem_of(path).lower()):
            return "query-lines"
        raise InputInvalid(
            f"{path.name} could be one query a line or a document to cut into passages; "
            "say layout 'query-lines' or 'documents'"
        )
    raise InputInvalid(
        f"{path.name} is of no known layout. Looked for {', '.join(FORMATS)} by its name, for TREC judgements "
        f"(4 columns) and runs (6 columns) in its first line, and for documents ({', '.join(DOCUMENT_ENDINGS)})"
    )


def _detect_trec(path: Path) -> str | None:
    if format_of(path) in ("parquet", "jsonl"):
        return None
    lines = read_lines(path, path.name)
    first = next((line for line in lines if isinstance(line, Line)), None)
    if first is None:
        return None
    if _TREC_RUN.fullmatch(first.value):
        return "run"
    return "trec-qrels" if _TREC_QREL.fullmatch(first.value) else None
