"""Exact search over passage vectors with FAISS, memory-mapped; encoding lives in `encoder`.

The vectors lie in a raw float32 file rather than in FAISS's own: the same exact search (`faiss.knn`) reads it straight
from the page cache, it is written one chunk at a time, and others can read the vectors back.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray

from retriever.errors import IndexMismatch
from retriever.index_files import META_NAME, IndexMeta, read_index_files, write_index_files
from retriever.types import Hit

KIND = "flat-inner-product"
_VECTORS_NAME = "vectors.f32"
_STORED = np.dtype("<f4")


class DenseIndex:
    """An opened index; `build` writes one, `open` opens one."""

    def __init__(self, vectors: NDArray[np.float32], passage_ids: tuple[str, ...], *, source: str) -> None:
        self._vectors = vectors
        self._passage_ids = passage_ids
        self._source = source

    @classmethod
    def build(
        cls,
        directory: Path,
        ids: Iterable[str],
        vectors: Iterable[NDArray[np.float32]],
        dim: int,
        *,
        source: str = "",
    ) -> Self:
        """Writes an index and opens it.

        vectors: chunks, each (any, dim) float32, L2-normalised, in the order of ids. source: what made the vectors (a
        model hash), kept and given back. Memory: one chunk and the ids.
        Raises: IndexMismatch for a wrong shape, numbers that are not finite, or more ids than vectors or fewer.
        """
        directory.mkdir(parents=True, exist_ok=True)
        (directory / META_NAME).unlink(missing_ok=True)  # the old index must not vouch for new files
        n = 0
        with (directory / _VECTORS_NAME).open("wb") as stream:
            for chunk in vectors:
                if chunk.ndim != 2 or chunk.shape[1] != dim:
                    raise IndexMismatch(f"a chunk of vectors has shape {chunk.shape}, expected (any, {dim})")
                if not np.isfinite(chunk).all():
                    raise IndexMismatch(f"vectors {n} to {n + len(chunk) - 1} hold NaN or infinite numbers")
                stream.write(np.ascontiguousarray(chunk, dtype=_STORED).tobytes())
                n += len(chunk)
        passage_ids = tuple(ids)
        if len(passage_ids) != n:
            raise IndexMismatch(f"{len(passage_ids)} passage ids but {n} vectors: they must match one to one")
        write_index_files(directory, meta=IndexMeta(kind=KIND, n=n, dim=dim, source=source), passage_ids=passage_ids)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The index of a folder, its vectors memory-mapped.

        Raises: IndexMismatch when the folder holds no whole index.
        """
        meta, passage_ids = read_index_files(directory, kind=KIND)
        path = directory / _VECTORS_NAME
        expected = meta.n * meta.dim * _STORED.itemsize
        size = path.stat().st_size if path.is_file() else -1
        if size != expected or meta.dim < 1:
            raise IndexMismatch(f"{path} has {size} bytes, expected {expected}: build the index again")
        vectors: NDArray[np.float32] = (
            np.memmap(path, dtype=_STORED, mode="r", shape=(meta.n, meta.dim))
            if meta.n
            else np.empty((0, meta.dim), dtype=np.float32)
        )
        return cls(vectors, passage_ids, source=meta.source)

    @property
    def n(self) -> int:
        """Number of passages."""
        return len(self._passage_ids)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return int(self._vectors.shape[1])

    @property
    def passage_ids(self) -> tuple[str, ...]:
        """Ids in the order of the vectors."""
        return self._passage_ids

    @property
    def source(self) -> str:
        """What made the vectors, as given to `build`."""
        return self._source

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, (n, dim) float32, read-only, read from disk when touched."""
        return self._vectors

    def search(self, query_vectors: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """For each query the k passages with the highest inner product, best first; fewer when there are fewer.

        query_vectors: (m, dim) float32, L2-normalised, so that scores are cosines in [-1, 1].
        Raises: IndexMismatch for vectors of another length; ValueError for k below 1 or numbers that are not finite.
        """
        if k < 1:
            raise ValueError(f"k is {k}; it must be 1 or more")
        if query_vectors.ndim != 2 or query_vectors.shape[1] != self.dim:
            raise IndexMismatch(
                f"query vectors have shape {query_vectors.shape}, the index holds vectors of {self.dim}: "
                "encode with the model the index was built with"
            )
        if not np.isfinite(query_vectors).all():
            raise ValueError("query vectors hold NaN or infinite numbers")
        if not self.n or not len(query_vectors):
            return [[] for _ in query_vectors]
        queries = np.ascontiguousarray(query_vectors, dtype=np.float32)
        scores, positions = faiss.knn(queries, self._vectors, min(k, self.n), metric=faiss.METRIC_INNER_PRODUCT)
        return [self._hits(row, columns) for row, columns in zip(scores, positions, strict=True)]

    def _hits(self, scores: NDArray[np.float32], positions: NDArray[np.int64]) -> list[Hit]:
        # Equal scores come in any order: settle it by position, so that a ranking repeats.
        order: Iterator[int] = iter(np.lexsort((positions, -scores)))
        return [
            Hit(passage_id=self._passage_ids[int(positions[at])], rank=rank, score=float(scores[at]))
            for rank, at in enumerate(order, start=1)
        ]
