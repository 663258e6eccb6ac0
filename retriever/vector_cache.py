"""Vectors kept by the hash of their text, so that a changed corpus encodes only what changed; encoding is elsewhere.

A folder belongs to one model, length and precision. It holds two append-only files: `keys.bin` (16 bytes a text) and
`vectors.f32`, row for row. Vectors are on the disk before their keys, so whatever a killed process left behind them
is a tail without keys: it is not read, and cut by the next to append. Lookups search a sorted array of half keys, 12
bytes a text in memory: a million texts take 12 MB, where a dict takes 150 MB, and SQLite would be a third file to
keep in step with the vectors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from retriever.encoding.backend import Precision, Vectors

KEY_BYTES = 16
_STORED = np.dtype("<f4")
_META, _KEYS, _VECTORS = "meta.json", "keys.bin", "vectors.f32"

Keys = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CacheOwner:
    """Whose vectors a folder holds: a model's content hash, the tokens it reads, how exactly, and the vectors' length.

    precision: vectors are as exact as this or more.
    """

    model_hash: str
    max_length: int
    precision: Precision
    dim: int

    @property
    def folder(self) -> str:
        """The folder's name."""
        return f"{self.model_hash[:16]}-{self.max_length}-{self.precision}"


def text_key(text: str) -> bytes:
    """The 16 bytes under which the vector of a text is kept."""
    return hashlib.sha256(text.encode()).digest()[:KEY_BYTES]


def as_keys(keys: list[bytes]) -> Keys:
    """(n, 16) uint8 of so many keys."""
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)


