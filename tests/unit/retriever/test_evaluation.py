import math
from collections.abc import Mapping

import numpy as np
import pytest
import pytrec_eval

from retriever.errors import InvalidQrels
from retriever.evaluation import compare, evaluate
from retriever.types import Evaluation, Hit, QueryMeasures


def ranking(*passage_ids: str) -> list[Hit]:
    # Scores run against the ranks: only the ranks may count.
    return [Hit(passage_id, rank, float(rank)) for rank, passage_id in enumerate(passage_ids, start=1)]


def evaluation(values: Mapping[str, float], *, measure: str = "nDCG@10") -> Evaluation:
    return Evaluation(
        measures={measure: sum(values.values()) / len(values)},
        per_query=tuple(QueryMeasures(query_id, {measure: value}) for query_id, value in values.items()),
        n_queries=len(values),
        n_judgements=len(values),
        unjudged_at_10=0.0,
    )


def test_measures_are_those_worked_out_by_hand() -> None:
    """Every promotion rests on these three numbers."""
    qrels = {"q": {"a": 3, "b": 1, "c": 2, "d": 0}}
    found = evaluate({"q": ranking("b", "x", "c", "d")}, qrels)
    gained = 1 / math.log2(2) + 2 / math.log2(4)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert found.measures == pytest.approx({"nDCG@10": gained / ideal, "Recall@100": 1 / 2, "RR@10": 1 / 3})


def test_measures_agree_with_trec_eval_on_random_rankings() -> None:
    """Ties, graded labels and long lists are where a home-made measure goes astray."""
    random = np.random.default_rng(5)
    names = [f"p{at}" for at in range(60)]
    qrels = {
        f"q{at}": {name: int(random.integers(0, 4)) for name in random.permutation(names)[:30]} for at in range(20)
    }
    runs = {query: ranking(*random.permutation(names)[:40]) for query in qrels}
    theirs = pytrec_eval.RelevanceEvaluator(
        qrels, {"ndcg_cut.10", "recall.100", "recip_rank"}, relevance_level=2
    ).evaluate({query: {hit.passage_id: -float(hit.rank) for hit in hits} for query, hits in runs.items()})
    for entry in evaluate(runs, qrels, measures=("nDCG@10", "R@100", "RR@1000")).per_query:
        expected = theirs[entry.query_id]
        assert entry.values["nDCG@10"] == pytest.approx(expected["ndcg_cut_10"])
        assert entry.values["Recall@100"] == pytest.approx(expected["recall_100"])
        assert entry.values["RR@1000"] == pytest.approx(expected["recip_rank"])


def test_queries_without_a_relevant_judgement_are_left_out_and_counted() -> None:
    """Counted as 0 they make every model look worse; dropped unseen they make the number of queries a lie."""
    found = evaluate({"q": ranking("a")}, {"q": {"a": 2}, "hopeless": {"b": 1, "c": 0}, "unjudged": {}})
    assert (found.n_queries, found.n_queries_left_out, found.n_judgements) == (1, 2, 1)
    assert found.measures["nDCG@10"] == 1.0


def test_a_query_for_which_nothing_was_found_scores_zero() -> None:
    """Left out, a system that gives up on hard queries would win."""
    found = evaluate({"q": ranking("a"), "empty": []}, {"q": {"a": 2}, "empty": {"a": 2}, "missing": {"a": 3}})
    assert found.measures["RR@10"] == pytest.approx(1 / 3)
    assert [entry.values["nDCG@10"] for entry in found.per_query] == [1.0, 0.0, 0.0]


def test_unjudged_counts_the_top_ten_nobody_judged() -> None:
    """A new model is punished for passages that only the old one put up for judging: the gate must show it."""
    top = ranking("a", *[f"new{at}" for at in range(4)], *[f"old{at}" for at in range(5)], "beyond")
    judged = {"a": 3, **{f"old{at}": 0 for at in range(5)}}
    found = evaluate({"q": top, "r": []}, {"q": judged, "r": {"b": 2}})
    assert [entry.unjudged_at_10 for entry in found.per_query] == pytest.approx([0.4, 0.0])
    assert found.unjudged_at_10 == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("run", "qrels", "says"),
    [
        ({}, {}, "none of 0 queries"),
        ({}, {"q": {"a": 1}}, "none of 1 queries"),
        ({}, {"q": {"a": -1}}, "whole number"),
        ({}, {"q": {"a": 1.5}}, "whole number"),
        ({"q": ranking("a", "a")}, {"q": {"a": 2}}, "passage twice"),
        ({"q": [Hit("a", 1, 0), Hit("b", 1, 0)]}, {"q": {"a": 2}}, "rank twice"),
        ({"q": [Hit("a", 0, 0)]}, {"q": {"a": 2}}, "below 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    run: dict[str, list[Hit]], qrels: dict[str, dict[str, int]], says: str
) -> None:
    """The mean of nothing is NaN, and NaN passes no gate and fails none."""
    with pytest.raises(InvalidQrels, match=says):
        evaluate(run, qrels)


def test_an_unknown_measure_is_refused() -> None:
    """A typing error must not be an empty column."""
    with pytest.raises(ValueError, match="no measure"):
        evaluate({"q": ranking("a")}, {"q": {"a": 2}}, measures=("NDGC@10",))


def test_a_difference_names_who_gained_and_who_lost_largest_first() -> None:
    """A mean hides the query that broke."""
    before = evaluation({"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5})
    after = evaluation({"a": 0.6, "b": 0.9, "c": 0.1, "d": 0.5})
    found = compare(before, after, seen_query_ids=None).differences["nDCG@10"]
    assert (found.better, found.worse, found.n) == (("b", "a"), ("c",), 4)
    assert found.mean == pytest.approx(0.025)
    assert dict(found.per_query) == pytest.approx({"a": 0.1, "b": 0.4, "c": -0.4, "d": 0.0})


def test_seen_and_unseen_queries_are_compared_apart() -> None:
    """A model that learnt the answers by heart gains on seen queries only, and loses the rest."""
    before = evaluation(dict.fromkeys("abcd", 0.5))
    after = evaluation({"a": 0.9, "b": 0.8, "c": 0.4, "d": 0.3})
    slices = compare(before, after, seen_query_ids={"a", "b", "not held out"}).slices
    assert {name: found["nDCG@10"].mean for name, found in slices.items()} == pytest.approx(
        {"seen": 0.35, "unseen": -0.15}
    )
    assert compare(before, after, seen_query_ids=None).slices == {}
    assert set(compare(before, after, seen_query_ids=()).slices) == {"unseen"}


def test_slices_that_describe_stand_beside_seen_and_unseen() -> None:
    """A loss on long queries alone is lost in the mean."""
    before = evaluation(dict.fromkeys("abcd", 0.5))
    after = evaluation({"a": 0.9, "b": 0.8, "c": 0.4, "d": 0.3})
    found = compare(before, after, seen_query_ids={"a"}, described={"long": {"d", "c", "not scored"}, "empty": {"z"}})
    assert {name: (part["nDCG@10"].n, round(part["nDCG@10"].mean, 9)) for name, part in found.slices.items()} == {
        "seen": (1, 0.4),
        "unseen": (3, 0.0),
        "long": (2, -0.15),
    }


def test_evaluations_of_different_queries_are_not_compared() -> None:
    """Paired by position they would compare one query with another."""
    with pytest.raises(InvalidQrels, match="same judgements"):
        compare(evaluation({"a": 1.0}), evaluation({"b": 1.0}), seen_query_ids=None)
