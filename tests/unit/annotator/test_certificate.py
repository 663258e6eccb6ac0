"""The certificate keeps its promise on batches made to break it, and refuses whatever it was not designed for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from annotator.audit_design import AuditDesign, design_audit, draw
from annotator.certificate import CertificateImpossible, ClassCertificate, accepted, certify, recall_of_relevant

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

N_PAIRS = 1200


def _batch(seed: int = 0, *, n: int = N_PAIRS) -> tuple[Bools, Floats]:
    random = np.random.default_rng(seed)
    return random.random(n) < 0.3, random.beta(6, 1, n)


def _just_above(predicted: Bools, conf: Floats, epsilon: float) -> Bools:
    """Wrong pairs such that every threshold of either class accepts just more than ε of them."""
    wrong = np.zeros(len(conf), dtype=np.bool_)
    for relevant in (False, True):
        order = np.flatnonzero(predicted == relevant)
        order = order[np.argsort(-conf[order])]
        quota = np.floor(epsilon * np.arange(len(order) + 1) * 1.03 + 1)
        wrong[order[np.diff(quota) > 0]] = True
        wrong[order[0]] = True
    return wrong


def _worst_at_the_bottom(predicted: Bools, conf: Floats, epsilon: float) -> Bools:
    """Right at the top, wrong at the bottom: the whole class is just above ε, the upper part far below."""
    wrong = np.zeros(len(conf), dtype=np.bool_)
    for relevant in (False, True):
        order = np.flatnonzero(predicted == relevant)
        order = order[np.argsort(conf[order])]
        wrong[order[: int(epsilon * len(order)) + 2]] = True
    return wrong


def _worst_at_the_top(predicted: Bools, conf: Floats, epsilon: float) -> Bools:
    """The surest pairs are wrong: confidences that mean the opposite of what they say."""
    return _worst_at_the_bottom(predicted, -conf, epsilon)


def _cliff(predicted: Bools, conf: Floats, epsilon: float) -> Bools:
    """Below ε down to the middle of each class, then well above: passing one step further breaks the promise."""
    wrong = np.random.default_rng(1).random(len(conf)) < np.where(conf > np.median(conf), epsilon / 3, 3 * epsilon)
    return np.asarray(wrong)


@pytest.mark.parametrize("population", [_just_above, _worst_at_the_bottom, _worst_at_the_top, _cliff])
@pytest.mark.parametrize("epsilon", [0.1, 0.25])
def test_the_promise_is_broken_no_more_often_than_it_says(population: object, epsilon: float) -> None:
    """Prevents a bound that is right on average and wrong for the batch at hand.

    Each class may break it with probability .1 (δ = .2). 250 draws; a true rate of .1 shows more than 40 in fewer than
    1 of 500 such tests (binomial, mean 25, standard deviation 4.7).
    """
    predicted, conf = _batch()
    wrong = population(predicted, conf, epsilon)  # type: ignore[operator]
    design = design_audit(predicted, conf, n=300, epsilon=epsilon, delta=0.2, seed=0)
    broken = {False: 0, True: 0}
    for seed in range(250):
        seeded = replace(design, seed=seed)
        sampled = draw(seeded, predicted, conf)
        kept = accepted(certify(seeded, predicted, conf, sampled, wrong[sampled]), predicted, conf, sampled)
        for relevant in broken:
            mine = kept & (predicted == relevant)
            broken[relevant] += bool(wrong[mine].sum() > epsilon * mine.sum() + 1e-9)
    assert max(broken.values()) <= 40


def test_a_good_judge_gets_its_certificate() -> None:
    """Prevents a rule that never breaks its promise because it never makes one; 40 draws, 7 in 8 of them issued."""
    predicted, conf = _batch(3, n=6000)
    wrong = np.random.default_rng(33).random(6000) < 1.0 - conf
    design = design_audit(predicted, conf, n=500, epsilon=0.15, seed=1)
    made: list[ClassCertificate] = []
    for seed in range(40):
        seeded = replace(design, seed=seed)
        sampled = draw(seeded, predicted, conf)
        certificates = certify(seeded, predicted, conf, sampled, wrong[sampled])
        kept = accepted(certificates, predicted, conf, sampled)
        assert not kept[sampled].any()
        for one in certificates:
            assert one.n_accepted == (kept & (predicted == one.relevant)).sum()
            assert one.coverage == pytest.approx(one.n_accepted / (one.n_class - one.n_audits))
            assert one.issued == (one.threshold is not None) == (one.n_accepted > 0)
            assert not one.issued or one.upper_bound <= 0.15
        made.extend(certificates)
    assert np.mean([one.issued for one in made]) > 0.875
    assert np.mean([one.coverage for one in made]) > 0.5


def _covered(certificates: tuple[ClassCertificate, ClassCertificate]) -> list[int]:
    return [one.n_accepted for one in certificates]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_another_error_never_accepts_more(data: st.DataObject) -> None:
    """Prevents a certificate that one more disagreement of a human would have widened."""
    predicted, conf = _batch(5)
    design = _design_of_five()
    sampled = draw(design, predicted, conf)
    rate = data.draw(st.sampled_from([0.0, 0.02, 0.06, 0.1]))
    wrong = np.random.default_rng(data.draw(st.integers(0, 999))).random(len(sampled)) < rate
    before = certify(design, predicted, conf, sampled, wrong)
    more = wrong.copy()
    more[data.draw(st.lists(st.integers(0, len(sampled) - 1), min_size=1, max_size=5))] = True
    after = certify(design, predicted, conf, sampled, more)
    assert all(x >= y for x, y in zip(_covered(before), _covered(after), strict=True))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_missing_answer_counts_as_an_error(data: st.DataObject) -> None:
    """Prevents the hard pairs from being skipped until the certificate passes."""
    predicted, conf = _batch(5)
    design = _design_of_five()
    sampled = draw(design, predicted, conf)
    wrong = np.random.default_rng(data.draw(st.integers(0, 999))).random(len(sampled)) < 0.03
    missing = data.draw(st.sets(st.integers(0, len(sampled) - 1), min_size=1, max_size=20))
    partly: list[bool | None] = [None if i in missing else bool(wrong[i]) for i in range(len(sampled))]
    as_errors = [True if i in missing else bool(wrong[i]) for i in range(len(sampled))]
    early = certify(design, predicted, conf, sampled, partly)
    assert _covered(early) == _covered(certify(design, predicted, conf, sampled, as_errors))
    assert sum(one.n_unanswered for one in early) == len(missing)
    assert all(
        x <= y for x, y in zip(_covered(early), _covered(certify(design, predicted, conf, sampled, wrong)), strict=True)
    )


_designs: dict[int, AuditDesign] = {}


def _design_of_five() -> AuditDesign:
    if 5 not in _designs:
        predicted, conf = _batch(5)
        _designs[5] = design_audit(predicted, conf, n=400, epsilon=0.15, seed=2)
    return _designs[5]


def test_the_design_is_the_same_after_json_and_the_draw_after_both() -> None:
    """Prevents a worker that restarts from auditing one sample and certifying another."""
    predicted, conf = _batch(5)
    design = _design_of_five()
    again = AuditDesign.from_json(design.to_json())
    assert again == design
    assert again.hash == design.hash
    assert np.array_equal(draw(again, predicted, conf), draw(design, predicted, conf))
    assert design.hash != replace(design, seed=design.seed + 1).hash
    with pytest.raises(CertificateImpossible, match="not a stored audit design"):
        AuditDesign.from_json('{"format": 1}')
    with pytest.raises(CertificateImpossible, match="format"):
        AuditDesign.from_json('{"format": 99}')


def test_the_sample_is_random_in_each_stratum_and_of_the_promised_size() -> None:
    """Prevents a sample that always contains the same pairs, or that forgets one class."""
    predicted, conf = _batch(5)
    design = _design_of_five()
    times = np.zeros(len(conf))
    for seed in range(300):
        sampled = draw(replace(design, seed=seed), predicted, conf)
        assert len(np.unique(sampled)) == len(sampled) == sum(design.n_by_class)
        assert int(predicted[sampled].sum()) == design.n_by_class[1]
        times[sampled] += 1
    for part in design.classes:
        inside = (predicted == part.relevant) & (conf >= part.thresholds[-1])
        share = part.n_frame_audits / part.n_frame
        spread = np.sqrt(300 * share * (1 - share))
        assert np.abs(times[inside] - 300 * share).max() < 5 * spread


def test_a_changed_batch_or_another_sample_is_refused() -> None:
    """Prevents a certificate for labels of a judge, calibrator or batch that nobody audited."""
    predicted, conf = _batch(5)
    design = _design_of_five()
    sampled = draw(design, predicted, conf)
    answers = np.zeros(len(sampled), dtype=np.bool_)
    moved = conf.copy()
    moved[0] = 1.0 - moved[0]
    with pytest.raises(CertificateImpossible, match="freeze the batch"):
        certify(design, predicted, moved, sampled, answers)
    other = sampled.copy()
    other[0] = next(i for i in range(len(conf)) if i not in set(sampled.tolist()))
    with pytest.raises(CertificateImpossible, match="not the sample"):
        certify(design, predicted, conf, other, answers)
    with pytest.raises(CertificateImpossible, match="None where missing"):
        certify(design, predicted, conf, sampled, answers[:-1])


def test_order_of_the_answers_does_not_matter() -> None:
    """Prevents a certificate that depends on who reviewed first."""
    predicted, conf = _batch(5)
    design = _design_of_five()
    sampled = draw(design, predicted, conf)
    wrong = np.random.default_rng(0).random(len(sampled)) < 0.04
    order = np.random.default_rng(1).permutation(len(sampled))
    assert certify(design, predicted, conf, sampled, wrong) == certify(
        design, predicted, conf, sampled[order], wrong[order]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": 1.0}, "epsilon"),
        ({"delta": 0.0}, "delta"),
        ({"n": 0}, "at least 1"),
        ({"n": N_PAIRS}, "some left to accept"),
        ({"allocation": (1, 2)}, "does not sum"),
        ({"allocation": (0, 300)}, None),
    ],
)
def test_an_impossible_design_says_why(change: dict[str, object], words: str | None) -> None:
    """Prevents a division by zero on screen, or a certificate with ε = 0 that looks like perfection."""
    predicted, conf = _batch()
    arguments: dict[str, object] = {"n": 300, "epsilon": 0.1, "delta": 0.05, "seed": 0, **change}
    if words is None:
        assert design_audit(predicted, conf, **arguments).n_by_class == (0, 300)  # type: ignore[arg-type]
        return
    with pytest.raises(CertificateImpossible, match=words):
        design_audit(predicted, conf, **arguments)  # type: ignore[arg-type]


def test_confidences_that_are_no_probabilities_are_refused() -> None:
    """Prevents raw scores or NaN from being taken for calibrated confidences."""
    predicted, conf = _batch()
    for bad in (np.nan, 1.2, -0.1):
        broken = conf.copy()
        broken[3] = bad
        with pytest.raises(CertificateImpossible, match="calibrate"):
            design_audit(predicted, broken, n=100, seed=0)
    with pytest.raises(CertificateImpossible, match=r"give \(n,\) bool"):
        design_audit(predicted.astype(int), conf, n=100, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_relevant", [0, 1, 2])
def test_a_class_that_hardly_exists_is_no_obstacle(n_relevant: int) -> None:
    """Prevents a batch in which the judge found nothing relevant from stopping everything."""
    conf = np.linspace(0.5, 1.0, 400)
    predicted = np.zeros(400, dtype=np.bool_)
    predicted[:n_relevant] = True
    design = design_audit(predicted, conf, n=120, epsilon=0.1, seed=0)
    sampled = draw(design, predicted, conf)
    irrelevant, relevant = certify(design, predicted, conf, sampled, np.zeros(len(sampled), dtype=np.bool_))
    assert irrelevant.issued
    assert relevant.n_accepted == 0
    assert (relevant.reason == "the batch has no pair of the class relevant") == (n_relevant == 0)


def test_one_confidence_for_all_pairs_still_gives_a_valid_rule() -> None:
    """Prevents a judge without confidences, all of one class at one value, from dividing by zero."""
    predicted = np.arange(900) % 3 == 0
    conf = np.where(predicted, 0.7, 0.95)
    design = design_audit(predicted, conf, n=200, epsilon=0.1, seed=0)
    sampled = draw(design, predicted, conf)
    irrelevant, _ = certify(design, predicted, conf, sampled, predicted[sampled] & (sampled % 2 == 0))
    assert irrelevant.coverage == 1.0


def test_the_recall_estimate_finds_the_relevant_pairs_that_were_lost() -> None:
    """Prevents a certificate from hiding that "mostly irrelevant" was bought with the relevant pairs.

    200 draws of a batch whose truth is known: the estimate is right on average to .02 (slightly low, as the threshold
    was chosen where the same sample shows few errors), and the interval covers it in at least 88 % (nominal 95 %).
    """
    random = np.random.default_rng(88)
    predicted, conf = _batch(8, n=3000)
    wrong = random.random(3000) < 1.0 - conf
    truth = predicted != wrong
    design = design_audit(predicted, conf, n=400, epsilon=0.2, seed=0)
    estimates, realised, inside = [], [], 0
    for seed in range(200):
        seeded = replace(design, seed=seed)
        sampled = draw(seeded, predicted, conf)
        certificates = certify(seeded, predicted, conf, sampled, wrong[sampled])
        recall = recall_of_relevant(seeded, certificates, predicted, conf, sampled, wrong[sampled])
        floors = [np.inf if one.threshold is None else one.threshold for one in certificates]
        lost = (~predicted & (conf >= floors[0]) & truth).sum() / truth.sum()
        estimates.append(recall.lost[0])
        realised.append(lost)
        inside += bool(recall.lost[1] <= lost <= recall.lost[2])
        assert recall.accepted[0] + recall.lost[0] + recall.undecided[0] == pytest.approx(1.0)
    assert np.mean(estimates) == pytest.approx(np.mean(realised), abs=0.02)
    assert inside >= 176


def test_faultless_audits_certify_a_small_class_whatever_the_calibrator_foresaw() -> None:
    """A design that bets all its risk on one start refuses a class in which not one of many audits was wrong."""
    predicted = np.ones(120, dtype=bool)
    for pessimism in (0.55, 0.65, 0.75, 0.85, 0.95):
        confidence = np.linspace(pessimism, 0.99, 120)
        design = design_audit(predicted, confidence, n=40, epsilon=0.2, delta=0.05, seed=3)
        sampled = draw(design, predicted, confidence)
        relevant = certify(design, predicted, confidence, sampled, [False] * len(sampled))[1]
        assert relevant.issued
        assert relevant.coverage > 0.3
