"""The two files every index folder has: `meta.json`, written last, and `passage_ids.json`."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retriever.errors import IndexMismatch

META_NAME = "meta.json"
IDS_NAME = "passage_ids.json"


@dataclass(frozen=True, slots=True)
class IndexMeta:
    """What an index folder says of itself. kind: which index. n: passages. dim: of vectors, 0 without. source: free.

    recall: recall@10 against exact search, None where search is exact. parameters: how it was built. efforts: for each
    depth how a search is done and what it finds. sizes: file name -> bytes of the files that FAISS maps.
    """

    kind: str
    n: int
    dim: int = 0
    source: str = ""
    recall: float | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    efforts: Sequence[Mapping[str, Any]] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)


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


def read_index_files(directory: Path, *, kinds: Collection[str]) -> tuple[IndexMeta, tuple[str, ...]]:
    """The meta and the passage ids of a folder.

    Raises: IndexMismatch when the folder holds no finished index of these kinds, or its files contradict each other.
    """
    try:
        meta = IndexMeta(**json.loads((directory / META_NAME).read_text(encoding="utf-8")))
        passage_ids = tuple(json.loads((directory / IDS_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as exc:
        raise IndexMismatch(
            f"no readable index in {directory} ({exc}): build it again",
            user_message="The search index is missing or damaged. Build it again.",
        ) from exc
    if meta.kind not in kinds:
        raise IndexMismatch(
            f"{directory} holds an index of kind {meta.kind!r}, expected {' or '.join(kinds)}: build it again"
        )
    for name, expected in meta.sizes.items():
        file = directory / name
        size = file.stat().st_size if file.is_file() else -1
        if size != expected:  # a file cut short would be mapped, and reading behind its end kills the process
            raise IndexMismatch(f"{file} has {size} bytes, expected {expected}: build the index again")
    if meta.n != len(passage_ids):
        raise IndexMismatch(f"{directory} says {meta.n} passages but names {len(passage_ids)}: build it again")
    return meta, passage_ids
