"""Losses over one list of graded passages per query; one file a loss, chosen by name. torch loads on the first call."""

from typing import TYPE_CHECKING

from retriever.types import LOSS_NAMES

if TYPE_CHECKING:
    from retriever.losses.list_loss import ListLoss


def make_loss(name: str, *, temperature: float, relevant_from: float) -> "ListLoss":
    """The loss of this name. temperature: scores are divided by it. relevant_from: lowest grade of a positive.

    Raises: ValueError for an unknown name, or numbers that are not above 0.
    """
    if name not in LOSS_NAMES:
        raise ValueError(f"there is no loss {name!r}; choose one of {', '.join(LOSS_NAMES)}")
    from retriever.losses.infonce import InfoNCE
    from retriever.losses.sum_marginal import SumMarginal

    makers: dict[str, type[ListLoss]] = {"infonce": InfoNCE, "sum_marginal": SumMarginal}
    return makers[name](temperature=temperature, relevant_from=relevant_from)
