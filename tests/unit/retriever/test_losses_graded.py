"""The formulas of the losses that use grades, and of the anchored term."""

import math

import pytest
import torch

from retriever.losses import make_loss
from retriever.losses.anchored import Anchored
from retriever.losses.arl2 import ARL2
from retriever.losses.kl import KL
from retriever.losses.list_loss import UNLABELLED, ListLoss
from retriever.losses.list_net import ListNet

# Expected values: e = math.e, temperature 1, grades 0 to 3, written out from the published formulas.
E = math.e
SCORES, GRADES = [1.0, 0.0, 2.0, -1.0], [3.0, 2.0, 0.0, 0.0]
WEIGHTS = [0.5, 0.25, 0.8, 0.4]  # of the upper, relative to the surest: 1 and .5; the whole is multiplied by .5


def tensors(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def apply(loss: ListLoss, scores: list[float], grades: list[float], weights: list[float] | None = None) -> float:
    mask = torch.ones(1, len(scores), dtype=torch.bool)
    return float(loss(tensors(scores), tensors(grades), mask, None if weights is None else tensors(weights)))


def value(name: str, scores: list[float], grades: list[float], weights: list[float] | None = None) -> float:
    return apply(make_loss(name, temperature=1.0, relevant_from=2), scores, grades, weights)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_lambda_is_the_mean_over_all_graded_pairs() -> None:
    """A pair of equal grades, or one missed, and the order learnt is not the order judged."""
    leads = [1 - 0, 1 - 2, 1 + 1, 0 - 2, 0 + 1]  # grade 3 over 2, over both 0; grade 2 over both 0
    assert value("lambda", SCORES, GRADES) == pytest.approx(sum(softplus(-lead) for lead in leads) / 5, rel=1e-12)


def test_lambda_weighs_a_pair_by_both_labels() -> None:
    """A pair is as sure as both its labels."""
    pairs = [(1, 1 * 0.5), (-1, 1 * 0.8), (2, 1 * 0.4), (-2, 0.5 * 0.8), (1, 0.5 * 0.4)]
    expected = 0.5 * sum(w * softplus(-lead) for lead, w in pairs) / sum(w for _, w in pairs)
    assert value("lambda", SCORES, GRADES, WEIGHTS) == pytest.approx(expected, rel=1e-12)


def test_margin_asks_for_as_much_lead_as_the_grades_differ() -> None:
    """Gaps 1, 3, 3, 2, 2 and leads 1, −1, 2, −2, 1 leave 0, 4, 1, 4, 1 to pay: 2 on the mean of five."""
    assert value("margin", SCORES, GRADES) == pytest.approx(2.0, rel=1e-12)


def test_margin_weighs_a_pair_by_both_labels() -> None:
    """The same costs under weights .5, .8, .4, .4, .2 and .5 on the whole."""
    expected = 0.5 * (0.5 * 0 + 0.8 * 4 + 0.4 * 1 + 0.4 * 4 + 0.2 * 1) / 2.3
    assert value("margin", SCORES, GRADES, WEIGHTS) == pytest.approx(expected, rel=1e-12)


def test_margin_leaves_a_pair_alone_that_is_far_enough_apart() -> None:
    """A margin-MSE would pull good answers back toward bad ones."""
    leaf = tensors([9.0, 0.0]).requires_grad_(True)
    result = make_loss("margin", temperature=1.0, relevant_from=2)(leaf, tensors([3, 0]), torch.ones(1, 2).bool())
    result.backward()
    assert float(result.detach()) == 0.0
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [[0.0, 0.0]]


def test_list_mle_puts_each_passage_against_those_graded_lower() -> None:
    """Ties stay out of each other's denominators, so the order of equal grades in the database teaches nothing."""
    below_2 = E**2 + E**-1
    expected = (-math.log(E / (E + 1 + below_2)) - math.log(1 / (1 + below_2))) / 2
    assert value("list_mle", SCORES, GRADES) == pytest.approx(expected, rel=1e-12)


def test_list_mle_weighs_terms_and_denominators() -> None:
    """As in InfoNCE: a term by its own label, a rival by its own."""
    below_2 = 0.8 * E**2 + 0.4 * E**-1
    first, second = -math.log(E / (E + 0.5 * 1 + below_2)), -math.log(1 / (1 + below_2))
    expected = 0.5 * (1 * first + 0.5 * second) / 1.5
    assert value("list_mle", SCORES, GRADES, WEIGHTS) == pytest.approx(expected, rel=1e-12)


def test_contrastive_puts_the_best_against_all_others() -> None:
    """Unlike InfoNCE it pushes lesser positives and weak labels down; that is what it is chosen for."""
    expected = -math.log(E / (E + 1 + E**2 + E**-1))
    assert value("contrastive", SCORES, GRADES) == pytest.approx(expected, rel=1e-12)


def test_contrastive_keeps_ties_at_the_top_apart() -> None:
    """Two passages of the highest grade must not push each other away."""
    first, second = -math.log(E / (E + 1 + E**-1)), -math.log(E**2 / (E**2 + 1 + E**-1))
    assert value("contrastive", [1, 2, 0, -1], [3, 3, 1, 0]) == pytest.approx((first + second) / 2, rel=1e-12)


def test_contrastive_trusts_a_list_as_its_best_label() -> None:
    """A sure weak label must not lend its trust to a doubtful best one."""
    expected = 0.5 * -math.log(E / (E + 0.25 * 1 + 0.8 * E**2 + 0.4 * E**-1))
    assert value("contrastive", SCORES, GRADES, WEIGHTS) == pytest.approx(expected, rel=1e-12)


def target(weights: list[float], *, tau: float = 1.0) -> list[float]:
    parts = [w * math.exp(g / tau) for w, g in zip(weights, GRADES, strict=True)]
    return [part / sum(parts) for part in parts]


def model(weights: list[float]) -> list[float]:
    parts = [w * math.exp(s) for w, s in zip(weights, SCORES, strict=True)]
    return [part / sum(parts) for part in parts]


@pytest.mark.parametrize(("given", "relative", "trust"), [(None, [1.0] * 4, 1.0), (WEIGHTS, [1, 0.5, 0.8, 0.4], 0.5)])
def test_list_net_and_kl_are_their_formulas(given: list[float] | None, relative: list[float], trust: float) -> None:
    """Cross-entropy, and the same less the target's own entropy; a weight scales a share on both sides."""
    t, p = target(relative), model(relative)
    cross = -sum(a * math.log(b) for a, b in zip(t, p, strict=True))
    entropy = -sum(a * math.log(a) for a in t)
    net = ListNet(temperature=1.0, relevant_from=2, max_grade=3, grade_temperature=1.0)
    kl = KL(temperature=1.0, relevant_from=2, max_grade=3, grade_temperature=1.0)
    assert apply(net, SCORES, GRADES, given) == pytest.approx(trust * cross, rel=1e-12)
    assert apply(kl, SCORES, GRADES, given) == pytest.approx(trust * (cross - entropy), rel=1e-12)


def test_kl_is_zero_where_the_model_says_what_the_grades_ask_for() -> None:
    """A value that never reaches 0 could not be read as a distance."""
    kl = KL(temperature=1.0, relevant_from=2, max_grade=3, grade_temperature=1.0)
    assert apply(kl, [5, 4, 2, 2], GRADES, WEIGHTS) == pytest.approx(0.0, abs=1e-12)


def test_the_target_uses_the_whole_scale_whatever_its_length() -> None:
    """With a fixed grade temperature a yes/no scale would ask for no more than e times the score mass of a no."""
    for top in (1, 3):
        loss = make_loss("list_net", temperature=1.0, relevant_from=top, max_grade=top)
        t = math.exp(6) / (math.exp(6) + 1)
        expected = -t * math.log(1 / 2) - (1 - t) * math.log(1 / 2)
        assert apply(loss, [0, 0], [float(top), 0]) == pytest.approx(expected, rel=1e-12)
        leaf = tensors([0.0, 0.0]).requires_grad_(True)
        loss(leaf, tensors([float(top), 0]), torch.ones(1, 2, dtype=torch.bool)).backward()
        assert leaf.grad is not None
        assert float(leaf.grad[0, 0]) == pytest.approx(0.5 - t, rel=1e-12)


@pytest.mark.parametrize("margin", [0.0, 1.5])
def test_arl2_is_both_halves_by_their_shares(margin: float) -> None:
    """λ = ¼ here: mixed up, the list half would count three times too much."""
    t, p = target([1.0] * 4), model([1.0] * 4)
    by_list = -sum(a * math.log(b) for a, b in zip(t, p, strict=True))
    pairs = [(1, 1), (-1, 3), (2, 3), (-2, 2), (1, 2)]
    by_pair = sum(softplus(-lead + margin * gap / 3) for lead, gap in pairs) / 5
    loss = ARL2(temperature=1.0, relevant_from=2, max_grade=3, grade_temperature=1.0, balance=0.25, margin=margin)
    assert apply(loss, SCORES, GRADES) == pytest.approx(0.25 * by_list + 0.75 * by_pair, rel=1e-12)


def test_arl2_by_default_is_half_list_net_and_half_all_pairs() -> None:
    """The default is the one of the specification: λ = ½, m = 0."""
    expected = (value("list_net", SCORES, GRADES) + value("lambda", SCORES, GRADES)) / 2
    assert value("arl2", SCORES, GRADES) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["lambda", "margin", "list_mle", "contrastive", "list_net", "kl", "arl2"])
