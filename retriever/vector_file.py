"""The raw float32 file of an index's vectors: written and read in chunks, or mapped. What vectors mean is elsewhere.

Builds read with plain calls rather than through the map: mapped pages count as memory of the process, and a build over
a large corpus would seem, and on a small machine be, as large as its file.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retriever.errors import IndexMismatch

VECTORS_NAME = "vectors.f32"
_STORED = np.dtype("<f4")
_ROWS = 16_384


def write_vectors(path: Path, chunks: Iterable[NDArray[np.float32]], *, dim: int) -> int:
    """Writes chunks of (any, dim) vectors one after the other; returns how many vectors there are.

    Raises: IndexMismatch for a wrong shape or numbers that are not finite.
    """
    n = 0
    with path.open("wb") as stream:
        for chunk in chunks:
            if chunk.ndim != 2 or chunk.shape[1] != dim:
                raise IndexMismatch(f"a chunk of vectors has shape {chunk.shape}, expected (any, {dim})")
            if not np.isfinite(chunk).all():
                raise IndexMismatch(f"vectors {n} to {n + len(chunk) - 1} hold NaN or infinite numbers")
            stream.write(np.ascontiguousarray(chunk, dtype=_STORED).tobytes())
            n += len(chunk)
    return n


def map_vectors(path: Path, *, n: int, dim: int) -> NDArray[np.float32]:
    """All vectors, (n, dim) float32, read-only, read from disk when touched.

    Raises: IndexMismatch when the file does not hold exactly so many.
    """
    expected = n * dim * _STORED.itemsize
    size = path.stat().st_size if path.is_file() else -1
    if size != expected or dim < 1:
        raise IndexMismatch(f"{path} has {size} bytes, expected {expected}: build the index again")
    if not n:
        return np.empty((0, dim), dtype=np.float32)
    return np.memmap(path, dtype=_STORED, mode="r", shape=(n, dim))


def read_chunks(path: Path, *, n: int, dim: int, rows: int = _ROWS) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The position of each chunk's first vector, and the chunk: (at most rows, dim) float32.

    Raises: IndexMismatch when the file ends early.
    """
    with path.open("rb") as stream:
        for start in range(0, n, rows):
            count = min(rows, n - start)
            chunk = np.fromfile(stream, dtype=_STORED, count=count * dim)
            if len(chunk) != count * dim:
                raise IndexMismatch(f"{path} ends within vector {start + len(chunk) // dim} of {n}")
            yield start, chunk.reshape(count, dim).astype(np.float32, copy=False)


def read_rows(path: Path, positions: NDArray[np.int64], *, dim: int) -> NDArray[np.float32]:
    """The vectors at these positions, (len(positions), dim) float32.

    Raises: IndexMismatch for a position behind the end.
    """
    row_bytes = dim * _STORED.itemsize
    rows = np.empty((len(positions), dim), dtype=_STORED)
    with path.open("rb", buffering=0) as stream:
        for row, position in zip(rows, positions.tolist(), strict=True):
            stream.seek(position * row_bytes)
            if stream.readinto(row.data.cast("B")) != row_bytes:
                raise IndexMismatch(f"{path} has no vector {position}")
    return rows.astype(np.float32, copy=False)
