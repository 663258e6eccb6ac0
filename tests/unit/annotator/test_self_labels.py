"""Features within one query's list and the classifier on them; expected numbers are computed by hand."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.errors import CalibrationImpossible, InputRefused
from annotator.self_labels import (
    FEATURES,
    LIST_DEPTH,
    LabelledPair,
    SelfLabelClassifier,
    feature_rows,
    fit_classifier,
    list_signals,
    proposed_grade,
)
from annotator.types import ListSignals, RetrievalSignals, Scale

BEST = (0.9, 0.8, 0.5, 0.2)
LOG_SUM = math.log(1 + math.exp(-1) + math.exp(-4) + math.exp(-7))  # of BEST at temperature 0.1, above the first


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.9, ListSignals(log_probability=-LOG_SUM, lead=0.1, above_median=0.25, rank=1)),
        (0.8, ListSignals(log_probability=-1 - LOG_SUM, lead=-0.1, above_median=0.15, rank=2)),
        (0.2, ListSignals(log_probability=-7 - LOG_SUM, lead=-0.7, above_median=-0.45, rank=4)),
        (0.1, ListSignals(log_probability=-8 - LOG_SUM, lead=-0.8, above_median=-0.55, rank=5)),
    ],
)
def test_a_passage_stands_in_its_list_where_one_computes_by_hand(score: float, expected: ListSignals) -> None:
    """A margin taken to the passage itself would make every first place look like a tie."""
    found = list_signals(score, BEST, temperature=0.1)
    assert found.rank == expected.rank
    for name in ("log_probability", "lead", "above_median"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name))


def test_two_passages_with_the_best_score_have_no_lead() -> None:
    """A tie for the first place must not look like a clear winner."""
    found = list_signals(0.9, (0.9, 0.9, 0.1))
    assert (found.lead, found.rank) == (0.0, 1)


@given(
    scores=st.lists(st.floats(-1, 1), min_size=3, max_size=40),
    shift=st.floats(-5, 5),
    at=st.integers(0, 39),
)
def test_adding_a_constant_to_all_scores_of_a_query_changes_no_feature(
    scores: list[float], shift: float, at: int
) -> None:
    """A cutoff on raw similarity accepts whole queries by chance: a contrastive loss never fixed their level."""
    rounded = [round(score, 3) for score in scores]  # so that a shift cannot merge or part two scores
    score = rounded[at % len(rounded)]
    ordered = sorted(rounded, reverse=True)[:LIST_DEPTH]
    moved = round(shift, 3)
    as_given = list_signals(score, ordered)
    shifted = list_signals(round(score + moved, 3), [round(other + moved, 3) for other in ordered])
    signals = [RetrievalSignals(listed=listed) for listed in (as_given, shifted)]
    rows = feature_rows(signals, FEATURES[:-2])
    assert rows[0] == pytest.approx(rows[1], abs=1e-6)


@pytest.mark.parametrize("best", [(), (0.5,), (0.4, 0.5), (0.5, math.nan), (math.inf, 0.5)])
def test_a_list_that_is_none_is_refused(best: tuple[float, ...]) -> None:
    """A list in the wrong order gives margins of the wrong sign, and labels nobody would question."""
    with pytest.raises(InputRefused):
        list_signals(0.1, best)


def test_bm25_enters_as_rank_and_share_of_the_best() -> None:
    """BM25's raw level grows with the length of the question; compared across queries it means nothing."""
    listed = list_signals(0.9, BEST)
    found = RetrievalSignals(bm25_score=6.0, best_bm25_score=8.0, bm25_rank=3, listed=listed)
    not_found = RetrievalSignals(listed=listed)
    rows = feature_rows([found, not_found], ("bm25_share", "log_bm25_rank"))
    assert rows.tolist() == [[0.75, pytest.approx(-math.log(3))], [0.0, pytest.approx(-math.log(LIST_DEPTH + 1))]]


