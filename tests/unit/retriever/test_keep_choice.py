import math

import numpy as np
import pytest

from retriever.keep_choice import MOST_QUERIES, Kept, choose_keep, make_pool, mean_ndcg
from retriever.types import GradedList, LabelledPassage


def listed(query: str, **grades: float) -> GradedList:
    passages = tuple(LabelledPassage(name, f"text {name}", grade) for name, grade in grades.items())
    return GradedList(query_id=f"id of {query}", query=query, passages=passages)


def test_ndcg_by_hand() -> None:
    """The choice between the base and the tuned weights hangs on this number."""
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]], dtype=np.float32)
    # Ranked 1, 2, 0: grades 0, 2, 3 against the ideal 3, 2, 0. The second query is ideal.
    first = (2 / math.log2(3) + 3 / math.log2(4)) / (3 + 2 / math.log2(3))
    assert mean_ndcg(scores, [{0: 3, 2: 2, 1: 0}, {0: 1}]) == pytest.approx((first + 1) / 2)


def test_ndcg_looks_at_ten_passages_only() -> None:
    """A relevant passage at rank 11 would count and hide that nobody sees it."""
    scores = -np.arange(12, dtype=np.float32).reshape(1, -1)
    assert mean_ndcg(scores, [{10: 3}]) == 0
    assert mean_ndcg(scores, [{9: 3}]) == pytest.approx(1 / math.log2(11))


def test_ndcg_agrees_with_ir_measures() -> None:
    """Another gain or discount than the gate's would choose what the gate refuses."""
    import ir_measures

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, 30)).astype(np.float32)
    grades = [{int(at): int(rng.integers(0, 4)) for at in rng.choice(30, 8, replace=False)} | {29: 1} for _ in range(6)]
    qrels = {str(at): {str(column): grade for column, grade in own.items()} for at, own in enumerate(grades)}
    run = {str(at): {str(column): float(score) for column, score in enumerate(row)} for at, row in enumerate(scores)}
    expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)[ir_measures.nDCG @ 10]
    assert mean_ndcg(scores, grades) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({1.0: 0.7, 0.5: 0.8, 0.25: 0.75}, Kept(0.5, 0.8, below_base=False)),
        ({1.0: 0.8, 0.5: 0.8, 0.25: 0.75}, Kept(1.0, 0.8, below_base=False)),
        ({1.0: 0.6, 0.5: 0.6, 0.25: 0.6}, Kept(1.0, 0.6, below_base=False)),
        ({1.0: 0.3, 0.5: 0.4, 0.25: 0.5}, Kept(0.25, 0.5, below_base=True)),
        ({1.0: 0.5, 0.5: 0.5, 0.25: 0.4}, Kept(0.5, 0.5, below_base=True)),
    ],
    ids=[
        "the best",
        "equally good: the largest",
        "as good as the base",
        "all below: the least loss",
        "below: the smaller",
    ],
)
def test_the_part_to_keep(scores: dict[float, float], expected: Kept) -> None:
    """Below the base and silent about it, a harmful training would look chosen."""
    assert choose_keep(scores, base=0.6) == expected


def test_the_pool_holds_all_passages_of_the_queries_and_some_others_once() -> None:
    """A text twice in the pool would take two of ten places; a pool of own passages only makes any model look right."""
    aside = [listed("one", a=3, b=0), listed("two", c=2)]
    trained = [listed("three", a=0, d=3, e=0), listed("four", d=0)]
    pool = make_pool(aside, trained, seed=0)
    assert pool.queries == ("one", "two")
    assert pool.passages[:3] == ("text a", "text b", "text c")
    assert sorted(pool.passages[3:]) == ["text d", "text e"]
    assert pool.grades == ({0: 3, 1: 0}, {2: 2})


def test_a_query_of_two_stages_is_one_and_the_later_grade_holds() -> None:
    """The person's grade corrects the machine's; counted twice the query would weigh double."""
    pool = make_pool([listed("one", a=3, b=0), listed("One ", a=1, c=3)], [], seed=0)
    assert len(pool.queries) == 1
    assert pool.grades == ({0: 1, 1: 0, 2: 3},)


def test_the_pool_is_bounded_and_drawn_by_its_seed() -> None:
    """Scored without bound, the choice would cost more than the training."""
    aside = [listed(f"q{at}", **{f"p{at}": 3}) for at in range(MOST_QUERIES + 50)]
    trained = [listed(f"t{at}", **{f"o{at}": 3}) for at in range(1500)]
    pool = make_pool(aside, trained, seed=1)
    assert len(pool.queries) == MOST_QUERIES
    assert len(pool.passages) == MOST_QUERIES + 1000
    assert pool == make_pool(aside, trained, seed=1) != make_pool(aside, trained, seed=2)
    small = make_pool(aside[:2], trained, seed=1)
    assert len(small.passages) == 2 + 8
