"""The best of a list against everything graded lower."""

import torch
from torch import Tensor
from torch.nn import functional

from retriever.losses.list_loss import CountedLists, ListLoss


class Contrastive(ListLoss):
    """−log [e^{s_w} / (e^{s_w} + Σ_l e^{s_l})], w graded highest in its list, l every passage graded lower.

    Weak labels and lesser positives are among the l, which sets it apart from `infonce`. Of several that share the
    highest grade each stands against the l alone, and the weighted mean is taken (our choice, as are the weights).
    Source: LarPO (arXiv 2502.03699), the contrastive objective, with s in the place of γ; see `anchored` for γ.
    """

    def sides(self, grades: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """The list's highest grade, and all below; see `ListLoss.sides`."""
        highest = grades.masked_fill(~present, -torch.inf).amax(dim=1, keepdim=True)
        return present & (grades >= highest), present & (grades < highest)

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        each = functional.softplus(lists.log_mass(lists.lower).unsqueeze(1) - lists.logits)
        return lists.mean_over(lists.upper, each)
