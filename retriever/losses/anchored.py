"""A term on how far scores moved from a reference, beside a loss on the scores themselves."""

import copy
import math

from torch import Tensor, nn

from retriever.losses.list_loss import ListLoss


class Anchored(nn.Module):
    """loss(s) + weight · the same loss on γ = (s − s_ref) / temperature.

    γ measures change, not order: with the relevant passage at −4 and the other at 4 before, and 1 and 4 after, the
    second term is −log σ(5) ≈ .007 although the order is still wrong. So it is only ever a term beside the plain loss,
    never a loss of its own: it stops pulling at lists that already moved far, which limits drift when labels are few.

    weight: 0 or more. temperature: β', in units of cosine, above 0. Source: LarPO (arXiv 2502.03699), where
    γ = β log(π/π_ref), with the retriever as the policy and a round's starting model as the reference; the sum of both
    terms is our choice.
    Raises: ValueError for a weight or temperature out of range.
    """

    def __init__(self, loss: ListLoss, *, weight: float, temperature: float) -> None:
        super().__init__()
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight is {weight}; it must be a number of 0 or more")
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature is {temperature}; it must be a number above 0")
        self.loss = loss
        self.change_loss = copy.copy(loss)
        self.change_loss.temperature = temperature
        self.weight = weight

    def forward(
        self, scores: Tensor, grades: Tensor, mask: Tensor, weights: Tensor | None = None, *, reference: Tensor
    ) -> Tensor:
        """The mean over the lists that count, a scalar of at least 0.

        reference: what the reference model gives the same pairs, shaped as scores, cosines; nothing learns through it.
        The rest as in `ListLoss.forward`. Raises: ValueError for shapes or types that do not fit.
        """
        if reference.shape != scores.shape:
            raise ValueError(
                f"reference has shape {tuple(reference.shape)}, scores {tuple(scores.shape)}: must be equal"
            )
        plain: Tensor = self.loss(scores, grades, mask, weights)
        if not self.weight:
            return plain
        change: Tensor = self.change_loss(scores - reference.detach(), grades, mask, weights)
        return plain + self.weight * change