def test_two_model_versions_that_agree_change_nothing_and_those_that_disagree_do() -> None:
    """Without the change a passage that jumped up in the last training would look as sure as one that stayed."""
    now = ListSignals(log_probability=-1.0, lead=0.1, above_median=0.3, rank=1)
    before = ListSignals(log_probability=-3.5, lead=-0.2, above_median=0.1, rank=8)
    names = ("log_probability_change", "log_rank_change")
    agreeing = RetrievalSignals(listed=now, listed_before=now)
    disagreeing = RetrievalSignals(listed=now, listed_before=before)
    assert feature_rows([agreeing, disagreeing], names).tolist() == [[0.0, 0.0], [2.5, pytest.approx(math.log(8))]]


def some_pairs(n_queries: int = 30, *, before: bool = False) -> list[LabelledPair]:
    """Four pairs a query, relevant with probability .8, .4, .15 and .05 by their place in the list."""
    rng = np.random.default_rng(7)
    pairs = []
    for query, score in itertools.product(range(n_queries), BEST):
        listed = list_signals(score, BEST)
        relevant = bool(rng.random() < (0.8, 0.4, 0.15, 0.05)[listed.rank - 1])
        signals = RetrievalSignals(listed=listed, listed_before=listed if before else None)
        pairs.append(LabelledPair(f"q{query}", signals, relevant))
    return pairs


def test_the_fitted_probabilities_match_how_often_each_place_is_relevant() -> None:
    """A classifier that does not return the frequencies it saw is not calibrated."""
    pairs = some_pairs(500)
    classifier = fit_classifier(pairs)
    for place in range(4):
        share = sum(pair.relevant for pair in pairs[place::4]) / 500
        assert classifier.p_relevant(pairs[place].signals) == pytest.approx(share, abs=0.05)
    p = classifier.p_relevant_of(feature_rows([pair.signals for pair in pairs], classifier.features))
    assert p.mean() == pytest.approx(sum(pair.relevant for pair in pairs) / len(pairs), abs=1e-6)
    assert (classifier.n_pairs, classifier.n_groups) == (2000, 500)


def test_a_better_place_in_the_list_never_makes_a_pair_less_relevant() -> None:
    """A few odd answers among few judgements would turn the ranking round, and label the best passages irrelevant."""
    turned = [replace(pair, relevant=not pair.relevant) for pair in some_pairs()]
    classifier = fit_classifier(turned)
    assert classifier.weights == pytest.approx([0.0] * len(classifier.features))


def test_a_classifier_comes_back_from_json_the_same() -> None:
    """A calibrator that changes when stored would label other pairs than the certificate covers."""
    classifier = fit_classifier(some_pairs())
    again = SelfLabelClassifier.from_json(json.loads(json.dumps(classifier.to_json())))
    assert again == classifier
    assert again.version == classifier.version
    assert replace(classifier, intercept=classifier.intercept + 0.1).version != classifier.version
    with pytest.raises(InputRefused):
        SelfLabelClassifier.from_json({**classifier.to_json(), "format": 0})


def test_the_agreement_of_two_versions_is_used_only_when_every_pair_has_it() -> None:
    """Half the pairs with an invented agreement of 0 would teach that agreement means nothing."""
    everywhere, nowhere = some_pairs(before=True), some_pairs()
    assert fit_classifier(everywhere).needs_model_before
    mixed = fit_classifier([*everywhere[:60], *nowhere[60:]])
    assert not mixed.needs_model_before
    with pytest.raises(InputRefused):
        fit_classifier(everywhere).p_relevant(nowhere[0].signals)


def test_too_few_labelled_pairs_of_a_side_are_refused() -> None:
    """Nine relevant pairs would fit a line through chance."""
    pairs = [replace(pair, relevant=number < 9) for number, pair in enumerate(some_pairs())]
    with pytest.raises(CalibrationImpossible, match="9 relevant"):
        fit_classifier(pairs)


@given(p=st.floats(0, 1), max_grade=st.integers(1, 9))
def test_no_probability_ever_gives_a_middle_grade(p: float, max_grade: int) -> None:
    """A middle grade is a finer judgement than a margin can give; self-labelled, it would train as certain."""
    grade = proposed_grade(p, Scale(max_grade=max_grade, relevant_from=1))
    assert grade == (max_grade if p >= 0.5 else 0)
