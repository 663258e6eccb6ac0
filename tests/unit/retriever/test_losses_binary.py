"""The formulas of the losses that know positives and negatives only."""

import math

import pytest
import torch

from retriever.losses import make_loss

# Expected values: e = math.e, temperature 1, written out from the published formulas.
E = math.e


def tensors(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def value(name: str, scores: list[float], grades: list[float], *, weights: list[float] | None = None) -> float:
    loss = make_loss(name, temperature=1.0, relevant_from=2)
    return float(
        loss(
            tensors(scores),
            tensors(grades),
            torch.ones(1, len(scores), dtype=torch.bool),
            None if weights is None else tensors(weights),
        )
    )


def gradient(name: str, scores: list[float], grades: list[float]) -> list[float]:
    leaf = tensors(scores).requires_grad_(True)
    loss = make_loss(name, temperature=1.0, relevant_from=2)
    loss(leaf, tensors(grades), torch.ones(1, len(scores), dtype=torch.bool)).backward()
    assert leaf.grad is not None
    return [float(one) for one in leaf.grad[0]]


def test_sum_marginal_is_the_formula_worked_out_by_hand() -> None:
    """A wrong sum trains every model on something nobody chose, and only a hand-made number would show it."""
    expected = -math.log((E + 1) / (E + 1 + E**2 + E**-1))
    assert value("sum_marginal", [1, 0, 2, -1], [3, 2, 0, 0]) == pytest.approx(expected, rel=1e-12)


def test_infonce_leaves_the_other_positives_out_of_each_denominator() -> None:
    """With them inside, one positive pushes the other away: the false negative of the same query."""
    negatives = E**2 + E**-1
    expected = (-math.log(E / (E + negatives)) - math.log(1 / (1 + negatives))) / 2
    assert value("infonce", [1, 0, 2, -1], [3, 2, 0, 0]) == pytest.approx(expected, rel=1e-12)


def test_infonce_weighs_positives_by_their_labels() -> None:
    """A label trusted a quarter as much must pull a quarter as hard, or uncertain labels drown the sure ones."""
    sure, unsure = -math.log(E / (E + 1)), -math.log(E**2 / (E**2 + 1))
    expected = (1.0 * sure + 0.25 * unsure) / 1.25
    assert value("infonce", [1, 2, 0], [3, 3, 0], weights=[1, 0.25, 1]) == pytest.approx(expected, rel=1e-12)


def test_sum_marginal_weighs_positives_and_negatives_inside_the_sum() -> None:
    """As above, for the loss that adds the positives up; weights are relative to the surest positive."""
    expected = 0.5 * -math.log((E + 0.5 * E**2) / (E + 0.5 * E**2 + 0.1))
    assert value("sum_marginal", [1, 2, 0], [3, 3, 0], weights=[0.5, 0.25, 0.1]) == pytest.approx(expected, rel=1e-12)


def test_joint_is_the_formula_worked_out_by_hand() -> None:
    """A wrong sum trains every model on something nobody chose, and only a hand-made number would show it."""
    total = E + 1 + E**2 + E**-1
    expected = -math.log(E / total) - math.log(1 / total)
    assert value("joint", [1, 0, 2, -1], [3, 2, 0, 0]) == pytest.approx(expected, rel=1e-12)


def test_joint_weighs_each_term_and_each_share() -> None:
    """Weights relative to the surest positive, .5: 1 and .5 in the softmax and on the terms; then .5 on the whole."""
    total = E + 0.5 * E**2 + 0.1
    expected = 0.5 * (-math.log(E / total) - 0.5 * math.log(0.5 * E**2 / total))
    assert value("joint", [1, 2, 0], [3, 3, 0], weights=[0.5, 0.25, 0.1]) == pytest.approx(expected, rel=1e-12)


def test_lse_pair_is_the_formula_worked_out_by_hand() -> None:
    """One logarithm over all pairs; a logarithm each would be `lambda`."""
    pairs = [math.exp(n - p) for p in (1, 0) for n in (2, -1)]
    assert value("lse_pair", [1, 0, 2, -1], [3, 2, 0, 0]) == pytest.approx(math.log(1 + sum(pairs)), rel=1e-12)


def test_lse_pair_weighs_each_pair_by_both_labels() -> None:
    """A doubtful negative against a doubtful positive is doubtful twice."""
    expected = 0.5 * math.log(1 + 1 * 0.1 * math.exp(0 - 1) + 0.5 * 0.1 * math.exp(0 - 2))
    assert value("lse_pair", [1, 2, 0], [3, 3, 0], weights=[0.5, 0.25, 0.1]) == pytest.approx(expected, rel=1e-12)


def test_the_gradients_on_a_positive_are_those_of_the_analysis() -> None:
    """Which positives a loss favours is why one is chosen over another: it must be as docs and papers say."""
    scores, grades = [0.7, -0.3, 0.4, -1.0], [3.0, 2.0, 0.0, 0.0]
    total = sum(math.exp(score) for score in scores)
    shares = [math.exp(score) / total for score in scores]
    joint = [2 * shares[p] - 1 for p in (0, 1)]
    marginal = [shares[p] - shares[p] / (shares[0] + shares[1]) for p in (0, 1)]
    assert gradient("joint", scores, grades)[:2] == pytest.approx(joint, rel=1e-9)
    assert gradient("sum_marginal", scores, grades)[:2] == pytest.approx(marginal, rel=1e-9)
    strong, weak = gradient("lse_pair", scores, grades)[:2]
    assert strong < 0
    assert weak / strong == pytest.approx(math.exp(0.3) / math.exp(-0.7), rel=1e-9)


def test_joint_can_push_the_best_positive_down_and_the_others_cannot() -> None:
    """The known flaw of the joint likelihood: it must be joint's alone."""
    scores, grades = [3.0, 0.0, 0.0], [3.0, 3.0, 0.0]
    assert gradient("joint", scores, grades)[0] > 0
    for name in ("infonce", "sum_marginal", "lse_pair"):
        assert max(gradient(name, scores, grades)[:2]) < 0


def test_rand1_draws_one_positive_and_leaves_the_others_out() -> None:
    """With the other positive in the denominator, the draw of one would push the other away."""
    negatives = E**2 + E**-1
    possible = [-math.log(E / (E + negatives)), -math.log(1 / (1 + negatives))]
    loss = make_loss("rand1", temperature=1.0, relevant_from=2, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 4, dtype=torch.bool)
    seen = {round(float(loss(tensors([1, 0, 2, -1]), tensors([3, 2, 0, 0]), mask)), 9) for _ in range(40)}
    assert seen == {round(one, 9) for one in possible}


def test_rand1_draws_by_trust_so_that_its_mean_is_infonce() -> None:
    """A label of a tenth of the trust drawn as often as a sure one would count as much as it."""
    n = 4_000
    lists = [[1.0, 2.0, 0.0], [3.0, 3.0, 0.0], [1.0, 0.25, 1.0]]
    scores, grades, weights = (tensors(row).expand(n, -1) for row in lists)
    loss = make_loss("rand1", temperature=1.0, relevant_from=2, generator=torch.Generator().manual_seed(1))
    mean = float(loss(scores, grades, torch.ones(n, 3, dtype=torch.bool), weights))
    sure, unsure = -math.log(E / (E + 1)), -math.log(E**2 / (E**2 + 1))
    # Standard deviation of one draw: |sure − unsure| · √(.8 · .2) = .075; of the mean of 4,000: .0012.
    assert mean == pytest.approx(0.8 * sure + 0.2 * unsure, abs=0.006)


def test_rand1_repeats_its_draws_under_the_same_generator() -> None:
    """A run that cannot be repeated cannot be audited."""
    args = (tensors([1, 0, 2, -1]), tensors([3, 2, 0, 0]), torch.ones(1, 4, dtype=torch.bool))
    runs = []
    for _ in range(2):
        loss = make_loss("rand1", temperature=1.0, relevant_from=2, generator=torch.Generator().manual_seed(5))
        runs.append([float(loss(*args)) for _ in range(12)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 2
