import pytest

from retriever.fusion import reciprocal_rank_fusion
from retriever.types import Hit, SystemHit


def ranking(*passage_ids: str) -> list[Hit]:
    return [Hit(passage_id, rank, 10.0 - rank) for rank, passage_id in enumerate(passage_ids, start=1)]


def test_a_fused_score_is_the_sum_of_reciprocal_ranks() -> None:
    """A wrong constant or a rank counted from 0 changes which pairs people are asked to judge."""
    fused = reciprocal_rank_fusion({"dense": ranking("a", "b"), "bm25": ranking("b", "c")})
    assert [(hit.passage_id, hit.rank) for hit in fused] == [("b", 1), ("a", 2), ("c", 3)]
    assert [hit.score for hit in fused] == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62])


def test_every_system_keeps_its_own_rank_and_score() -> None:
    """Nobody can ask later why a pair was put up for judging."""
    fused = reciprocal_rank_fusion({"dense": ranking("a", "b"), "bm25": ranking("b")})
    assert fused[0].hits == (SystemHit("bm25", 1, 9.0), SystemHit("dense", 2, 8.0))


def test_equal_scores_are_ordered_by_passage_id_whatever_the_order_of_systems() -> None:
    """A pool that differs from run to run cannot be reproduced."""
    one = reciprocal_rank_fusion({"x": ranking("b"), "y": ranking("a")})
    other = reciprocal_rank_fusion({"y": ranking("a"), "x": ranking("b")})
    assert one == other
    assert [hit.passage_id for hit in one] == ["a", "b"]


def test_depth_keeps_the_best_and_weights_count() -> None:
    """Depth is a budget: more pairs than asked for cost money."""
    rankings = {"x": ranking("a", "b"), "y": ranking("c")}
    assert [hit.passage_id for hit in reciprocal_rank_fusion(rankings, depth=1, weights={"y": 2.0})] == ["c"]


@pytest.mark.parametrize("changes", [{"k": -1}, {"depth": 0}, {"weights": {"x": -1.0}}])
def test_numbers_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    """A negative weight would rank the best last."""
    with pytest.raises(ValueError, match=r"k is|depth is|weights are"):
        reciprocal_rank_fusion({"x": ranking("a")}, **changes)  # type: ignore[arg-type]


def test_a_passage_twice_in_one_ranking_is_refused() -> None:
    """It would count twice and win."""
    with pytest.raises(ValueError, match="twice"):
        reciprocal_rank_fusion({"x": ranking("a", "a")})


def test_nothing_found_fuses_to_nothing() -> None:
    """An empty ranking is an ordinary answer."""
    assert reciprocal_rank_fusion({"x": [], "y": []}) == []
