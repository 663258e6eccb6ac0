"""Calibrators: what they learn, what they refuse, and that they survive storage."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.calibration import Calibrator, JudgedInput, cross_fit, fit_calibrator, folds_by_query
from annotator.calibration_measures import auroc, expected_calibration_error
from annotator.errors import CalibrationImpossible, CalibratorInvalid, InputRefused
from annotator.shrunk_logistic import expit
from annotator.types import ConfidenceKind, RetrievalSignals, Scale

SCALE = Scale()
VERBAL, VOTES = ConfidenceKind.VERBAL, ConfidenceKind.VOTES


def overconfident(n: int, *, seed: int = 0) -> tuple[list[JudgedInput], list[bool], list[int], np.ndarray]:
    """A judge whose 'relevant' is right 55 % of the time at .8 and 70 % at 1.0, whose 'irrelevant' nearly always is."""
    generator = np.random.default_rng(seed)
    grades = generator.integers(0, 4, n)
    stated = generator.choice([0.8, 1.0], n)
    side = grades >= 2
    truth = np.where(side, np.where(stated == 0.8, 0.55, 0.7), np.where(stated == 0.8, 0.1, 0.02))
    inputs = [JudgedInput(int(g), float(c), None, kind=VERBAL) for g, c in zip(grades, stated, strict=True)]
    return inputs, [bool(x) for x in generator.random(n) < truth], [i % 12 for i in range(n)], truth


def test_an_overconfident_judge_is_brought_down_where_it_is_wrong_and_only_there() -> None:
    """Disaster: 'relevant, 100 %' accepted although people agree in 70 % of such pairs."""
    inputs, relevant, queries, truth = overconfident(1200)
    fitted = fit_calibrator(inputs, relevant, queries, scale=SCALE, kind=VERBAL)
    p = fitted.p_relevant(inputs)
    assert float(np.abs(p - truth).max()) < 0.08
    assert expected_calibration_error(p, relevant) < 0.03
    confidence = fitted.confidence(inputs, SCALE)
    side = np.array([one.grade >= 2 for one in inputs])
    assert confidence == pytest.approx(np.where(side, p, 1 - p))


def test_few_reviews_move_the_raw_confidence_less_than_many() -> None:
    """Disaster: 30 reviews with luck in them turned into certainty."""
    inputs, relevant, queries, truth = overconfident(1200)
    raw = np.array([float(one.confidence or 0.0) if one.grade >= 2 else 0.0 for one in inputs])
    few = fit_calibrator(inputs[:40], relevant[:40], queries[:40], scale=SCALE, kind=VERBAL).p_relevant(inputs)
    many = fit_calibrator(inputs, relevant, queries, scale=SCALE, kind=VERBAL).p_relevant(inputs)
    sure = raw == 1.0
    assert float(many[sure].mean()) < float(few[sure].mean()) < 0.99
    assert float(np.abs(many - truth).mean()) < float(np.abs(few - truth).mean())


def test_without_any_evidence_against_it_the_raw_confidence_stays() -> None:
    """Disaster: a well calibrated judge made worse by calibrating it."""
    generator = np.random.default_rng(3)
    raw = generator.uniform(0.05, 0.95, 600)
    inputs = [JudgedInput(2 if p >= 0.5 else 1, float(max(p, 1 - p)), None) for p in raw]
    relevant = [bool(x) for x in generator.random(600) < raw]
    fitted = fit_calibrator(inputs, relevant, [i % 20 for i in range(600)], scale=SCALE, kind=VERBAL)
    assert float(np.abs(fitted.p_relevant(inputs) - raw).mean()) < 0.03


def test_the_same_reviews_give_the_same_calibrator_in_any_process_and_order_of_queries() -> None:
    """Disaster: a certificate suspended because its calibrator got another hash without any change."""
    inputs, relevant, queries, _ = overconfident(200)
    one = fit_calibrator(inputs, relevant, queries, scale=SCALE, kind=VERBAL)
    two = fit_calibrator(inputs, relevant, [f"query {q}" for q in queries], scale=SCALE, kind=VERBAL)
    assert one == two
    assert one.version == two.version
    other = fit_calibrator(inputs[1:], relevant[1:], queries[1:], scale=SCALE, kind=VERBAL)
    assert other.version != one.version
    assert (one.n_reviews, one.n_queries, one.n_relevant) == (200, 12, sum(relevant))


def test_a_stored_calibrator_comes_back_whole() -> None:
    """Disaster: a threshold that meant .90 yesterday and .89 after a restart."""
    inputs, relevant, queries, _ = overconfident(150)
    fitted = fit_calibrator(inputs, relevant, queries, scale=SCALE, kind=VERBAL)
    again = Calibrator.from_json(fitted.to_json())
    assert again == fitted
    assert again.version == fitted.version
    assert (again.p_relevant(inputs) == fitted.p_relevant(inputs)).all()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', "null", '{"format":1,"kind":"verbal"}', '{"format":1,"kind":"gut feeling"}'],
)
def test_what_is_no_stored_calibrator_is_refused(text: str) -> None:
    """Disaster: a damaged row that calibrates everything to one half."""
    with pytest.raises(CalibratorInvalid):
        Calibrator.from_json(text)


def test_a_damaged_calibrator_is_refused() -> None:
    """Disaster: one coefficient lost, the rest applied to the wrong features."""
    inputs, relevant, queries, _ = overconfident(150)
    fitted = fit_calibrator(inputs, relevant, queries, scale=SCALE, kind=VERBAL)
    shorter = dataclasses.replace(fitted, coefficients=fitted.coefficients[:-1])
    with pytest.raises(CalibratorInvalid, match="uneven"):
        Calibrator.from_json(shorter.to_json())
    renamed = dataclasses.replace(fitted, names=("mood", *fitted.names[1:]))
    with pytest.raises(CalibratorInvalid, match="mood"):
        Calibrator.from_json(renamed.to_json())


def test_too_few_reviews_queries_or_classes_say_the_numbers() -> None:
    """Disaster: a calibrator of eight reviews that looks like any other."""
    inputs, relevant, queries, _ = overconfident(100)

    def fit(n: int, answers: list[bool], of: list[int]) -> Calibrator:
        return fit_calibrator(inputs[:n], answers[:n], of[:n], scale=SCALE, kind=VERBAL)

    with pytest.raises(CalibrationImpossible, match="29 blind reviews of 12 queries"):
        fit(29, relevant, queries)
    with pytest.raises(CalibrationImpossible, match="100 blind reviews of 2 queries"):
        fit(100, relevant, [i % 2 for i in range(100)])
    with pytest.raises(CalibrationImpossible, match="0 of them relevant"):
        fit(100, [False] * 100, queries)
    with pytest.raises(CalibrationImpossible, match="3 relevant and 3 not relevant"):
        fit(100, [True] * 98 + [False] * 2, queries)


def test_kinds_scales_and_votes_are_never_mixed() -> None:
    """Disaster: a token probability read as if a model had said it in words."""
    inputs, relevant, queries, _ = overconfident(100)
    fitted = fit_calibrator(inputs, relevant, queries, scale=SCALE, kind=VERBAL)
    with pytest.raises(InputRefused, match="kind token among those of kind verbal"):
        fitted.p_relevant([JudgedInput(1, 0.9, None, kind=ConfidenceKind.TOKEN)])
    with pytest.raises(InputRefused, match="grade 4 is not on the scale"):
        fitted.p_relevant([JudgedInput(4, 0.9, None)])
    with pytest.raises(InputRefused, match="no probability"):
        fitted.p_relevant([JudgedInput(1, 1.5, None)])
    with pytest.raises(InputRefused, match="2 votes for a calibrator fitted on 0"):
        fitted.p_relevant([JudgedInput(1, 0.9, None, votes=(1, 1))])
    with pytest.raises(InputRefused, match="relevant from 1"):
        fitted.confidence(inputs, Scale(relevant_from=1))
    with pytest.raises(InputRefused, match="one of each"):
        fit_calibrator(inputs, relevant[:-1], queries, scale=SCALE, kind=VERBAL)
    assert fitted.p_relevant([]).shape == (0,)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([40, 120]))
def test_a_surer_judge_is_never_believed_less(seed: int, n: int) -> None:
    """Disaster: .9 accepted and .95 rejected because four reviews happened to fall that way."""
    generator = np.random.default_rng(seed)
    grades = generator.integers(0, 4, n)
    inputs = [JudgedInput(int(g), float(c), None) for g, c in zip(grades, generator.uniform(0.5, 1, n), strict=True)]
    relevant = [bool(x) for x in generator.random(n) < generator.uniform(0.2, 0.8)]
    fitted = fit_calibrator(inputs, relevant, [i % 8 for i in range(n)], scale=SCALE, kind=VERBAL)
    steps = np.linspace(0.0, 1.0, 21)
    for grade in SCALE.grades:
        rising = fitted.confidence([JudgedInput(grade, float(c), None) for c in steps], SCALE)
        assert (np.diff(rising) >= -1e-9).all()
        assert (rising > 0).all()
        assert (rising < 1).all()


def votes_of_judges(n: int, *, seed: int = 0) -> tuple[list[JudgedInput], list[bool], list[int]]:
    """Judge 0 is good, judge 1 is a coin, judge 2 is fair and silent in a third of the pairs."""
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.4
    right = generator.random((n, 3)) < np.array([0.9, 0.5, 0.75])
    inputs = []
    for i in range(n):
        votes: list[int | None] = [(2 if right[i, j] == truth[i] else 0) for j in range(3)]
        if generator.random() < 1 / 3:
            votes[2] = None
        inputs.append(JudgedInput(votes[0] or 0, None, None, votes=tuple(votes), kind=VOTES))
    return inputs, [bool(t) for t in truth], [i % 25 for i in range(n)]


def test_a_fuser_learns_whom_to_believe() -> None:
    """Disaster: a coin's vote counted like a good judge's."""
    inputs, relevant, queries = votes_of_judges(800)
    new, truth, _ = votes_of_judges(800, seed=1)
    fused = fit_calibrator(inputs, relevant, queries, scale=SCALE, kind=VOTES).p_relevant(new)
    share = [sum(v == 2 for v in one.votes if v is not None) / sum(v is not None for v in one.votes) for one in new]
    better, plain = auroc(fused, truth), auroc(share, truth)
    assert better is not None
    assert plain is not None
    assert better > plain + 0.03
    assert expected_calibration_error(fused, truth) < 0.06


def test_a_missing_vote_is_not_a_vote_for_irrelevant() -> None:
    """Disaster: an unreadable reply that pulls a pair toward grade 0."""
    inputs, relevant, queries = votes_of_judges(800)
    fitted = fit_calibrator(inputs, relevant, queries, scale=SCALE, kind=VOTES)
    yes, silent, no = fitted.p_relevant(
        [JudgedInput(2, None, None, votes=(2, 2, third), kind=VOTES) for third in (2, None, 0)]
    )
    assert no < silent < yes
    nobody = fitted.p_relevant([JudgedInput(2, None, None, votes=(None, None, None))])
    assert 0.0 < float(nobody[0]) < 1.0
    with pytest.raises(InputRefused, match="2 votes beside 3"):
        fitted.p_relevant([inputs[0], JudgedInput(2, None, None, votes=(2, 2))])


def test_a_better_rank_helps_where_rank_tells_something() -> None:
    """Disaster: retrieval signals stored and never used, or read upside down."""
    generator = np.random.default_rng(5)
    n = 900
    ranks = generator.integers(1, 31, n)
    relevant = [bool(x) for x in generator.random(n) < expit(2.0 - 1.2 * np.log(ranks))]
    inputs = [JudgedInput(2, 0.7, None, signals=RetrievalSignals(dense_rank=int(rank), pool_size=30)) for rank in ranks]
    fitted = fit_calibrator(inputs, relevant, [i % 30 for i in range(n)], scale=SCALE, kind=VERBAL)
    first, last, gone = fitted.p_relevant(
        [JudgedInput(2, 0.7, None, signals=RetrievalSignals(dense_rank=rank, pool_size=30)) for rank in (1, 30, None)]
    )
    assert first > last + 0.3
    assert gone <= last


def test_cross_fitting_never_looks_at_the_query_it_judges() -> None:
    """Disaster: an error figure that is too good because the answer was in the training part."""
    inputs, relevant, queries, _ = overconfident(240)
    p = cross_fit(inputs, relevant, queries, scale=SCALE, kind=VERBAL)
    flipped = [not r if q == 3 else r for r, q in zip(relevant, queries, strict=True)]
    again = cross_fit(inputs, flipped, queries, scale=SCALE, kind=VERBAL)
    own = np.array(queries) == 3
    assert p[own] == pytest.approx(again[own], abs=0)
    assert (p[~own] != again[~own]).any()
    assert np.isfinite(p).all()


def test_folds_keep_a_query_together_and_are_about_equal() -> None:
    """Disaster: near-identical pairs of one query on both sides of a split."""
    queries = ["a"] * 50 + ["b"] * 30 + ["c"] * 20 + ["d"] * 20
    fold = folds_by_query(queries, 2)
    assert all(len({int(f) for f, q in zip(fold, queries, strict=True) if q == name}) == 1 for name in "abcd")
    assert sorted(np.bincount(fold).tolist()) == [50, 70] or sorted(np.bincount(fold).tolist()) == [60, 60]
    assert int(folds_by_query(queries, 9).max()) == 3
    with pytest.raises(ValueError, match="2 or more"):
        folds_by_query(queries, 1)
