"""The approximate part of an index: a FAISS file over the raw vectors, built in bounded memory and mapped when opened.

It proposes positions; their scores are taken from the raw vectors, in `dense_index`. Which effort a search needs is
found in `index_recall`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import faiss as typed_faiss
import numpy as np
from numpy.typing import NDArray

from retriever.errors import IndexMismatch
from retriever.index_kinds import (
    HNSW,
    HNSW_CONSTRUCTION,
    HNSW_LINKS,
    IVF_PQ,
    n_lists,
    n_training,
    pq_bits,
    pq_codes,
)
from retriever.vector_file import read_chunks, read_rows

faiss: Any = typed_faiss  # its stubs know a part of the classes used here, and describe some of them wrongly

GRAPH_NAME = "graph.faiss"
COARSE_NAME = "lists.faiss"
LISTS_NAME = "lists.ivfdata"

MOST_THREADS = 8
"""FAISS would take every core it sees, in every thread that searches. Our choice."""

_SHARD = 500_000
_ITERATIONS = 10
_CODE_POINTS = 64
_SEED = 1234


@contextmanager
def bounded_threads() -> Iterator[None]:
    """Within it FAISS uses at most MOST_THREADS threads, and no more than this process may use."""
    before = faiss.omp_get_max_threads()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    faiss.omp_set_num_threads(min(before, allowed, MOST_THREADS))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class ApproximateIndex:
    """An opened index of positions; `build` writes one, `open` opens one."""

    def __init__(self, index: Any, *, kind: str) -> None:
        self._index = index
        self._kind = kind

    @classmethod
    def build(cls, directory: Path, *, kind: str, vectors: Path, n: int, dim: int) -> Self:
        """Writes an index of one kind beside the file of raw vectors and opens it.

        Memory: for `hnsw` the 8-bit vectors and the graph, about 0.5 kB a vector of 384 numbers; for the others the
        training sample and the codes of half a million vectors.
        """
        with bounded_threads():
            if kind == HNSW:
                _build_graph(directory, vectors=vectors, n=n, dim=dim)
            else:
                _build_lists(directory, kind=kind, vectors=vectors, n=n, dim=dim)
        return cls.open(directory, kind=kind, n=n, dim=dim)

    @classmethod
    def open(cls, directory: Path, *, kind: str, n: int, dim: int) -> Self:
        """The index of a folder, its codes mapped from disk.

        Raises: IndexMismatch when FAISS cannot read it or it holds other vectors.
        """
        name = GRAPH_NAME if kind == HNSW else COARSE_NAME
        try:
            if kind == HNSW:
                index = faiss.read_index(str(directory / name), faiss.IO_FLAG_MMAP_IFC)
            else:
                # IO_FLAG_ONDISK_SAME_DIR would do the same and write a line to standard output each time.
                index = faiss.read_index(str(directory / name), faiss.IO_FLAG_SKIP_IVF_DATA)
                lists = faiss.downcast_InvertedLists(index.invlists)
                lists.filename, lists.read_only = str(directory / LISTS_NAME), True
                lists.prefetch_nthread = 0  # else each search starts 32 threads to read ahead, which costs more than it
                lists.do_mmap()
        except (RuntimeError, AttributeError) as exc:
            raise IndexMismatch(
                f"FAISS cannot read {directory / name} ({str(exc).splitlines()[-1]}): build the index again",
                user_message="The search index is damaged. Build it again.",
            ) from exc
        if (index.ntotal, index.d, index.metric_type) != (n, dim, faiss.METRIC_INNER_PRODUCT):
            raise IndexMismatch(
                f"{directory / name} holds {index.ntotal} vectors of {index.d}, expected {n} of {dim}: build it again"
            )
        return cls(index, kind=kind)

    @staticmethod
    def files(kind: str) -> tuple[str, ...]:
        """Names of the files that an index of this kind has."""
        return (GRAPH_NAME,) if kind == HNSW else (COARSE_NAME, LISTS_NAME)

    @property
    def parameters(self) -> dict[str, int]:
        """How it was built, for people and for `meta.json`."""
        if self._kind == HNSW:
            return {"links": HNSW_LINKS, "construction": HNSW_CONSTRUCTION, "bits": 8}
        if self._kind == IVF_PQ:
            return {"lists": self._index.nlist, "codes": self._index.pq.M, "bits": self._index.pq.nbits}
        return {"lists": self._index.nlist, "bits": 8}

    @property
    def most_effort(self) -> int:
        """The effort above which a search cannot become better, or may not become longer: lists are quicker then."""
        return 1_024 if self._kind == HNSW else int(self._index.nlist)

    def least_effort(self, wanted: int) -> int:
        """The least effort that can give so many positions: a graph keeps no more candidates than its effort."""
        return wanted if self._kind == HNSW else 1

    def candidates(self, queries: NDArray[np.float32], wanted: int, *, effort: int) -> NDArray[np.int64]:
        """Positions for each query, (m, wanted), most promising first, -1 where there are no more.

        queries: (m, dim) float32, C-contiguous. effort: candidates kept in a graph, or lists looked into.
        """
        with bounded_threads():
            chosen = (
                faiss.SearchParametersHNSW(efSearch=max(effort, wanted))
                if self._kind == HNSW
                else faiss.SearchParametersIVF(nprobe=min(effort, self.most_effort))
            )
            _, positions = self._index.search(queries, wanted, params=chosen)
        found: NDArray[np.int64] = positions
        return found


def _build_graph(directory: Path, *, vectors: Path, n: int, dim: int) -> None:
    index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_CONSTRUCTION
    index.train(read_rows(vectors, _sample(n, n_training(n)), dim=dim))
    for _, chunk in read_chunks(vectors, n=n, dim=dim):
        index.add(chunk)
    faiss.write_index(index, str(directory / GRAPH_NAME))


def _build_lists(directory: Path, *, kind: str, vectors: Path, n: int, dim: int) -> None:
    trained = _train_lists(kind, vectors=vectors, n=n, dim=dim)
    coarse, parts = directory / COARSE_NAME, list[Path]()
    faiss.write_index(trained, str(coarse))
    index = trained
    for start, chunk in read_chunks(vectors, n=n, dim=dim):
        if index.ntotal >= _SHARD:
            parts.append(_write_part(index, directory, number=len(parts)))
            index = faiss.read_index(str(coarse))
        index.add_with_ids(chunk, np.arange(start, start + len(chunk), dtype=np.int64))
    parts.append(_write_part(index, directory, number=len(parts)))
    del index, trained
    _merge(parts, directory)
    for part in parts:
        part.unlink()


def _train_lists(kind: str, *, vectors: Path, n: int, dim: int) -> Any:
    sample = read_rows(vectors, _sample(n, n_training(n)), dim=dim)
    quantizer = faiss.IndexFlatIP(dim)
    if kind == IVF_PQ:
        codes = pq_codes(dim)
        if codes is None:
            raise ValueError(f"vectors of {dim} numbers cannot be cut into product codes")
        index = faiss.IndexIVFPQ(quantizer, dim, n_lists(n), codes, pq_bits(len(sample)), faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.niter, index.pq.cp.max_points_per_centroid = _ITERATIONS, _CODE_POINTS
        index.pq.cp.min_points_per_centroid = 1  # else FAISS writes warnings to standard error
    else:
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, dim, n_lists(n), faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
    index.cp.niter, index.cp.seed, index.cp.min_points_per_centroid = _ITERATIONS, _SEED, 1
    index.train(sample)
    return index


def _sample(n: int, size: int) -> NDArray[np.int64]:
    chosen = np.random.default_rng(_SEED).choice(n, size=size, replace=False)
    return np.sort(chosen).astype(np.int64)


def _write_part(index: Any, directory: Path, *, number: int) -> Path:
    path = directory / f"part-{number}.faiss"
    faiss.write_index(index, str(path))
    return path


def _merge(parts: list[Path], directory: Path) -> None:
    """One file of lists from the parts, which are mapped rather than read, and the index that goes with it.

    Written here list by list, each its codes and then its ids: `merge_from_multiple` does the same and writes to
    standard output. The file is kept by its name alone, so that the folder can be moved and its hash does not depend
    on where it was built.
    """
    opened = [faiss.read_index(str(part), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY) for part in parts]
    index = faiss.read_index(str(directory / COARSE_NAME))
    merged = faiss.OnDiskInvertedLists(index.nlist, index.code_size, LISTS_NAME)
    entries = faiss.OnDiskOneListVector()
    with (directory / LISTS_NAME).open("wb") as stream:
        for number in range(index.nlist):
            held = [(part.invlists, part.invlists.list_size(number)) for part in opened]
            size = sum(count for _, count in held)
            entry = faiss.OnDiskOneList()
            entry.size, entry.capacity, entry.offset = size, size, stream.tell()
            entries.push_back(entry)
            for lists, count in held:
                if count:
                    stream.write(faiss.rev_swig_ptr(lists.get_codes(number), count * index.code_size).tobytes())
            for lists, count in held:
                if count:
                    stream.write(faiss.rev_swig_ptr(lists.get_ids(number), count).tobytes())
        merged.totsize = stream.tell()
    merged.lists = entries
    index.ntotal = sum(part.ntotal for part in opened)
    index.replace_invlists(merged, True)
    merged.this.disown()
    faiss.write_index(index, str(directory / COARSE_NAME))
