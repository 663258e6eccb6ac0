"""The plan says before any audit what audits will buy; the drift watch raises few false alarms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from annotator.audit_design import design_audit, draw
from annotator.audit_plan import plan_audits
from annotator.certificate import CertificateImpossible, certify
from annotator.drift import drift_e_process


def test_more_audits_or_a_larger_epsilon_buy_more_coverage_and_hours_are_audits_times_seconds() -> None:
    """Prevents a table that would make the owner pay more for less."""
    random = np.random.default_rng(0)
    predicted, conf = random.random(4000) < 0.3, random.beta(6, 1, 4000)
    rows = plan_audits(predicted, conf, epsilons=(0.1, 0.2), budgets=(100, 400, 9000), seconds_per_audit=18.0)
    assert [(row.epsilon, row.n_audits) for row in rows] == [(0.1, 100), (0.1, 400), (0.2, 100), (0.2, 400)]
    assert [row.hours for row in rows] == [0.5, 2.0, 0.5, 2.0]
    assert rows[0].accepted <= rows[1].accepted <= rows[3].accepted
    assert rows[0].accepted <= rows[2].accepted <= rows[3].accepted
    for row in rows:
        assert row.irrelevant.n_audits + row.relevant.n_audits == row.n_audits
        for one in (row.irrelevant, row.relevant):
            assert one.low <= one.coverage <= one.high


def test_the_plan_comes_true_when_the_confidences_are_right() -> None:
    """Prevents a plan from promising coverage that certificates do not deliver; mean of 120
    batches within .08."""
    random = np.random.default_rng(2)
    predicted, conf = random.random(5000) < 0.3, random.beta(5, 1, 5000)
    row = plan_audits(predicted, conf, epsilons=(0.1,), budgets=(500,))[0]
    design = design_audit(predicted, conf, n=500, epsilon=0.1, seed=0)
    got = []
    for seed in range(120):
        wrong = random.random(5000) < 1.0 - conf
        seeded = replace(design, seed=seed)
        sampled = draw(seeded, predicted, conf)
        certificates = certify(seeded, predicted, conf, sampled, wrong[sampled])
        got.append([one.n_accepted / one.n_class for one in certificates])
    mean = np.mean(got, axis=0)
    assert mean[0] == pytest.approx(row.irrelevant.coverage, abs=0.08)
    assert mean[1] == pytest.approx(row.relevant.coverage, abs=0.08)


def test_a_plan_that_cannot_be_made_says_why() -> None:
    """Prevents an empty table without a word."""
    predicted, conf = np.zeros(50, dtype=np.bool_), np.full(50, 0.9)
    with pytest.raises(CertificateImpossible, match="smaller than the batch"):
        plan_audits(predicted, conf, budgets=(100,))
    with pytest.raises(CertificateImpossible, match="positive"):
        plan_audits(predicted, conf, budgets=(10,), seconds_per_audit=0.0)


def test_the_e_value_of_three_checks_by_hand() -> None:
    """Prevents a wealth computed otherwise than the docstring says: ε = .5, bets .625, .75 and three times .95."""
    reading = drift_e_process([True, False, True], epsilon=0.5)
    paths = [(q / 0.5) ** 2 * (1 - q) / 0.5 for q in (0.625, 0.75, 0.95, 0.95, 0.95)]
    assert reading.e_value == pytest.approx(sum(paths) / 5)
    assert (reading.n_checks, reading.n_wrong, reading.alarm, reading.alarm_at) == (3, 2, False, None)


@pytest.mark.parametrize("population", [None, 600])
def test_looking_after_every_check_raises_no_more_false_alarms_than_stated(population: int | None) -> None:
    """Prevents certificates from being suspended by chance because somebody looks every day.

    Exactly ε wrong, 400 checks each looked at, 1,000 runs at α = .1: expected at most 100, and more than 129 in fewer
    than 1 of 500 such tests.
    """
    alarms = 0
    for seed in range(1000):
        random = np.random.default_rng(seed)
        if population is None:
            wrong = random.random(400) < 0.1
        else:
            wrong = random.permutation(population)[:400] < population // 10
        alarms += drift_e_process(wrong.tolist(), epsilon=0.1, alpha=0.1, population=population).alarm
    assert alarms <= 129


def test_a_judge_that_got_worse_is_noticed_and_the_alarm_stays() -> None:
    """Prevents drift from going unnoticed, and an alarm from vanishing after a few good checks."""
    random = np.random.default_rng(1)
    worse = (random.random(150) < 0.35).tolist()
    reading = drift_e_process([*worse, *[False] * 400], epsilon=0.1)
    assert reading.alarm
    assert reading.alarm_at is not None
    assert reading.alarm_at <= 150
    assert reading.peak >= 20 > reading.e_value


def test_more_errors_than_the_hypothesis_allows_are_certain_proof() -> None:
    """Prevents a NaN where a small accepted set has been checked to the end."""
    reading = drift_e_process([True, True], epsilon=0.1, population=10)
    assert reading.alarm
    assert drift_e_process([True] + [False] * 9, epsilon=0.1, population=10).alarm is False
    with pytest.raises(CertificateImpossible, match="checked once"):
        drift_e_process([False] * 11, epsilon=0.1, population=10)
    with pytest.raises(CertificateImpossible, match="alpha"):
        drift_e_process([], epsilon=0.1, alpha=0.0)
