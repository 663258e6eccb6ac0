"""Finds and reads the public data sets that benches measure on. Nothing is copied into the repository."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


class PublicDataMissing(RuntimeError):
    """A data set is not where it was looked for; the message says where, and which variable points elsewhere."""


@dataclass(frozen=True, slots=True)
class PublicSuggestion:
    """What a real LLM said of a pair: grade in 0..max_grade, confidences in [0, 1] or None."""

    query_id: str
    passage_id: str
    judge: str
    grade: int
    max_grade: int
    verbal_confidence: float | None
    token_probability: float | None


def data_folder() -> Path:
    """The folder of the public data sets: `RELABEL_SHARED_DATA`, or `../shared/data` beside the repository.

    Raises:
        PublicDataMissing: there is no such folder.
    """
    folder = Path(os.environ.get("RELABEL_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        raise PublicDataMissing(f"the public data sets are not at {folder} (set RELABEL_SHARED_DATA)")
    return folder


def read_qrels(name: str, split: str) -> dict[tuple[str, str], int]:
    """(query id, passage id) → human grade of one split, in the order of the file.

    Raises:
        PublicDataMissing: the file is not there.
    """
    lines = _existing(data_folder() / name / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    fields = (line.split("\t") for line in lines[1:] if line)
    return {(query_id, passage_id): int(grade) for query_id, passage_id, grade in fields}


def by_query(qrels: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Query id → passage id → grade, in the order given."""
    grades: dict[str, dict[str, int]] = {}
    for (query_id, passage_id), grade in qrels.items():
        grades.setdefault(query_id, {})[passage_id] = grade
    return grades


def read_suggestions(name: str) -> list[PublicSuggestion]:
    """All suggestions of a data set, in the order of the file.

    Raises:
        PublicDataMissing: the file is not there.
    """
    return [
        PublicSuggestion(
            query_id=str(row["query_id"]),
            passage_id=str(row["corpus_id"]),
            judge=str(row["judge"]),
            grade=int(str(row["grade"])),
            max_grade=int(str(row["max_grade"])),
            verbal_confidence=_probability(row.get("verbal_confidence")),
            token_probability=_probability(row.get("token_probability")),
        )
        for row in read_lines(data_folder() / name / "suggestions.jsonl.gz")
    ]


def read_queries(name: str) -> dict[str, str]:
    """Query id → text.

    Raises:
        PublicDataMissing: the file is not there.
    """
    return {str(row["_id"]): str(row["text"]) for row in read_lines(data_folder() / name / "queries.jsonl")}


def read_passages(name: str) -> dict[str, str]:
    """Passage id → title and text, joined by a line break where there is a title.

    Raises:
        PublicDataMissing: the file is not there.
    """
    rows = read_lines(data_folder() / name / "corpus.jsonl")
    return {str(row["_id"]): f"{row.get('title') or ''}\n{row['text']}".strip() for row in rows}


def read_lines(path: Path) -> Iterator[Mapping[str, object]]:
    """The objects of a JSON-lines file, gzipped or not, one at a time.

    Raises:
        PublicDataMissing: the file is not there.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(_existing(path), mode="rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise PublicDataMissing(f"{path} is not there (set RELABEL_SHARED_DATA to the folder of the public data sets)")
    return path


def _probability(value: object) -> float | None:
    return None if value is None else float(str(value))
