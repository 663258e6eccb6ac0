import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from retriever.adapter import Kernel
from retriever.adapter_choice import MOST_UNCHECKED, Live, Plan, choose_plan
from retriever.adapter_fit import Corpus, open_corpus
from retriever.adapter_lists import Aside, VectorList

QUERIES = np.array([[1, 0, 0, 0], [0, 0, 1, 0]], dtype=np.float32)
DECOY_FIRST = 1 / math.log2(3)


def make_corpus() -> Corpus:
    """Each of two queries has a decoy (.9) before its answer (.8); the answer lies towards the next axis."""
    answer, decoy = (0.8, 0.6), (0.9, math.sqrt(0.19))
    passages = [(*answer, 0, 0), (*decoy, 0, 0), (0, 0, *answer), (0, 0, *decoy)]
    return open_corpus(QUERIES, np.array(passages, dtype=np.float32), [], negatives=4, seed=0)


def make_list(row: int) -> VectorList:
    one = np.ones(1, dtype=np.float32)
    return VectorList(f"q{row}", row, np.array([2 * row]), one, one, np.empty(0, np.int64))


def choose(*, unseen: tuple[VectorList, ...], live: Live | None = None) -> Plan:
    """What is kept of a change that brings the first query's answer before its decoy and leaves the second alone."""
    transform = Kernel.fresh(torch.tensor(QUERIES[:1]), power=4.0)

    def stage() -> Iterator[float]:
        with torch.no_grad():
            transform.values[0, 1] = 2.0
        yield 0.0

    aside = Aside(unseen=unseen, seen=(), cold=frozenset(), query_ids=frozenset(entry.query_id for entry in unseen))
    return choose_plan(transform, [stage], aside, make_corpus(), trained=[make_list(0)], relevant_from=1, live=live)


def test_all_of_a_change_is_kept_that_leaves_the_unseen_as_they_were() -> None:
    """Caution where nothing calls for it would halve what every label brings."""
    plan = choose(unseen=(make_list(1),))
    assert (plan.epochs, plan.strength) == ((1,), 1.0)
    assert plan.figures == {
        "queries": 1,
        "nDCG@10": pytest.approx(DECOY_FIRST),
        "nDCG@10 before": pytest.approx(DECOY_FIRST),
        "trained queries": 1,
        "trained nDCG@10": 1,
        "trained nDCG@10 before": pytest.approx(DECOY_FIRST),
    }


def test_without_an_unseen_list_a_part_of_the_change_is_kept_at_most() -> None:
    """No list to look at counted 0, not below 0: the largest change went through unchecked."""
    plan = choose(unseen=())
    assert (plan.epochs, plan.strength) == ((1,), MOST_UNCHECKED)
    assert plan.figures["queries"] == 0


def test_what_is_worse_than_the_live_adapter_on_lists_new_to_that_is_not_kept() -> None:
    """Measured against the bare encoder, a retrain that loses what is live passes for one that harms nothing."""
    moved = QUERIES.copy()
    moved[1] = [0, 0, math.sqrt(0.5), math.sqrt(0.5)]
    plan = choose(unseen=(make_list(1),), live=Live(moved, trained_on=frozenset({0})))
    assert (plan.epochs, plan.strength) == ((0,), 0.0)
    assert (plan.figures["nDCG@10 before"], plan.figures["queries new to live"]) == (1, 1)
    assert plan.figures["nDCG@10"] == pytest.approx(DECOY_FIRST), "the encoder alone is what is written"


def test_where_the_live_adapter_was_trained_on_the_answer_the_encoder_is_the_measure() -> None:
    """What is live has seen the lists put aside now; held against that, no later training would ever be kept."""
    moved = QUERIES.copy()
    moved[1] = [0, 0, math.sqrt(0.5), math.sqrt(0.5)]
    plan = choose(unseen=(make_list(1),), live=Live(moved, trained_on=frozenset({2})))
    assert plan.strength == 1.0
    assert (plan.figures["nDCG@10 before"], plan.figures["queries new to live"]) == (pytest.approx(DECOY_FIRST), 0)


def choose_of_both(*, away: float, tolerance: float) -> Plan:
    """Of a change that helps the first query from half its strength on, and moves the second `away` from its answer."""
    transform = Kernel.fresh(torch.tensor(QUERIES), power=4.0)

    def stage() -> Iterator[float]:
        with torch.no_grad():
            transform.values[0, 1], transform.values[1, 0] = 2.0, away
        yield 0.0

    aside = Aside(unseen=(make_list(1),), seen=(), cold=frozenset(), query_ids=frozenset({"q1"}))
    trained = [make_list(0)]
    return choose_plan(transform, [stage], aside, make_corpus(), trained=trained, relevant_from=1, tolerance=tolerance)


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_as_much_of_a_change_is_kept_as_helps_both_kinds_most(tolerance: float) -> None:
    """Where some loss is allowed it was taken to the last hundredth, for nothing in return."""
    plan = choose_of_both(away=1.5, tolerance=tolerance)
    assert plan.strength == 0.5
    assert plan.figures["trained nDCG@10"] == 1
    assert plan.figures["nDCG@10"] == pytest.approx(DECOY_FIRST)


def test_unseen_lists_may_lose_what_is_allowed_and_no_more() -> None:
    """A great gain on what was labelled is thrown away for one rank on one list put aside; or everything is taken."""
    loss = DECOY_FIRST - 1 / math.log2(5)
    assert choose_of_both(away=3.0, tolerance=loss / 2).strength == 0
    allowed = choose_of_both(away=3.0, tolerance=loss * 1.01)
    assert allowed.strength > 0
    assert allowed.figures["nDCG@10"] == pytest.approx(1 / math.log2(5))
