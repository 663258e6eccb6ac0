import gc
import weakref
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from retriever.batch_loss import BatchLoss, below_margin, frozen_encode
from retriever.encoder import load_sentence_transformer
from retriever.list_batches import ListCollator
from retriever.losses import make_loss
from retriever.training_lists import prepare_lists
from retriever.types import TrainingSettings
from taught import all_texts, graded_lists
from tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def with_dropout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a dropout of .3."""
    return make_tiny_model(tmp_path_factory.mktemp("dropout") / "model", all_texts(), dropout=0.3)


def batch_loss(model: SentenceTransformer, settings: TrainingSettings, *, anchored: bool = False) -> torch.Tensor:
    """The loss of one batch of all lists, its graph attached."""
    lists = prepare_lists(graded_lists(), settings).lists
    batch = ListCollator(model, lists, settings)([{"position": at} for at in range(len(lists))])
    labels = batch.pop("label")
    names = dict.fromkeys(key.partition("_")[0] for key in batch)
    features = [
        {key.partition("_")[2]: value for key, value in batch.items() if key.partition("_")[0] == name}
        for name in names
    ]
    loss = make_loss(settings.loss, temperature=settings.temperature, relevant_from=2)
    reference = frozen_encode(model, bf16=False) if anchored else None
    module = BatchLoss(model, loss, settings, losses=[], reference=reference)
    result: torch.Tensor = module(features, labels)
    return result


def gradient(model: SentenceTransformer, settings: TrainingSettings) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(3)
    model.zero_grad()
    loss = batch_loss(model.train(), settings)
    loss.backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    return float(loss.detach()), found


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_gradient_caching_gives_the_same_loss_and_gradient(tiny: Path, chunk: int) -> None:
    """A batch that fits in memory because its gradient is wrong is worse than a small batch."""
    model = load_sentence_transformer(tiny)
    whole, expected = gradient(model, TrainingSettings())
    cached, found = gradient(model, TrainingSettings(gradient_chunk=chunk))
    assert cached == pytest.approx(whole, rel=1e-5)
    assert found.keys() == expected.keys()
    assert any(float(one.abs().max()) > 1e-3 for one in expected.values())
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one, rtol=1e-4, atol=1e-6)


def test_gradient_caching_drops_the_same_units_in_both_passes(with_dropout: Path) -> None:
    """With other random numbers in the second pass the gradient belongs to another model than the loss."""
    model = load_sentence_transformer(with_dropout)
    # Twelve queries, 48 passages: with chunks of 16 both ways encode the same texts together, in the same order.
    whole, expected = gradient(model, TrainingSettings())
    cached, found = gradient(model, TrainingSettings(gradient_chunk=16))
    assert cached == whole
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one, rtol=1e-5, atol=1e-7)
    torch.manual_seed(4)
    assert float(batch_loss(model, TrainingSettings()).detach()) != whole


def test_gradient_caching_holds_no_activations_between_the_passes(tiny: Path) -> None:
    """Held after all, a batch that was meant to fit takes the machine down."""
    alive: dict[int | None, int] = {}
    for chunk in (None, 8):
        model = load_sentence_transformer(tiny).train()
        held: list[weakref.ref[torch.Tensor]] = []
        for name, module in model.named_modules():
            if name.endswith("intermediate.dense"):
                module.register_forward_hook(
                    lambda _, __, output, held=held: held.append(weakref.ref(output.untyped_storage()))
                )
        loss = batch_loss(model, TrainingSettings(gradient_chunk=chunk))
        gc.collect()
        alive[chunk] = sum(reference() is not None for reference in held)
        assert len(held) >= 12
        loss.backward()
    assert alive[8] == 0 < alive[None]


def test_the_reference_stays_what_the_model_was(tiny: Path) -> None:
    """A reference that learns along is no anchor."""
    model = load_sentence_transformer(tiny).train()
    feature = dict(model.preprocess(["what do cats like", "rivers, over ages"]))
    encode = frozen_encode(model, bf16=False)
    before = encode(feature)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(encode(feature), before, rtol=0, atol=0)
    assert not before.requires_grad


def test_at_the_start_the_anchored_term_is_that_of_equal_scores(tiny: Path) -> None:
    """Nothing has moved yet: measured against anything else the term would pull from the first step on."""
    model = load_sentence_transformer(tiny).eval()
    settings = TrainingSettings(loss="lse_pair", in_batch_negatives=False, anchor=0.5)
    plain = float(batch_loss(model, settings).detach())
    anchored = float(batch_loss(model, settings, anchored=True).detach())
    # Two positives and one negative of equal scores: log(1 + 2·1·e⁰) = log 3.
    assert anchored - plain == pytest.approx(0.5 * 1.0986123, abs=1e-4)


def test_unlabelled_passages_near_the_weakest_positive_are_no_negatives() -> None:
    """Mined negatives are often answers nobody has judged; pushing them away unlearns the task."""
    scores = torch.tensor([[0.80, 0.60, 0.58, 0.56, 0.90], [0.10, 0.20, 0.30, 0.40, 0.50]])
    positive = torch.tensor([[True, True, False, False, False], [False] * 5])
    # 5 % below the weakest positive, 0.60, is 0.57.
    assert below_margin(scores, positive=positive, margin=0.05).tolist() == [
        [False, False, False, True, False],
        [False] * 5,
    ]


def test_the_margin_lies_below_a_negative_cosine_too() -> None:
    """Scaled without care it would lie above, and the positive's equals would count as negatives."""
    below = below_margin(
        torch.tensor([[-0.5, -0.51, -0.56]]), positive=torch.tensor([[True, False, False]]), margin=0.1
    )
    assert below.tolist() == [[False, False, True]]
