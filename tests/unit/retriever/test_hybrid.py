import pytest

from retriever.errors import InvalidQrels
from retriever.fusion import reciprocal_rank_fusion
from retriever.hybrid import HybridRetriever, LinearMix, fit_mix
from retriever.types import Hit


def ranking(*scored: tuple[str, float]) -> list[Hit]:
    return [Hit(passage_id, rank, score) for rank, (passage_id, score) in enumerate(scored, start=1)]


DENSE = ranking(("a", 0.9), ("b", 0.7), ("c", 0.5))
LEXICAL = ranking(("c", 12.0), ("d", 8.0), ("b", 4.0))


def test_the_mix_adds_weighted_scores_that_were_put_on_one_scale() -> None:
    """A BM25 score of 12 beside a cosine of .9 would decide alone."""
    # z dense: a 1, b .5, c 0; z bm25: c 1, d .5, b 0
    found = LinearMix(dense=0.6, bm25=0.4).rank(DENSE, LEXICAL)
    assert [(hit.passage_id, hit.rank) for hit in found] == [("a", 1), ("c", 2), ("b", 3), ("d", 4)]
    assert [hit.score for hit in found] == pytest.approx([0.6, 0.4, 0.3, 0.2])
    assert [(hit.system, hit.rank) for hit in found[1].hits] == [("bm25", 1), ("dense", 3)]


def test_a_system_that_found_nothing_changes_no_order() -> None:
    """A question in other words than the passages must not lose its answers."""
    assert [hit.passage_id for hit in LinearMix(dense=0.5, bm25=0.5).rank(DENSE, [])] == ["a", "b", "c"]
    assert [hit.passage_id for hit in LinearMix(dense=0.5, bm25=0.5).rank([], LEXICAL)] == ["c", "d", "b"]
    assert LinearMix(dense=0.5, bm25=0.5).rank([], []) == []


def test_what_one_system_found_alone_with_equal_scores_still_counts() -> None:
    """A single exact match has no spread; scaled to nothing it would vanish."""
    found = LinearMix(dense=0.3, bm25=0.7).rank(DENSE, ranking(("z", 5.0)))
    assert (found[0].passage_id, found[0].score) == ("z", pytest.approx(0.7))


def test_equal_scores_are_ordered_by_passage_and_cut_after_that() -> None:
    """A ranking that changes from call to call cannot be compared with anything."""
    found = LinearMix(dense=1.0, bm25=1.0).rank(ranking(("b", 1.0)), ranking(("a", 1.0)), depth=1)
    assert [hit.passage_id for hit in found] == ["a"]


@pytest.mark.parametrize(("dense", "bm25"), [(-0.1, 1.0), (0.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_weights_that_mean_nothing_are_refused(dense: float, bm25: float) -> None:
    """A negative weight from a damaged row would turn the ranking round."""
    with pytest.raises(ValueError, match="weights"):
        LinearMix(dense=dense, bm25=bm25)


def test_without_a_mix_ranks_are_fused() -> None:
    """Before anybody has judged enough, hybrid search must work all the same."""
    hybrid = HybridRetriever(lambda texts, k: [DENSE[:k]] * len(texts), lambda texts, k: [LEXICAL[:k]] * len(texts))
    expected = reciprocal_rank_fusion({"dense": DENSE, "bm25": LEXICAL}, depth=2)
    found = hybrid.search(["x", "y"], 2)
    assert found[0] == found[1] == [Hit(hit.passage_id, hit.rank, hit.score) for hit in expected]
    with pytest.raises(ValueError, match="k is 0"):
        hybrid.search(["x"], 0)


def judged(n: int, *, right: str) -> tuple[dict[str, list[Hit]], dict[str, list[Hit]], dict[str, dict[str, int]]]:
    """n queries whose answer one system ranks first and the other second, each system's other passage being wrong."""
    good, bad = ranking(("good", 2.0), ("bad", 1.0)), ranking(("bad", 2.0), ("good", 1.0))
    ids = [f"q{number:03}" for number in range(n)]
    dense, lexical = (good, bad) if right == "dense" else (bad, good)
    return dict.fromkeys(ids, dense), dict.fromkeys(ids, lexical), {q: {"good": 3, "bad": 0} for q in ids}


@pytest.mark.parametrize("right", ["dense", "bm25"])
def test_the_system_that_is_right_gets_the_greater_weight(right: str) -> None:
    """A mix with its weights exchanged is worse than no mix."""
    dense, lexical, qrels = judged(40, right=right)
    report = fit_mix(dense, lexical, qrels)
    assert report.mix is not None
    assert (report.mix.dense > report.mix.bm25) == (right == "dense")
    second = 1 / 1.584962500721156  # nDCG of one answer at rank 2: 1 / log2(3)
    wrong = "bm25" if right == "dense" else "dense"
    assert report.figures == pytest.approx({right: 1.0, wrong: second, "rrf": second, "linear": 1.0})
    assert (report.n_queries, report.n_judgements) == (40, 80)


def test_too_few_judged_queries_fit_nothing() -> None:
    """A weight chosen on three questions is chosen on noise."""
    report = fit_mix(*judged(29, right="dense"))
    assert report.mix is None
    assert "linear" not in report.figures
    assert report.n_queries == 29


def test_a_query_is_never_ranked_by_a_mix_that_its_own_judgements_chose() -> None:
    """Fitted and measured on the same questions, any mix looks better than it is."""
    # 15 questions want words and 15 want meaning. The one left out is always in the minority of the rest, so what the
    # others choose is wrong for it; fitted on all of them, half would be right.
    dense, lexical, qrels = judged(30, right="dense")
    for query_id in list(qrels)[15:]:
        dense[query_id], lexical[query_id] = lexical[query_id], dense[query_id]
    report = fit_mix(dense, lexical, qrels, folds=30)
    second = 1 / 1.584962500721156
    assert report.figures["linear"] == pytest.approx(second)
    assert report.mix is None  # a gain that does not hold out is not claimed


def test_queries_without_a_relevant_judgement_count_for_nothing() -> None:
    """They score 0 whatever the mix, and would hide what it does."""
    dense, lexical, qrels = judged(30, right="dense")
    dense["none"], lexical["none"], qrels["none"] = DENSE, LEXICAL, {"a": 1}
    assert fit_mix(dense, lexical, qrels).n_queries == 30
    with pytest.raises(InvalidQrels, match="nothing to fit"):
        fit_mix(dense, lexical, {"none": {"a": 1}})