def test_a_grade_between_counts_for_the_graded_losses(name: str) -> None:
    """Thrown away as the two-sided losses do, the middle grades would have been judged for nothing."""
    with_it, without = (value(name, *lists) for lists in (([0.4, 0.9, 0.2], [3.0, 1.0, 0.0]), ([0.4, 0.2], [3.0, 0.0])))
    assert with_it != pytest.approx(without, rel=1e-3)
    assert value(name, [0.9, 0.4, 0.2], [3, 1, 0]) < value(name, [0.4, 0.9, 0.2], [3, 1, 0])


@pytest.mark.parametrize("name", ["lambda", "margin", "list_mle", "contrastive"])
def test_an_unlabelled_passage_counts_as_grade_zero_where_passages_are_compared(name: str) -> None:
    """Below the judged zeros it would lift texts known to be wrong above texts that nobody read."""
    judged, unread = (value(name, SCORES, [3.0, 2.0, 0.0, last]) for last in (0.0, UNLABELLED))
    assert unread == pytest.approx(judged, rel=1e-12)


def test_an_unlabelled_passage_has_no_share_of_a_target() -> None:
    """A thousand in-batch negatives with a share each would be the target, and be lifted."""
    parts = [E**3, E**2, 1.0]
    t = [part / sum(parts) for part in parts]
    p = model([1.0] * 4)
    expected = -sum(a * math.log(b) for a, b in zip(t, p[:3], strict=True))
    net = ListNet(temperature=1.0, relevant_from=2, max_grade=3, grade_temperature=1.0)
    assert apply(net, SCORES, [3.0, 2.0, 0.0, UNLABELLED]) == pytest.approx(expected, rel=1e-12)
    leaf = tensors([1.0, *[0.0] * 1000]).requires_grad_(True)
    grades = tensors([3.0, *[UNLABELLED] * 1000])
    make_loss("kl", temperature=1.0, relevant_from=2)(leaf, grades, torch.ones(1, 1001, dtype=torch.bool)).backward()
    assert leaf.grad is not None
    assert float(leaf.grad[0, 0]) < 0 < float(leaf.grad[0, 1:].min())


