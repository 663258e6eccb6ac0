"""Which pairs are in the audit queue, in which order and why: on columns made by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import pytest

from db.enums import QueueCause
from db.queries.queue_signals import QueueSettings, Signals
from db.queries.queue_values import QueueOrder, order_queue
from db.queries.queue_words import Why, blind_reason, reason_for

SETTINGS = QueueSettings(explored=0.0)
NONE = math.nan


def known(*pairs: Mapping[str, object]) -> Signals:
    """Rejected proposals of train questions unless a pair says otherwise; each pair of a question of its own."""
    usual: dict[str, object] = {
        **dict.fromkeys(
            ("people_only", "held_out", "accepted", "certified", "locked", "flagged", "adjudicated"), False
        ),
        **dict.fromkeys(("at_desk", "unreadable", "token"), False),
        **dict.fromkeys(("live_rank", "score", "standing"), NONE),
        **dict.fromkeys(("graders", "votes", "relevant_votes"), 0),
        **{"train": True, "rejected": True, "pool_rank": 1.0, "grade": 3.0, "confidence": 0.5, "since": 0.0},
    }
    rows = [
        {**usual, "pair_id": at, "query_id": at, "suggestion_id": at, "judge_id": 7, **pair}
        for at, pair in enumerate(pairs, start=1)
    ]
    kinds = {"Ids": np.int64, "Bools": np.bool_, "Floats": np.float64}
    return Signals(
        **{
            field.name: np.array([row[field.name] for row in rows], dtype=kinds[str(field.type)])
            for field in fields(Signals)
        }
    )


def served(signals: Signals, order: QueueOrder) -> list[int]:
    return [int(one) for one in signals.pair_id[order.at]]


def causes(signals: Signals, settings: QueueSettings = SETTINGS) -> dict[int, QueueCause]:
    order = order_queue(signals, settings)
    return dict(zip(served(signals, order), order.cause, strict=True))


def test_the_queue_is_by_value_worked_out_by_hand() -> None:
    """People are sent to pairs whose answers change nothing."""
    signals = known(
        {"confidence": 0.9},  # doubt 4 · .9 · .1 = .36, reach of place 1 is 1
        {"confidence": 0.6, "pool_rank": 3.0},  # doubt .96, reach 1/log2(4) = .5
        {"confidence": 0.5, "live_rank": 1.0, "pool_rank": 9.0},  # doubt 1; search's own place goes before the pool's
    )
    order = order_queue(signals, SETTINGS)
    assert served(signals, order) == [3, 2, 1]
    assert order.value.tolist() == pytest.approx([1.0, 0.48, 0.36])


def test_a_grade_without_confidence_counts_by_itself_and_an_unreadable_reply_as_nothing() -> None:
    """A reply that could not be read passes for a sure "not relevant", and nobody looks at the pair."""
    signals = known({"confidence": NONE, "grade": 0.0}, {"confidence": NONE, "grade": NONE, "unreadable": True})
    order = order_queue(signals, SETTINGS)
    p = 1 / (1 + math.exp(1.5))  # grade 0, relevant from 2: 1 / (1 + e^(2 − ½))
    assert served(signals, order) == [2, 1]
    assert order.value.tolist() == pytest.approx([1.0, 4 * p * (1 - p)])
    assert order.cause[0] is QueueCause.UNREADABLE


def test_what_was_proposed_moves_nothing_that_people_judge_alone() -> None:
    """A held-out pair's place tells what the judge thinks of it, and the measure bends toward the judge."""
    blind: dict[str, object] = {"people_only": True, "held_out": True, "train": False, "rejected": False}
    bare = known({"confidence": 0.6}, {**blind, "grade": NONE, "confidence": NONE, "suggestion_id": -1, "judge_id": -1})
    told = known(
        {"confidence": 0.6},
        {**blind, "grade": 3.0, "confidence": 0.99, "votes": 2, "relevant_votes": 1, "score": 0.9, "token": True},
    )
    for one in fields(QueueOrder):
        if one.name in ("cause", "relevant"):
            continue
        first, second = (getattr(order_queue(signals, SETTINGS), one.name) for signals in (bare, told))
        assert first.tolist() == second.tolist(), one.name
    order = order_queue(told, SETTINGS)
    assert causes(told)[2] is causes(bare)[2] is QueueCause.PEOPLE_ONLY
    assert order.blind.tolist() == [at == 2 for at in served(told, order)]


