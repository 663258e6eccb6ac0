from collections.abc import Sequence

import pytest

from retriever.errors import PoolingCancelled
from retriever.pooling import pool
from retriever.types import Candidate, Hit, Query, SystemHit

QUERIES = [Query(str(number), f"query {number}") for number in range(5)]


def same_for_all(*passage_ids: str) -> "Searcher":
    return Searcher(passage_ids)


class Searcher:
    """Gives every query the same ranking and remembers the sizes of the batches it was asked for."""

    def __init__(self, passage_ids: Sequence[str]) -> None:
        self.passage_ids = passage_ids
        self.batches: list[int] = []

    def __call__(self, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        self.batches.append(len(queries))
        return [[Hit(name, rank, 1.0 / rank) for rank, name in enumerate(self.passage_ids[:k], 1)] for _ in queries]


def test_every_query_gets_its_candidates_with_the_ranks_of_all_systems() -> None:
    """A candidate without its origin can neither be explained nor re-pooled."""
    pooled = list(pool(QUERIES[:1], {"d": same_for_all("a", "b"), "l": same_for_all("b")}, depth=5, per_system=5))
    assert pooled[0][0] == Candidate(
        "0", "b", 1, pytest.approx(1 / 62 + 1 / 61), (SystemHit("d", 2, 0.5), SystemHit("l", 1, 1.0))
    )
    assert [candidate.passage_id for candidate in pooled[0]] == ["b", "a"]


def test_depth_and_per_system_bound_what_is_put_up_for_judging() -> None:
    """Each pair too many is a call to the LLM that somebody pays."""
    searchers = {"d": same_for_all(*"abcdef"), "l": same_for_all(*"uvwxyz")}
    assert [len(found) for found in pool(QUERIES, searchers, depth=3, per_system=5)] == [3] * 5
    assert [len(found) for found in pool(QUERIES, searchers, depth=50, per_system=2)] == [4] * 5


def test_queries_are_searched_in_batches_with_progress() -> None:
    """A hundred thousand queries at once would not fit in memory, nor show that anything happens."""
    search = same_for_all("a")
    seen: list[tuple[int, int]] = []
    pooled = pool(QUERIES, {"d": search}, depth=1, per_system=1, batch_size=2, progress=lambda *at: seen.append(at))
    assert len(list(pooled)) == 5
    assert search.batches == [2, 2, 1]
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_a_query_that_nobody_can_answer_keeps_its_place() -> None:
    """A missing list would shift the candidates of every query after it."""
    assert list(pool(QUERIES, {"d": same_for_all()}, depth=1, per_system=1)) == [[], [], [], [], []]


def test_pooling_stops_when_asked() -> None:
    """A job that cannot be cancelled is killed instead."""
    answers = iter([False, True])
    pooled = pool(
        QUERIES, {"d": same_for_all("a")}, depth=1, per_system=1, batch_size=2, should_cancel=lambda: next(answers)
    )
    with pytest.raises(PoolingCancelled, match="after 2 of 5"):
        list(pooled)


@pytest.mark.parametrize("changes", [{"depth": 0}, {"per_system": 0}, {"batch_size": 0}, {"searchers": {}}])
def test_a_pool_of_nothing_is_refused_at_once(changes: dict[str, object]) -> None:
    """A generator that fails at its first use fails in somebody else's code."""
    arguments: dict[str, object] = {"searchers": {"d": same_for_all("a")}, "depth": 1, "per_system": 1, **changes}
    with pytest.raises(ValueError, match=r"depth|per_system|batch_size|searchers"):
        pool(QUERIES, **arguments)  # type: ignore[arg-type]


def test_a_searcher_that_loses_a_query_is_refused() -> None:
    """Its answers would be paired with the wrong queries."""
    with pytest.raises(ValueError, match="gave 0 rankings for 5"):
        list(pool(QUERIES, {"d": lambda queries, k: []}, depth=1, per_system=1))