def test_thousands_of_negatives_fit_in_memory() -> None:
    """Every pair of a whole corpus would be 20,000² numbers: the first passages of pairs are the upper ones only."""
    scores = torch.linspace(-1, 1, 20_000).repeat(2, 1)
    grades = torch.full_like(scores, UNLABELLED)
    grades[:, :5] = torch.tensor([3.0, 2.0, 1.0, 0.0, 3.0])
    result = make_loss("arl2", temperature=0.05, relevant_from=2)(scores, grades, torch.ones_like(grades).bool())
    assert math.isfinite(float(result))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"grade_temperature": 0.0}, "grade_temperature"), ({"balance": 1.5}, "balance"), ({"margin": -1.0}, "margin")],
)
def test_settings_of_arl2_out_of_range_are_refused(settings: dict[str, float], says: str) -> None:
    """A share above 1 turns the other half's sign, and training would undo the order."""
    with pytest.raises(ValueError, match=says):
        ARL2(temperature=1.0, relevant_from=2, max_grade=3, **settings)


def anchored(*, weight: float, temperature: float = 1.0, own: float = 1.0) -> Anchored:
    return Anchored(make_loss("sum_marginal", temperature=own, relevant_from=2), weight=weight, temperature=temperature)


def test_the_anchored_term_is_small_with_the_order_still_wrong() -> None:
    """(−4, 4) → (1, 4): change alone would call this list learnt; the plain loss beside it says it is not."""
    scores, grades, mask = tensors([1, 4]), tensors([3, 0]), torch.ones(1, 2, dtype=torch.bool)
    reference = tensors([-4, 4])
    plain = float(anchored(weight=0.0)(scores, grades, mask, reference=reference))
    both = float(anchored(weight=1.0)(scores, grades, mask, reference=reference))
    assert both - plain == pytest.approx(math.log(1 + math.exp(-5)), rel=1e-9)
    assert both - plain == pytest.approx(0.007, abs=0.0005)
    assert plain == pytest.approx(math.log(1 + math.exp(3)), rel=1e-12)


