"""Search over passage vectors, exact or approximate by size, memory-mapped; encoding lives in `encoder`.

The vectors lie in a raw float32 file: exact search (`faiss.knn`) reads it straight from the page cache, others can read
the vectors back, and what an approximate index proposes is scored by it, so scores are cosines whatever the kind.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray

from retriever.approximate_index import ApproximateIndex, bounded_threads
from retriever.errors import IndexMismatch
from retriever.index_files import META_NAME, IndexMeta, read_index_files, write_index_files
from retriever.index_kinds import FLAT, INDEX_KINDS, LIMITS, KindLimits, choose_kind, kinds_to_try
from retriever.index_recall import RECALL_TARGET, SearchEffort, choose_efforts, sample_queries
from retriever.types import Hit
from retriever.vector_file import VECTORS_NAME, map_vectors, write_vectors

_FLAT_BEFORE = "flat-inner-product"  # how folders call it that were written before there were other kinds
_EXACT_FROM = 4


class DenseIndex:
    """An opened index; `build` writes one, `open` opens one."""

    def __init__(
        self,
        vectors: NDArray[np.float32],
        passage_ids: tuple[str, ...],
        *,
        meta: IndexMeta,
        approximate: ApproximateIndex | None = None,
        efforts: tuple[SearchEffort, ...] = (),
    ) -> None:
        self._vectors = vectors
        self._passage_ids = passage_ids
        self._meta = meta
        self._approximate = approximate
        self._efforts = efforts

    @classmethod
    def build(
        cls,
        directory: Path,
        ids: Iterable[str],
        vectors: Iterable[NDArray[np.float32]],
        dim: int,
        *,
        source: str = "",
        kind: str | None = None,
        queries: Callable[[], NDArray[np.float32] | None] | None = None,
        recall_target: float = RECALL_TARGET,
        limits: KindLimits = LIMITS,
    ) -> Self:
        """Writes an index and opens it.

        vectors: chunks, each (any, dim) float32, L2-normalised, in the order of ids. source: what made the vectors (a
        model hash), kept and given back. kind: one of INDEX_KINDS; None chooses by size, then tries lists of 8-bit
        vectors, and stays exact where neither reaches recall_target (a share of the exact first 10, in [0, 1]); too
        few vectors to train anything are always exact. queries: called for an approximate index only; gives (m, dim)
        float32 on which the effort of a search is chosen and recall is measured; without it, or for None, moved stored
        vectors.
        Memory: one chunk, the ids, and what `ApproximateIndex.build` says.
        Raises: IndexMismatch for a wrong shape, numbers that are not finite, or more ids than vectors or fewer;
        ValueError for an unknown kind.
        """
        choose_kind(0, dim=dim, kind=kind)  # an unknown kind is refused before anything is encoded
        directory.mkdir(parents=True, exist_ok=True)
        (directory / META_NAME).unlink(missing_ok=True)  # the old index must not vouch for new files
        n = write_vectors(directory / VECTORS_NAME, vectors, dim=dim)
        passage_ids = tuple(ids)
        if len(passage_ids) != n:
            raise IndexMismatch(f"{len(passage_ids)} passage ids but {n} vectors: they must match one to one")
        meta = IndexMeta(kind=FLAT, n=n, dim=dim, source=source)
        for chosen in kinds_to_try(n, dim=dim, kind=kind, limits=limits):
            built = _build_approximate(directory, chosen, meta=meta, queries=queries, target=recall_target)
            if kind is not None or (built.recall or 0.0) >= recall_target:
                meta = built
                break
            for name in built.sizes:
                (directory / name).unlink()
        write_index_files(directory, meta=meta, passage_ids=passage_ids)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The index of a folder, its vectors memory-mapped.

        Raises: IndexMismatch when the folder holds no whole index.
        """
        meta, passage_ids = read_index_files(directory, kinds=(*INDEX_KINDS, _FLAT_BEFORE))
        vectors = map_vectors(directory / VECTORS_NAME, n=meta.n, dim=meta.dim)
        if meta.kind in (FLAT, _FLAT_BEFORE):
            return cls(vectors, passage_ids, meta=meta)
        try:
            efforts = tuple(SearchEffort(**effort) for effort in meta.efforts)
        except TypeError as exc:
            raise IndexMismatch(f"{directory} does not say how it is searched ({exc}): build it again") from exc
        if not efforts or set(ApproximateIndex.files(meta.kind)) - set(meta.sizes):
            raise IndexMismatch(f"{directory} does not say how it is searched: build it again")
        approximate = ApproximateIndex.open(directory, kind=meta.kind, n=meta.n, dim=meta.dim)
        return cls(vectors, passage_ids, meta=meta, approximate=approximate, efforts=efforts)

    @property
    def n(self) -> int:
        """Number of passages."""
        return len(self._passage_ids)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return int(self._vectors.shape[1])

    @property
    def kind(self) -> str:
        """One of INDEX_KINDS."""
        return FLAT if self._approximate is None else self._meta.kind

    @property
    def recall(self) -> float | None:
        """Recall@10 against exact search, measured when it was built, in [0, 1]; None where search is exact."""
        return self._meta.recall

    @property
    def efforts(self) -> tuple[SearchEffort, ...]:
        """How it is searched and what that finds, by depth; empty where search is exact."""
        return self._efforts

    @property
    def passage_ids(self) -> tuple[str, ...]:
        """Ids in the order of the vectors."""
        return self._passage_ids

    @property
    def source(self) -> str:
        """What made the vectors, as given to `build`."""
        return self._meta.source

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, (n, dim) float32, read-only, read from disk when touched."""
        return self._vectors

    def search(self, query_vectors: NDArray[np.float32], k: int, *, exact: bool = False) -> list[list[Hit]]:
        """For each query the k passages with the highest inner product, best first; fewer when there are fewer.

        query_vectors: (m, dim) float32, L2-normalised, so that scores are cosines in [-1, 1]. exact: compare with every
        passage, whatever the kind. Scores are always those of the stored vectors.
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
        if self._approximate is None or exact:
            return self._search_exactly(queries, min(k, self.n))
        return self._search_approximately(self._approximate, queries, min(k, self.n))

    def _search_exactly(self, queries: NDArray[np.float32], k: int) -> list[list[Hit]]:
        with bounded_threads():
            scores, positions = faiss.knn(queries, self._vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return [self._hits(row, columns) for row, columns in zip(scores, positions, strict=True)]

    def _search_approximately(
        self, approximate: ApproximateIndex, queries: NDArray[np.float32], k: int
    ) -> list[list[Hit]]:
        deepest = self._efforts[-1]
        plan = next((effort for effort in self._efforts if k <= effort.depth), deepest)
        wanted = k * plan.rescored
        if wanted * _EXACT_FROM > self.n:  # so many candidates that looking for them saves nothing
            return self._search_exactly(queries, k)
        effort = plan.effort if k <= plan.depth else -(-plan.effort * k // plan.depth)
        found = []
        for query, row in zip(queries, approximate.candidates(queries, wanted, effort=effort), strict=True):
            positions = row[row >= 0]
            if len(positions) < k:  # the lists looked into hold too few
                found.extend(self._search_exactly(query[None], k))
                continue
            # Row by row, not as one product: equal vectors must get equal scores, wherever they stand.
            scores = np.einsum("ij,j->i", self._vectors[positions], query)
            best = np.lexsort((positions, -scores))[:k]
            found.append(self._hits(scores[best], positions[best]))
        return found

    def _hits(self, scores: NDArray[np.float32], positions: NDArray[np.int64]) -> list[Hit]:
        # Equal scores come in any order: settle it by position, so that a ranking repeats.
        order = np.lexsort((positions, -scores)).tolist()
        return [
            Hit(passage_id=self._passage_ids[int(positions[at])], rank=rank, score=float(scores[at]))
            for rank, at in enumerate(order, start=1)
        ]


def _build_approximate(
    directory: Path,
    kind: str,
    *,
    meta: IndexMeta,
    queries: Callable[[], NDArray[np.float32] | None] | None,
    target: float,
) -> IndexMeta:
    """Builds the approximate part beside the vectors, finds how it is to be searched, and says so."""
    vectors = directory / VECTORS_NAME
    index = ApproximateIndex.build(directory, kind=kind, vectors=vectors, n=meta.n, dim=meta.dim)
    asked = None if queries is None else queries()
    if asked is None:
        asked = sample_queries(vectors, n=meta.n, dim=meta.dim)
    efforts = choose_efforts(index, kind=kind, vectors=vectors, queries=asked, n=meta.n, dim=meta.dim, target=target)
    return IndexMeta(
        kind=kind,
        n=meta.n,
        dim=meta.dim,
        source=meta.source,
        recall=efforts[0].recall,
        parameters=index.parameters,
        efforts=[asdict(effort) for effort in efforts],
        sizes={name: (directory / name).stat().st_size for name in ApproximateIndex.files(kind)},
    )
