"""What every loss must keep; the formulas of each are in test_losses_binary.py and test_losses_graded.py."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retriever.losses import make_loss
from retriever.losses.binary_loss import BinaryLoss
from retriever.losses.list_loss import UNLABELLED, ListLoss
from retriever.training_lists import TWO_SIDED_LOSSES
from retriever.types import LOSS_NAMES

INFONCE_AT_ONE_POSITIVE = ("infonce", "rand1", "joint", "sum_marginal", "lse_pair", "contrastive", "list_mle")
TWO_SIDED = sorted(TWO_SIDED_LOSSES)


def fresh(name: str, *, temperature: float = 1.0) -> ListLoss:
    """Made anew for each call, so that a loss that draws draws the same."""
    return make_loss(name, temperature=temperature, relevant_from=2, generator=torch.Generator().manual_seed(7))


def tensors(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def value(
    name: str,
    scores: list[float],
    grades: list[float],
    *,
    weights: list[float] | None = None,
    temperature: float = 1.0,
) -> float:
    return float(
        fresh(name, temperature=temperature)(
            tensors(scores),
            tensors(grades),
            torch.ones(1, len(scores), dtype=torch.bool),
            None if weights is None else tensors(weights),
        )
    )


def test_the_temperature_divides_the_scores() -> None:
    """Multiplied instead, training at 0.05 would be four hundred times too soft."""
    expected = -math.log(math.exp(0.8 / 0.05) / (math.exp(0.8 / 0.05) + math.exp(0.7 / 0.05)))
    assert value("infonce", [0.8, 0.7], [2, 0], temperature=0.05) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("weights", [None, [0.4, 0.7, 1.0, 0.2]])
def test_losses_are_infonce_at_one_positive_where_their_formulas_say_so(weights: list[float] | None) -> None:
    """The choice of a loss must not matter where the papers say it cannot."""
    scores, grades = [0.3, 0.9, -0.4, 0.1], [3.0, 0.0, 0.0, 0.0]
    negatives = sum(w * math.exp(s) for w, s in zip((weights or [1] * 4)[1:], scores[1:], strict=True))
    expected = (weights or [1])[0] * -math.log(math.exp(0.3) / (math.exp(0.3) + negatives))
    for name in INFONCE_AT_ONE_POSITIVE:
        assert value(name, scores, grades, weights=weights) == pytest.approx(expected, rel=1e-12), name


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_the_gradient_agrees_with_finite_differences(name: str) -> None:
    """A loss may have the right value and teach the wrong thing."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    grades = tensors([3, 2, 0, 0, 1], [2, 0, 0, 0, 0], [3, 3, 2, UNLABELLED, 0])
    weights = torch.rand(3, 5, generator=generator, dtype=torch.float64) + 0.1
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 4] = False
    leaf = scores.clone().requires_grad_(True)
    fresh(name, temperature=0.5)(leaf, grades, mask, weights).backward()
    assert leaf.grad is not None
    assert bool((leaf.grad[mask] != 0).any())
    step = 1e-6
    for row, column in itertools.product(range(3), range(5)):
        moved = torch.zeros_like(scores)
        moved[row, column] = step
        up, down = (fresh(name, temperature=0.5)(scores + by, grades, mask, weights) for by in (moved, -moved))
        assert float(leaf.grad[row, column]) == pytest.approx(float(up - down) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_a_good_order_costs_less_than_the_order_swapped(name: str) -> None:
    """With the sign turned, training would bury the answers."""
    assert value(name, [0.9, 0.8, 0.1, 0.0], [3, 2, 0, 0]) < value(name, [0.0, 0.1, 0.8, 0.9], [3, 2, 0, 0])


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_padding_changes_neither_value_nor_gradient(name: str) -> None:
    """Lists have different lengths; what fills them up must not teach anything, not even when it is NaN."""
    loss = fresh(name, temperature=0.1)
    short = tensors([0.3, 0.2, 0.5]).requires_grad_(True)
    plain = loss(short, tensors([3, 0, 0]), torch.ones(1, 3, dtype=torch.bool))
    plain.backward()
    padded = tensors([0.3, 0.2, 0.5, math.nan, 9e9]).requires_grad_(True)
    mask = torch.tensor([[True, True, True, False, False]])
    longer = loss(padded, tensors([3, 0, 0, 3, math.nan]), mask, tensors([1, 1, 1, math.nan, 0]))
    longer.backward()
    assert float(longer.detach()) == pytest.approx(float(plain.detach()), rel=1e-12)
    assert short.grad is not None
    assert padded.grad is not None
    torch.testing.assert_close(padded.grad[:, :3], short.grad)
    assert padded.grad[:, 3:].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("name", [name for name in LOSS_NAMES if name != "rand1"])
def test_the_order_of_passages_and_queries_changes_nothing(name: str) -> None:
    """The order of labels in the database must not decide what a model learns."""
    loss = make_loss(name, temperature=0.1, relevant_from=2)
    scores, grades = tensors([0.3, 0.2, 0.5, 0.1], [0.1, 0.9, 0.2, 0.4]), tensors([3, 2, 0, 0], [0, 2, 0, 1])
    mask = torch.ones(2, 4, dtype=torch.bool)
    straight = float(loss(scores, grades, mask))
    columns, rows = [2, 0, 3, 1], [1, 0]
    shuffled = float(loss(scores[rows][:, columns], grades[rows][:, columns], mask))
    assert shuffled == pytest.approx(straight, rel=1e-12)


def test_the_losses_that_know_two_sides_only_are_named_as_such() -> None:
    """Lists are prepared without torch by that name: one missing there would train on lists it must skip."""
    assert {name for name in LOSS_NAMES if isinstance(fresh(name), BinaryLoss)} == set(TWO_SIDED_LOSSES)


@pytest.mark.parametrize("name", TWO_SIDED)
def test_a_weak_label_is_neither_positive_nor_negative(name: str) -> None:
    """Grade 1 is related: pushed away it teaches that related texts are wrong, pulled in that they are answers."""
    assert value(name, [0.4, 0.9, 0.2], [3, 1, 0]) == pytest.approx(value(name, [0.4, 0.2], [3, 0]), rel=1e-12)


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_a_query_without_both_sides_does_not_thin_the_mean(name: str) -> None:
    """Counted as loss 0 it would hide how badly the others do, and shrink their steps."""
    loss = make_loss(name, temperature=1.0, relevant_from=2)
    scores = tensors([0.4, 0.2], [0.4, 0.2], [0.4, 0.2])
    both = loss(scores, tensors([3, 0], [3, 3], [0, 0]), torch.ones(3, 2, dtype=torch.bool))
    assert float(both) == pytest.approx(value(name, [0.4, 0.2], [3, 0]), rel=1e-12)


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_skipped_lists_can_be_counted(name: str) -> None:
    """A training set in which half the lists teach nothing must say so, not train quietly on the rest."""
    grades = tensors([3, 0], [3, 3], [0, 0], [3, UNLABELLED], [0, UNLABELLED], [1, 0])
    counted = fresh(name).counts(grades, torch.ones(6, 2, dtype=torch.bool))
    assert counted.tolist() == [True, False, False, True, False, name not in TWO_SIDED]


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_a_label_of_weight_zero_is_as_if_it_were_not_there(name: str) -> None:
    """A revoked label given weight 0 would else go on teaching, or make the loss infinite."""
    without = value(name, [0.4, 0.2], [3, 0])
    assert value(name, [0.4, 0.9, 0.2, 0.8], [3, 3, 0, 0], weights=[1, 0, 1, 0]) == pytest.approx(without, rel=1e-12)


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_positives_trusted_half_as_much_pull_half_as_hard(name: str) -> None:
    """Uncertain labels must not drown the sure ones, whichever loss is chosen."""
    grades = [3.0, 3.0, 0.0, 0.0]
    sure = value(name, [0.4, 0.1, 0.2, 0.8], grades, weights=[0.8, 0.6, 1, 0.3])
    unsure = value(name, [0.4, 0.1, 0.2, 0.8], grades, weights=[0.4, 0.3, 1, 0.3])
    assert unsure == pytest.approx(sure / 2, rel=1e-12)


@pytest.mark.parametrize("name", LOSS_NAMES)
@settings(max_examples=25)
@given(
    rows=st.lists(
        st.tuples(st.floats(-1, 1), st.sampled_from([UNLABELLED, 0.0, 0.3, 1.0, 2.0, 2.6, 3.0]), st.floats(0.01, 1.0)),
        min_size=1,
        max_size=8,
    ),
    shift=st.floats(-5, 5),
)
def test_a_loss_is_never_negative_and_blind_to_the_level_of_scores(
    name: str, rows: list[tuple[float, float, float]], shift: float
) -> None:
    """Scores do not compare across queries: a loss that looked at their level would teach the query, not the order."""
    scores, grades, weights = (list(column) for column in zip(*rows, strict=True))
    plain = value(name, scores, grades, weights=weights, temperature=0.1)
    assert plain >= 0
    moved = value(name, [score + shift for score in scores], grades, weights=weights, temperature=0.1)
    assert moved == pytest.approx(plain, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_a_batch_in_which_no_query_counts_is_zero_with_a_gradient(name: str) -> None:
    """An optimiser step on a loss without a graph would crash a run at its last odd batch."""
    scores = tensors([0.4, 0.2]).requires_grad_(True)
    loss = make_loss(name, temperature=1.0, relevant_from=2)
    result = loss(scores, tensors([0, 0]), torch.ones(1, 2, dtype=torch.bool))
    result.backward()
    assert float(result.detach()) == 0.0
    assert scores.grad is not None
    assert scores.grad.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize("scores", [[1e6, -1e6], [-1e6, 1e6], [1e30, 1e30], [0.0, 0.0]])
def test_extreme_scores_give_finite_values_and_gradients(name: str, scores: list[float]) -> None:
    """One overflow makes every weight NaN, and the model is gone."""
    leaf = torch.tensor([scores], dtype=torch.float32, requires_grad=True)
    loss = make_loss(name, temperature=0.05, relevant_from=2)
    result = loss(leaf, torch.tensor([[3.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    result.backward()
    assert math.isfinite(float(result.detach()))
    assert leaf.grad is not None
    assert bool(torch.isfinite(leaf.grad).all())


@pytest.mark.parametrize("name", LOSS_NAMES)
@pytest.mark.parametrize(
    ("scores", "grades", "mask", "weights", "says"),
    [
        (torch.zeros(3), torch.zeros(3), torch.ones(3, dtype=torch.bool), None, "n_queries, list_length"),
        (torch.zeros(1, 3), torch.zeros(1, 2), torch.ones(1, 3, dtype=torch.bool), None, "grades have shape"),
        (torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(3, 1, dtype=torch.bool), None, "mask have shape"),
        (torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1, 3), None, "must be bool"),
        (torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 1), "weights have"),
        (torch.zeros(1, 2), torch.tensor([[3.0, math.nan]]), torch.ones(1, 2, dtype=torch.bool), None, "is NaN"),
        (torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), -torch.ones(1, 1), "negative or"),
        (torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool), None, "above max_grade 3"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    name: str,
    scores: torch.Tensor,
    grades: torch.Tensor,
    mask: torch.Tensor,
    weights: torch.Tensor | None,
    says: str,
) -> None:
    """Broadcasting would quietly give every query the labels of the first."""
    with pytest.raises(ValueError, match=says):
        make_loss(name, temperature=0.05, relevant_from=2)(scores, grades, mask, weights)


@pytest.mark.parametrize(
    ("name", "temperature", "relevant_from"),
    [("mse", 1, 2), ("infonce", 0, 2), ("infonce", 1, 0), ("kl", 1, 4), ("lambda", math.nan, 2)],
)
def test_a_loss_that_makes_no_sense_is_refused(name: str, temperature: float, relevant_from: float) -> None:
    """A typing error in the settings must not become a training run."""
    with pytest.raises(ValueError, match=r"loss|temperature|relevant_from"):
        make_loss(name, temperature=temperature, relevant_from=relevant_from)