def test_each_card_is_there_for_its_strongest_cause() -> None:
    """A card says why it is here and says something else than the truth."""
    of_one: dict[str, object] = {"query_id": 50, "accepted": True, "rejected": False, "confidence": 0.95}
    signals = known(
        {"pool_rank": 2.0},
        {"pool_rank": 9.0},
        {"votes": 2, "relevant_votes": 1, "confidence": 0.95},
        # Of one question: relevant ones at .8, irrelevant ones at .2, so the threshold is at .5.
        {**of_one, "score": 0.8, "live_rank": 3.0, "grade": 3.0},
        {**of_one, "score": 0.2, "live_rank": 8.0, "grade": 0.0},
        {"query_id": 50, "score": 0.52, "live_rank": 7.0, "grade": 3.0, "confidence": 0.55},
        {"query_id": 50, "score": 0.79, "live_rank": 4.0, "grade": 0.0, "confidence": 0.55},
    )
    found = causes(signals)
    assert found == {
        1: QueueCause.HIGH_RANK,
        2: QueueCause.OTHER,
        3: QueueCause.DISAGREEMENT,
        6: QueueCause.NEAR_THRESHOLD,
        7: QueueCause.FALSE_NEGATIVE,
    }


def test_a_passage_taken_for_irrelevant_that_search_ranks_above_the_relevant_ones_is_asked_about() -> None:
    """Good passages that a judge missed train as negatives for ever; those a certificate vouches for are left alone."""
    taken: dict[str, object] = {"query_id": 5, "accepted": True, "rejected": False, "confidence": 0.97, "grade": 0.0}
    signals = known(
        {**taken, "grade": 3.0, "score": 0.6, "live_rank": 2.0},
        {**taken, "score": 0.9, "live_rank": 1.0},
        {**taken, "score": 0.9, "live_rank": 1.0, "certified": True},
        {**taken, "score": 0.1, "live_rank": 3.0},
        {**taken, "score": 0.9, "live_rank": 4.0},
        {"query_id": 5, "rejected": False, "grade": NONE, "confidence": NONE, "suggestion_id": -1, "live_rank": 10.0},
        {"query_id": 5, "rejected": False, "grade": NONE, "confidence": NONE, "suggestion_id": -1, "live_rank": 11.0},
        # Of a question that no judge has labelled yet, nothing is missed.
        {"query_id": 6, "rejected": False, "grade": NONE, "confidence": NONE, "suggestion_id": -1, "live_rank": 1.0},
    )
    assert causes(signals) == {2: QueueCause.FALSE_NEGATIVE, 6: QueueCause.FALSE_NEGATIVE}


def graded(**more: object) -> dict[str, object]:
    """A train pair that one person called irrelevant at the desk and a judge calls relevant."""
    return {"graders": 1, "at_desk": True, "standing": 0.0, "grade": 3.0, "confidence": 0.97, "token": True, **more}


def test_a_person_whom_sure_judges_contradict_is_checked_by_another() -> None:
    """A slip of a person is the label that trains, though everything speaks against it."""
    signals = known(
        graded(),
        graded(token=False),  # a confidence that is only stated is no ground to doubt a person
        graded(confidence=0.9),
        graded(standing=2.0),
        graded(token=False, votes=3, relevant_votes=2),
        graded(token=False, votes=2, relevant_votes=2),
        graded(graders=2),
        graded(adjudicated=True),
        graded(train=False, people_only=True, rejected=False),
    )
    order = order_queue(signals, SETTINGS)
    assert sorted(served(signals, order)) == [1, 5]
    assert (set(order.cause), order.wanted.tolist(), order.open.tolist()) == (
        {QueueCause.SUSPECT_HUMAN},
        [2, 2],
        [1, 1],
    )
    calibrated = order_queue(signals, SETTINGS, lambda _, at: np.where(at == 1, 0.96, 0.5))
    assert sorted(served(signals, calibrated)) == [2, 5]


def test_a_calibrator_goes_before_the_judge_s_own_confidence() -> None:
    """An overconfident judge hides its doubtful pairs at the end of the queue."""
    signals = known({"confidence": 0.99}, {"confidence": 0.7})
    assert served(signals, order_queue(signals, SETTINGS)) == [2, 1]
    order = order_queue(signals, SETTINGS, lambda _, at: np.where(at == 0, 0.5, math.nan))
    assert served(signals, order) == [1, 2]
    assert order.p.tolist() == pytest.approx([0.5, 0.7])


