"""Losses over one list of graded passages per query; one file a loss, chosen by name. torch loads on the first call."""

import importlib
from typing import TYPE_CHECKING

from retriever.types import LOSS_NAMES

if TYPE_CHECKING:
    from torch import Generator

    from retriever.losses.list_loss import ListLoss

_CLASSES = {
    "sum_marginal": ("sum_marginal", "SumMarginal"),
    "infonce": ("infonce", "InfoNCE"),
    "rand1": ("rand1", "Rand1"),
    "joint": ("joint", "Joint"),
    "lse_pair": ("lse_pair", "LSEPair"),
    "arl2": ("arl2", "ARL2"),
    "list_net": ("list_net", "ListNet"),
    "list_mle": ("list_mle", "ListMLE"),
    "lambda": ("lambda_loss", "Lambda"),
    "contrastive": ("contrastive", "Contrastive"),
    "margin": ("margin", "Margin"),
    "kl": ("kl", "KL"),
}


def make_loss(
    name: str,
    *,
    temperature: float,
    relevant_from: float,
    max_grade: float = 3,
    generator: "Generator | None" = None,
) -> "ListLoss":
    """The loss of this name. temperature: scores are divided by it. relevant_from: lowest grade of a positive.

    max_grade: the highest grade there is. generator: makes the draws of a loss that draws (`rand1`) repeatable.
    Raises: ValueError for an unknown name, or numbers out of range.
    """
    if name not in LOSS_NAMES:
        raise ValueError(f"there is no loss {name!r}; choose one of {', '.join(LOSS_NAMES)}")
    module, class_name = _CLASSES[name]
    made: type[ListLoss] = getattr(importlib.import_module(f"retriever.losses.{module}"), class_name)
    drawing = {"generator": generator} if name == "rand1" else {}
    return made(temperature=temperature, relevant_from=relevant_from, max_grade=max_grade, **drawing)
