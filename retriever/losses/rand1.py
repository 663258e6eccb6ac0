"""One positive of each list, drawn anew each time."""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from retriever.losses.binary_loss import BinaryLoss
from retriever.losses.list_loss import CountedLists


class Rand1(BinaryLoss):
    """−log [e^{s_p} / (e^{s_p} + Σ_{n∈N} e^{s_n})] of one positive p, drawn at every call; the others stay out of it.

    Source: rand1 in arXiv 2504.05220. Drawing with probability proportional to the label weight is our choice: the mean
    over many draws is then `infonce`. generator: on the CPU, makes the draws repeatable; None uses torch's own.
    """

    def __init__(
        self, *, temperature: float, relevant_from: float, max_grade: float, generator: Generator | None = None
    ) -> None:
        super().__init__(temperature=temperature, relevant_from=relevant_from, max_grade=max_grade)
        self.generator = generator

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        chances = lists.weights.masked_fill(~lists.upper, 0.0).detach().float().cpu()
        drawn = torch.multinomial(chances, 1, generator=self.generator).to(lists.logits.device)
        return functional.softplus(lists.log_mass(lists.lower) - lists.logits.gather(1, drawn).squeeze(1))