def test_as_many_people_are_wanted_as_the_drawn_share_says() -> None:
    """An overlap that half of the pairs get turns into none or all, or changes with every rebuild."""
    signals = known(*({} for _ in range(2000)))
    every = order_queue(signals, replace(SETTINGS, overlap=3))
    assert set(every.wanted.tolist()) == set(every.open.tolist()) == {3}
    half = order_queue(signals, replace(SETTINGS, overlap=3, overlap_share=0.5))
    assert 900 < int((half.wanted == 3).sum()) < 1100
    fewer = known(*({"pair_id": at} for at in range(1, 1000)))
    twice = {pair: n for pair, n in zip(served(signals, half), half.wanted.tolist(), strict=True) if pair < 1000}
    again = order_queue(fewer, replace(SETTINGS, overlap=3, overlap_share=0.5))
    assert dict(zip(served(fewer, again), again.wanted.tolist(), strict=True)) == twice


def test_a_pair_stays_until_enough_people_graded_it() -> None:
    """The second person of an overlap of two is never asked, or asked about a whole imported file."""
    signals = known(
        graded(standing=3.0), graded(standing=3.0, graders=2), graded(standing=3.0, at_desk=False), graded(flagged=True)
    )
    order = order_queue(signals, replace(SETTINGS, overlap=2))
    assert (served(signals, order), order.wanted.tolist(), order.open.tolist()) == ([1], [2], [1])
    assert len(order_queue(signals, SETTINGS)) == 0


def test_what_is_locked_flagged_or_settled_is_not_in_the_queue() -> None:
    """A sample of an open batch is shown with its proposal, which voids the certificate."""
    signals = known({"locked": True}, {"flagged": True}, {"adjudicated": True, "graders": 1}, {"rejected": False}, {})
    assert served(signals, order_queue(signals, SETTINGS)) == [5]


def test_a_question_s_passages_stand_together_and_the_question_with_the_best_one_first() -> None:
    """Judging a whole question means reading it anew for every passage."""
    signals = known(
        {"query_id": 1, "confidence": 0.9}, {"query_id": 2, "confidence": 0.5}, {"query_id": 1, "confidence": 0.8},
        {"query_id": 2, "confidence": 0.99},
    )  # fmt: skip
    order = order_queue(signals, SETTINGS)
    assert served(signals, order) == [2, 3, 1, 4]
    assert [served(signals, order)[at] for at in np.argsort(order.query)] == [2, 4, 3, 1]


def test_the_other_orders_hold_every_pair_once() -> None:
    """A pair is missing from, or twice in, one of the orders and is never served, or twice."""
    signals = known(*({"since": float(-at % 7), "query_id": at % 3, "pool_rank": 1.0 + at % 5} for at in range(50)))
    order = order_queue(signals, replace(SETTINGS, explored=0.3))
    for positions in (order.random, order.query, order.oldest):
        assert sorted(positions.tolist()) == list(range(1, 51))
    assert order.random.tolist() != list(range(1, 51))
    oldest = signals.since[order.at[np.argsort(order.oldest)]]
    assert oldest.tolist() == sorted(oldest.tolist())


def test_the_share_to_explore_is_drawn_and_says_so() -> None:
    """Only what the value knows is ever looked at; or a card claims chance that stands there by value."""
    signals = known(*({"pool_rank": float(1 + at % 20)} for at in range(100)))
    drawn = [cause is QueueCause.DRAWN for cause in order_queue(signals, replace(SETTINGS, explored=0.2)).cause]
    assert [at for at, one in enumerate(drawn) if one] == list(range(4, 100, 5))


@pytest.mark.parametrize("cause", list(QueueCause))
def test_every_cause_has_words_and_the_blind_ones_tell_nothing(cause: QueueCause) -> None:
    """A blind card gives away what the judge said; or a card is there for no reason in words."""
    why = Why(cause, 2, 5, 0.93, relevant=False, split="held-out", graders=1, wanted=2, votes=(1, 3))
    assert reason_for(why)
    told = blind_reason(cause)
    assert told
    assert not any(word in told for word in ("93", "sure", "judge's", "not relevant", "disagree", "differ"))
