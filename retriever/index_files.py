"""The two files every index folder has: `meta.json`, written last, and `passage_ids.json`."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from retriever.errors import IndexMismatch

META_NAME = "meta.json"
IDS_NAME = "passage_ids.json"


@dataclass(frozen=True, slots=True)
class IndexMeta:
    """What an index folder says of itself. kind: which index. n: passages. dim: of vectors, 0 without. source: free."""

    kind: str
    n: int
    dim: int = 0
    source: str = ""


def write_index_files(directory: Path, *, meta: IndexMeta, passage_ids: Sequence[str]) -> None:
    """Writes both files, the meta last and whole, so that a half-built folder never opens.

    Raises: IndexMismatch when an id occurs twice.
    """
    if len(set(passage_ids)) != len(passage_ids):
        seen: set[str] = set()
        twice = next(name for name in passage_ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise IndexMismatch(f"the passage id {twice!r} occurs twice: give every passage one id, once")
    (directory / IDS_NAME).write_text(json.dumps(list(passage_ids), ensure_ascii=False), encoding="utf-8")
    unfinished = directory / f"{META_NAME}.part"
    unfinished.write_text(json.dumps(asdict(meta)), encoding="utf-8")
    os.replace(unfinished, directory / META_NAME)


def read_index_files(directory: Path, *, kind: str) -> tuple[IndexMeta, tuple[str, ...]]:
    """The meta and the passage ids of a folder.

    Raises: IndexMismatch when the folder holds no finished index of this kind, or its files contradict each other.
    """
    try:
        meta = IndexMeta(**json.loads((directory / META_NAME).read_text(encoding="utf-8")))
        passage_ids = tuple(json.loads((directory / IDS_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as exc:
        raise IndexMismatch(
            f"no readable index in {directory} ({exc}): build it again",
            user_message="The search index is missing or damaged. Build it again.",
        ) from exc
    if meta.kind != kind:
        raise IndexMismatch(f"{directory} holds an index of kind {meta.kind!r}, expected {kind!r}: build it again")
    if meta.n != len(passage_ids):
        raise IndexMismatch(f"{directory} says {meta.n} passages but names {len(passage_ids)}: build it again")
    return meta, passage_ids