def test_the_anchored_term_divides_the_change_by_its_own_temperature() -> None:
    """Scores are over .05, changes over β': one for both would drown either."""
    scores, grades, mask = tensors([0.5, 0.4]), tensors([3, 0]), torch.ones(1, 2, dtype=torch.bool)
    got = anchored(weight=0.3, temperature=0.2, own=0.05)(scores, grades, mask, reference=tensors([0.1, 0.3]))
    assert float(got) == pytest.approx(softplus(-0.1 / 0.05) + 0.3 * softplus(-(0.4 - 0.1) / 0.2), rel=1e-9)


def test_nothing_learns_through_the_reference_and_padding_stays_neutral() -> None:
    """A moving anchor holds nothing; NaN padding in the reference would break every weight."""
    scores = tensors([0.5, 0.4, math.nan]).requires_grad_(True)
    reference = tensors([0.1, 0.3, math.nan]).requires_grad_(True)
    mask = torch.tensor([[True, True, False]])
    anchored(weight=0.3)(scores, tensors([3, 0, 0]), mask, reference=reference).backward()
    assert reference.grad is None
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())
    assert float(scores.grad[0, 0]) < 0 < float(scores.grad[0, 1])


def test_an_anchor_that_does_not_fit_is_refused() -> None:
    """A reference of other pairs, a negative weight or no temperature would train on nonsense."""
    scores, grades, mask = tensors([0.5, 0.4]), tensors([3, 0]), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="reference has shape"):
        anchored(weight=1.0)(scores, grades, mask, reference=tensors([0.1]))
    for weight, temperature in ((-1.0, 1.0), (math.inf, 1.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match=r"(weight|temperature) is"):
            anchored(weight=weight, temperature=temperature)
