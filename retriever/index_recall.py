"""How much of exact search an approximate index finds, and the least effort with which it finds enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from retriever.approximate_index import ApproximateIndex, bounded_threads
from retriever.index_kinds import IVF_PQ
from retriever.vector_file import read_chunks, read_rows

RECALL_TARGET = 0.98
"""Share of the exact first 10 that a search must find on average. From issue 4's claim."""

DEPTHS = (10, 100)
"""How many passages are asked for when the effort is chosen: a screen's 10 and the 100 that evaluations need."""

_ERRORS = 2.0  # standard errors by which the mean of the choice must clear the target, so that other queries do too
_QUERIES = 256
_SIMILARITY = 0.25
_TIE = 1e-6
_BISECTIONS = 4


@dataclass(frozen=True, slots=True)
class SearchEffort:
    """What a search for at most `depth` passages takes.

    effort: see `ApproximateIndex.candidates`. rescored: candidates compared exactly, for each passage asked for.
    recall: share of the exact first `depth` that it found, in [0, 1], on queries that it was not chosen on.
    """

    depth: int
    effort: int
    rescored: int
    recall: float


def exact_neighbours(vectors: Path, queries: NDArray[np.float32], k: int, *, n: int, dim: int) -> NDArray[np.float32]:
    """The k highest inner products of each query with all vectors of a file, (m, k) float32, highest first."""
    best = np.empty((len(queries), 0), dtype=np.float32)
    with bounded_threads():
        for _, chunk in read_chunks(vectors, n=n, dim=dim):
            scores, _ = faiss.knn(queries, chunk, min(k, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT)
            both = np.concatenate([best, scores], axis=1)
            best = -np.sort(-both, axis=1)[:, :k]
    return best


def sample_queries(vectors: Path, *, n: int, dim: int, size: int = 2 * _QUERIES, seed: int = 0) -> NDArray[np.float32]:
    """Stand-ins for queries, (at most size, dim) float32, L2-normalised: stored vectors moved in a random direction.

    Their cosine with the vector they come from is about .25. Our choice: it makes them as hard for a graph as the
    hardest real questions tried, those that no passage answers (4,000 passages and 97 questions of TREC DL, recall@10
    at efforts 20, 40, 100, 400: .80, .88, .95, .98; moved to .7, .99 and more). For lists such questions are still
    harder than these, so give real ones to `DenseIndex.build` where there are any.
    """
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(n, size=min(n, size), replace=False)).astype(np.int64)
    rows = read_rows(vectors, chosen, dim=dim)[random.permutation(len(chosen))]
    moves = random.standard_normal(rows.shape, dtype=np.float32)
    moves /= np.linalg.norm(moves, axis=1, keepdims=True)
    moved = _SIMILARITY * rows + np.float32(np.sqrt(1 - _SIMILARITY**2)) * moves
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.ascontiguousarray(moved / lengths, dtype=np.float32)


def choose_efforts(
    index: ApproximateIndex,
    *,
    kind: str,
    vectors: Path,
    queries: NDArray[np.float32],
    n: int,
    dim: int,
    target: float = RECALL_TARGET,
    depths: Sequence[int] = DEPTHS,
) -> tuple[SearchEffort, ...]:
    """For each depth the least effort, and with it the least re-scoring, that finds the target share; else the most.

    Chosen on every second query, whose mean must clear the target by two standard errors; the recall stated is
    measured on the others. Where those miss the target all the same, the effort is doubled until they reach it.
    """
    factors = (1, 2, 4, 8, 16, 32) if kind == IVF_PQ else (1, 2, 4)
    deepest = min(max(depths), n)
    exact = exact_neighbours(vectors, queries, deepest, n=n, dim=dim)
    chosen = []
    for depth in sorted({min(depth, n) for depth in depths}):
        trials = [
            _Trial(
                index=index,
                vectors=vectors,
                queries=np.ascontiguousarray(queries[part]),
                last=exact[part, depth - 1 : depth],
                depth=depth,
                factors=tuple(factor for factor in factors if factor == 1 or factor * depth <= n),
            )
            for part in (slice(0, None, 2), slice(1 if len(queries) > 1 else 0, None, 2))
        ]
        effort, rescored = _least(trials[0], target=target)
        recall = _recalls(trials[1], effort=effort)[rescored].mean
        while recall < target and effort < index.most_effort:
            effort = min(2 * effort, index.most_effort)
            recall = _recalls(trials[1], effort=effort)[rescored].mean
        chosen.append(SearchEffort(depth=depth, effort=effort, rescored=rescored, recall=recall))
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Queries searched at one depth; last: (m, 1), the exact score of each query's last passage of that depth."""

    index: ApproximateIndex
    vectors: Path
    queries: NDArray[np.float32]
    last: NDArray[np.float32]
    depth: int
    factors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Recall:
    """Mean over queries, in [0, 1], and what it clears for sure: the mean less two standard errors."""

    mean: float
    sure: float


def _least(trial: _Trial, *, target: float) -> tuple[int, int]:
    """The least effort with which some re-scoring surely reaches the target, and the least such re-scoring."""
    most, low = trial.index.most_effort, 0
    high = min(most, trial.index.least_effort(trial.depth * trial.factors[-1]))
    recalls = _recalls(trial, effort=high)
    while not _reached(recalls, target) and high < most:
        low, high = high, min(most, 2 * high)
        recalls = _recalls(trial, effort=high)
    if not _reached(recalls, target):
        best = max(recall.sure for recall in recalls.values())  # nothing reaches it: the most effort it is
        return high, min(factor for factor, recall in recalls.items() if recall.sure >= best)
    for _ in range(_BISECTIONS if low else 0):
        middle = (low + high) // 2
        if middle in (low, high):
            break
        tried = _recalls(trial, effort=middle)
        if _reached(tried, target):
            high, recalls = middle, tried
        else:
            low = middle
    return high, min(factor for factor, recall in recalls.items() if recall.sure >= target)


def _reached(recalls: dict[int, _Recall], target: float) -> bool:
    return any(recall.sure >= target for recall in recalls.values())


def _recalls(trial: _Trial, *, effort: int) -> dict[int, _Recall]:
    """Recall for each re-scoring factor; a passage as good as the last of the exact ones counts as found."""
    found = trial.index.candidates(trial.queries, trial.depth * trial.factors[-1], effort=effort)
    used, where = np.unique(found, return_inverse=True)
    rows = read_rows(trial.vectors, np.maximum(used, 0), dim=trial.queries.shape[1])
    scores = np.stack([rows[at] @ query for at, query in zip(where.reshape(found.shape), trial.queries, strict=True)])
    good = (scores >= trial.last - _TIE) & (found >= 0)
    recalls = {}
    for factor in trial.factors:
        shares = np.minimum(good[:, : trial.depth * factor].sum(axis=1), trial.depth) / trial.depth
        mean = float(shares.mean())
        recalls[factor] = _Recall(mean, mean - _ERRORS * float(shares.std()) / len(shares) ** 0.5)
    return recalls
