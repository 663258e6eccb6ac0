"""Which weights of a model learn (the last layers, low-rank updates, all), and how they are mixed with the base's."""

from collections.abc import Mapping, Sequence

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def freeze_lower_layers(model: SentenceTransformer, trainable: int) -> None:
    """Lets only the last transformer layers learn; a model without layers (static embeddings) learns as a whole."""
    layers = _layers(model)
    if not layers:
        return
    model.requires_grad_(False)
    for layer in layers[-trainable:]:
        layer.requires_grad_(True)


class LowRank:
    """Low-rank updates of a model's linear weights in place, until `merge` writes them into the weights.

    W' = W + 2·B·A, A of rank rows, B of rank columns, B = 0 at the start. The weights are those of all linear maps that
    `freeze_lower_layers` left learning, in attention and feed-forward; all else is frozen. Source: LoRA (Hu et al.
    2021, arXiv 2106.09685), eq. 3, by peft; α = 2·rank, no dropout and every linear map are our choice.
    Raises: ValueError for a model that has no linear map to learn.
    """

    def __init__(self, model: SentenceTransformer, *, rank: int) -> None:
        targets = [name.removeprefix("0.").removesuffix(".weight") for name in linear_weights(model)]
        if not targets:
            raise ValueError(f"lora_rank is {rank}, but the model has no transformer layer to adapt: set it to None")
        model.requires_grad_(False)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
        self._tuner = LoraModel(model[0], {"default": config}, "default")

    def merge(self) -> None:
        """Writes the updates into the weights and takes every trace of peft out of the model."""
        self._tuner.merge_and_unload()


def linear_weights(model: SentenceTransformer) -> list[str]:
    """Names of the weights that `LowRank` changes: those of linear maps in layers that learn."""
    layers = _layers(model)
    return [
        f"{prefix}.{name}.weight"
        for prefix, layer in model.named_modules()
        if any(layer is one for one in layers)
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    ]


def learning(model: SentenceTransformer) -> list[str]:
    """Names of the weights that learn."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def snapshot(model: SentenceTransformer, names: Sequence[str]) -> Weights:
    """Copies of the named weights as they are now."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach().clone() for name in names}


@torch.no_grad()
def interpolate(model: SentenceTransformer, *, base: Weights, tuned: Weights, keep: float) -> None:
    """Sets the weights to base + keep·(tuned − base), keep in [0, 1]; exactly tuned at 1. Other weights stay.

    Source: WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903), eq. 1, whose α is keep.
    """
    parameters = dict(model.named_parameters())
    for name, start in base.items():
        parameters[name].copy_(torch.lerp(start, tuned[name], keep))


def _layers(model: SentenceTransformer) -> list[nn.Module]:
    stacks = [list(module) for module in model[0].modules() if isinstance(module, nn.ModuleList)]
    return max(stacks, key=len, default=[])
