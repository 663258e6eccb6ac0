"""What `bench certificate` measures on: no human label of a batch reaches a calibrator; its rules are what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.certificate_batches import SOURCES, Batch, batch_of, halves, read_diras
from bench.certificate_rules import equal_parts, from_the_top, oracle_coverage, textbook


def test_what_people_said_of_a_batch_reaches_neither_predictions_nor_confidences(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a bench that holds because the calibrator had seen the answers."""
    monkeypatch.setenv("RELABEL_SHARED_DATA", str(shared_data))
    train, test = next(halves(read_diras(), times=1, seed=0))
    assert set(train.queries).isdisjoint(test.queries)
    assert len(train.queries) + len(test.queries) == 660
    inverted = replace(test, truth=~test.truth)
    for source in SOURCES:
        batch, other = (batch_of(source, train=train, test=one) for one in (test, inverted))
        assert np.array_equal(batch.predicted, other.predicted)
        assert np.array_equal(batch.confidence, other.confidence)
        assert 0.0 <= batch.confidence.min() <= batch.confidence.max() <= 1.0


def test_the_textbook_rules_by_hand() -> None:
    """Prevents a comparison with a rule that nobody proposes."""
    p = [0.02, 0.9, 0.004, 0.001, 0.3]
    assert equal_parts(p, 0.025) == 3
    assert equal_parts([0.9, 0.9], 0.025) is None
    assert from_the_top(p, 0.025) == 0
    assert from_the_top([0.01, 0.02], 0.025) == 1
    assert from_the_top([0.03, 0.0], 0.025) is None


def test_the_oracle_by_hand() -> None:
    """Prevents an oracle that splits pairs of equal confidence: 1 wrong of 4 at .8 and above, 0 of 1 at .9."""
    batch = Batch(
        predicted=np.zeros(6, dtype=np.bool_),
        confidence=np.array([0.9, 0.8, 0.8, 0.8, 0.6, 0.6]),
        truth=np.array([False, False, True, False, True, True]),
    )
    assert oracle_coverage(batch, relevant=False, epsilon=0.1) == pytest.approx(1 / 6)
    assert oracle_coverage(batch, relevant=False, epsilon=0.25) == pytest.approx(4 / 6)
    assert oracle_coverage(batch, relevant=True, epsilon=0.25) == 0.0


def test_a_textbook_rule_accepts_a_faultless_class() -> None:
    """Prevents the comparison from losing by a mistake of ours."""
    random = np.random.default_rng(0)
    batch = Batch(np.zeros(2000, dtype=np.bool_), random.random(2000), np.zeros(2000, dtype=np.bool_))
    for rule in (equal_parts, from_the_top):
        coverage, broken = textbook(rule, batch, relevant=False, n=400, epsilon=0.1, level=0.025, seed=0)
        assert (coverage, broken) == (1.0, False)
