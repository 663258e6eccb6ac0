"""Candidates for judging: what several systems retrieve for a query, fused; merging with earlier rounds is not here."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from retriever.errors import PoolingCancelled
from retriever.fusion import reciprocal_rank_fusion
from retriever.types import Candidate, Hit, Query

Searcher = Callable[[Sequence[Query], int], list[list[Hit]]]
"""Queries and k to one ranking per query, in the same order."""


def pool(
    queries: Sequence[Query],
    searchers: Mapping[str, Searcher],
    *,
    depth: int,
    per_system: int,
    progress: Callable[[int, int], None] | None = None,
    should_cancel: Callable[[], bool] | None = None,
    batch_size: int = 64,
) -> Iterator[list[Candidate]]:
    """One list of candidates per query, in the order of the queries; empty where no system found anything.

    Each system gives its per_system best, reciprocal rank fusion keeps the depth best of them; every system's own rank
    and score stay on the candidate. progress(done, total) is called after each batch, should_cancel before each.
    Raises: ValueError for no searchers or numbers below 1; PoolingCancelled.
    """
    if not searchers:
        raise ValueError("there are no searchers; pool needs at least one")
    for name, value in (("depth", depth), ("per_system", per_system), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more")
    return _pool(
        queries,
        searchers,
        depth=depth,
        per_system=per_system,
        progress=progress,
        should_cancel=should_cancel,
        batch_size=batch_size,
    )


def _pool(
    queries: Sequence[Query],
    searchers: Mapping[str, Searcher],
    *,
    depth: int,
    per_system: int,
    progress: Callable[[int, int], None] | None,
    should_cancel: Callable[[], bool] | None,
    batch_size: int,
) -> Iterator[list[Candidate]]:
    for start in range(0, len(queries), batch_size):
        if should_cancel is not None and should_cancel():
            raise PoolingCancelled(f"pooling stopped on request after {start} of {len(queries)} queries")
        batch = queries[start : start + batch_size]
        found = {system: search(batch, per_system) for system, search in searchers.items()}
        for system, rankings in found.items():
            if len(rankings) != len(batch):
                raise ValueError(f"{system} gave {len(rankings)} rankings for {len(batch)} queries")
        for position, query in enumerate(batch):
            fused = reciprocal_rank_fusion(
                {system: rankings[position] for system, rankings in found.items()}, depth=depth
            )
            yield [
                Candidate(query_id=query.id, passage_id=hit.passage_id, rank=hit.rank, score=hit.score, hits=hit.hits)
                for hit in fused
            ]
        if progress is not None:
            progress(start + len(batch), len(queries))
