"""Which kind of index a corpus gets, and how its parameters follow from its size; pure arithmetic, no FAISS here."""

import math
from dataclasses import dataclass

FLAT, HNSW, IVF_SQ8, IVF_PQ = "flat", "hnsw", "ivf_sq8", "ivf_pq"
INDEX_KINDS = (FLAT, HNSW, IVF_SQ8, IVF_PQ)
"""Exact; a graph over 8-bit vectors; lists of 8-bit vectors; lists of product codes."""

LEAST_TRAINABLE = 1_000
"""Fewer vectors cannot train lists or codes, and exact search of them takes microseconds. Our choice."""

HNSW_LINKS = 16
HNSW_CONSTRUCTION = 64
"""Links a vector and candidates while linking. Our choice: on 100,000 vectors of 384 made of public passages, 32 and
100 take 36 s of processor to build instead of 19, and reach recall@10 .98 in 0.3 ms a query instead of 0.5; encoding
the query takes ten times as long."""

_LISTS_PER_ROOT = 2
_TRAINING_PER_LIST = 32
_PQ_DIMENSIONS = 4
_PQ_FEWEST_CODES = 8
_POINTS_PER_CENTROID = 39


@dataclass(frozen=True, slots=True)
class KindLimits:
    """The most vectors for which each kind is chosen; above the last, `ivf_pq`."""

    flat: int = 50_000
    hnsw: int = 500_000
    ivf_sq8: int = 8_000_000


LIMITS = KindLimits()
"""Our choice. Up to 50,000 vectors of 384 an exact search of one query reads 77 MB, some 10 ms, no more than encoding
the query takes. A graph answers fastest where questions are unlike the passages (20,349 passages and 97 questions of
TREC DL: recall@10 .999 in 0.11 ms of processor, lists .998 in 0.17 ms), but it must lie in memory while it is built,
about 0.5 kB a vector, and takes twice the time of lists (200,000 vectors: 28 s of processor against 12). Lists are
built part by part and mapped from disk; of 8-bit vectors they would take over 3 GB above 8 million, and product codes
take a quarter of that. The last limit is arithmetic, not measured."""


def choose_kind(n: int, *, dim: int, kind: str | None = None, limits: KindLimits = LIMITS) -> str:
    """The kind for n vectors of that length: the one asked for, or by size; `flat` where there is too little to train.

    Raises: ValueError for a kind that does not exist.
    """
    if kind is not None and kind not in INDEX_KINDS:
        raise ValueError(f"the kind of index is {kind!r}; choose one of {', '.join(INDEX_KINDS)}")
    if n < LEAST_TRAINABLE:
        return FLAT
    if kind is None:
        kind = FLAT if n <= limits.flat else HNSW if n <= limits.hnsw else IVF_SQ8 if n <= limits.ivf_sq8 else IVF_PQ
    return IVF_SQ8 if kind == IVF_PQ and pq_codes(dim) is None else kind


def kinds_to_try(n: int, *, dim: int, kind: str | None = None, limits: KindLimits = LIMITS) -> tuple[str, ...]:
    """The kinds to build until one finds enough; empty where search stays exact.

    A graph loses its way among tight clumps of vectors far from every question (100,000 vectors of 384 in a thousand
    clumps: recall@10 .93 at effort 1,000), and product codes blur them; lists of 8-bit vectors reached .99 there with
    16 of 632 lists. So they come second, where no kind was asked for.
    Raises: ValueError for a kind that does not exist.
    """
    first = choose_kind(n, dim=dim, kind=kind, limits=limits)
    if first == FLAT:
        return ()
    return (first,) if kind is not None or first == IVF_SQ8 else (first, IVF_SQ8)


def n_lists(n: int) -> int:
    """How many lists n vectors are spread over: 2·√n, and at least 32 vectors in each on average. Our choice."""
    return max(1, min(round(_LISTS_PER_ROOT * math.sqrt(n)), n // _TRAINING_PER_LIST))


def n_training(n: int) -> int:
    """How many vectors train the lists: 32 for each. Our choice; FAISS warns below 39 and cuts above 256."""
    return min(n, max(n_lists(n) * _TRAINING_PER_LIST, 256 * _POINTS_PER_CENTROID))


def pq_codes(dim: int) -> int | None:
    """How many product codes stand for a vector: one for four numbers or a few more; None where dim has no such part.

    Our choice: a quarter of the 8-bit size. Codes of more numbers save more, but need deeper re-scoring.
    """
    for codes in range(dim // _PQ_DIMENSIONS, 0, -1):
        if dim % codes == 0:
            return codes if codes >= min(_PQ_FEWEST_CODES, dim // _PQ_DIMENSIONS) else None
    return None


def pq_bits(n_trained: int) -> int:
    """Bits of a product code, at most 8, so that each of its centroids has 39 training vectors."""
    return max(1, min(8, int(math.log2(max(2, n_trained / _POINTS_PER_CENTROID)))))