class VectorCache:
    """The opened vectors of one owner; `open` makes one. Several processes may read and append at the same time."""

    def __init__(self, folder: Path, owner: CacheOwner) -> None:
        self._folder = folder
        self._owner = owner
        self._heads: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)  # first halves of the keys, sorted
        self._rows: NDArray[np.uint32] = np.empty(0, dtype=np.uint32)  # the row of each
        self._n = 0

    @classmethod
    def open(cls, root: Path, owner: CacheOwner) -> Self:
        """The owner's cache below root, made where it is missing; one that says it is another's is emptied first."""
        root.mkdir(parents=True, exist_ok=True)
        cache = cls(root / owner.folder, owner)
        with _locked(cache._folder):
            cache._claim()
        cache.refresh()
        return cache

    @property
    def n(self) -> int:
        """Vectors known, as of the last refresh or append."""
        return self._n

    def refresh(self) -> None:
        """Learns what others appended, or that somebody dropped it all."""
        n = self._whole_rows()
        if n < self._n:
            self._heads, self._rows, self._n = self._heads[:0], self._rows[:0], 0
        if n <= self._n:
            return
        with (self._folder / _KEYS).open("rb") as stream:
            stream.seek(self._n * KEY_BYTES)
            fresh = np.frombuffer(stream.read((n - self._n) * KEY_BYTES), dtype="<u8").reshape(-1, 2)[:, 0]
        order = np.argsort(fresh, kind="stable")
        places = np.searchsorted(self._heads, fresh[order])
        self._heads = np.insert(self._heads, places, fresh[order])
        self._rows = np.insert(self._rows, places, (self._n + order).astype(np.uint32))
        self._n = n

    def missing(self, keys: Keys) -> NDArray[np.intp]:
        """Positions of the keys that have no vector, each different key once, in the order given.

        keys: (n, 16) uint8.
        """
        absent = np.flatnonzero(self._find(keys) < 0)
        _, first = np.unique(_halves(keys[absent]), axis=0, return_index=True)
        return absent[np.sort(first)]

    def vectors(self, keys: Keys) -> Vectors:
        """The vectors of these keys, (n, dim) float32, in the order given.

        Raises: KeyError when one is missing.
        """
        rows = self._find(keys)
        if (rows < 0).any():
            raise KeyError(f"{int((rows < 0).sum())} of {len(keys)} texts have no vector in {self._folder}")
        if not len(rows):
            return np.empty((0, self._owner.dim), dtype=np.float32)
        stored = np.memmap(self._folder / _VECTORS, dtype=_STORED, mode="r", shape=(self._n, self._owner.dim))
        return np.asarray(stored[rows], dtype=np.float32)

    def append(self, keys: Keys, vectors: Vectors) -> None:
        """Keeps vectors, (n, dim) float32; on the disk when it returns.

        Raises: ValueError for another shape or numbers that are not finite.
        """
        if keys.shape != (len(vectors), KEY_BYTES) or vectors.shape != (len(keys), self._owner.dim):
            raise ValueError(f"keys {keys.shape} and vectors {vectors.shape} do not fit vectors of {self._owner.dim}")
        if not np.isfinite(vectors).all():
            raise ValueError("vectors hold NaN or infinite numbers: nothing was kept")
        with _locked(self._folder):
            self._claim()
            n = self._whole_rows()
            _append(self._folder / _VECTORS, np.ascontiguousarray(vectors, dtype=_STORED).tobytes(), at=n * self._width)
            _append(self._folder / _KEYS, np.ascontiguousarray(keys).tobytes(), at=n * KEY_BYTES)
        self.refresh()

    @property
    def _width(self) -> int:
        return self._owner.dim * _STORED.itemsize

    def _whole_rows(self) -> int:
        sizes = [
            path.stat().st_size if path.is_file() else 0 for path in (self._folder / _KEYS, self._folder / _VECTORS)
        ]
        return min(sizes[0] // KEY_BYTES, sizes[1] // self._width)

    def _claim(self) -> None:
        """Makes the folder this owner's, emptied if it was not; under the lock."""
        if _read_owner(self._folder) == self._owner:
            return
        self._folder.mkdir(exist_ok=True)
        for name in (_META, _KEYS, _VECTORS):
            (self._folder / name).unlink(missing_ok=True)
        _write_whole(self._folder / _META, json.dumps(asdict(self._owner)))

    def _find(self, keys: Keys) -> NDArray[np.int64]:
        """The row of each key, -1 where there is none."""
        self.refresh()
        rows = np.full(len(keys), -1, dtype=np.int64)
        if not self._n or not len(keys):
            return rows
        stored = np.memmap(self._folder / _KEYS, dtype="<u8", mode="r", shape=(self._n, 2))
        wanted = _halves(keys)
        places = np.searchsorted(self._heads, wanted[:, 0])
        # The other half is compared with what the file says now: of a dropped cache nothing is found.
        # Two keys with one first half are as good as impossible; should they be, the next places are tried too.
        open_ = np.arange(len(keys))
        while len(open_ := open_[places[open_] < self._n]):
            open_ = open_[self._heads[places[open_]] == wanted[open_, 0]]
            found = self._rows[places[open_]].astype(np.int64)
            same = stored[found, 1] == wanted[open_, 1]
            rows[open_[same]] = found[same]
            open_ = open_[~same]
            places[open_] += 1
        return rows


def _halves(keys: Keys) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys).view("<u8").reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """One cache on the disk: whose, and how many bytes."""

    owner: CacheOwner
    n_bytes: int


def list_caches(root: Path) -> list[StoredVectors]:
    """Every cache below root; a folder that does not say whose it is counts as nobody's and is left out."""
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        try:
            owner = _read_owner(folder)
        except OSError:
            continue
        if owner is not None:
            found.append(StoredVectors(owner, sum(path.stat().st_size for path in folder.iterdir() if path.is_file())))
    return found


def drop_cache(root: Path, owner: CacheOwner) -> None:
    """Deletes a cache; whoever encodes with that model next begins anew."""
    folder = root / owner.folder
    if not folder.is_dir():
        return
    with _locked(folder):  # until it is gone: whoever appends next begins a new folder
        shutil.rmtree(folder)


def _locked(folder: Path) -> FileLock:
    # Beside the folder: a lock inside would be deleted with it.
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def _read_owner(folder: Path) -> CacheOwner | None:
    """Whose a folder says it is, None where it says nothing.

    Raises: OSError where that cannot be read now; what is in the folder may still be somebody's.
    """
    try:
        return CacheOwner(**json.loads((folder / _META).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _append(path: Path, content: bytes, *, at: int) -> None:
    """Writes content at that byte, where the file then ends, and waits for the disk."""
    with path.open("r+b" if path.is_file() else "w+b") as stream:
        stream.truncate(at)
        stream.seek(at)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
