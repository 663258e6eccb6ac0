"""The likelihood of the order that the grades give."""

import torch
from torch import Tensor
from torch.nn import functional

from retriever.losses.list_loss import CountedLists, ListLoss


class ListMLE(ListLoss):
    """Mean over the passages i that have some below them of −log [e^{s_i} / (e^{s_i} + Σ_{j: g_j < g_i} e^{s_j})].

    Source: Xia et al. 2008 (ListMLE) and LarPO (arXiv 2502.03699), eq. 23 (its eq. 20 has a misprint). Both sum over an
    order without ties; here passages of equal grade are left out of each other's denominators, so that nothing depends
    on how ties are broken, and the weighted mean is taken instead of the sum: both our choice. With two passages it is
    DPO; with grades of two values it is `infonce`.
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        grades, order = lists.grades.masked_fill(~lists.present, torch.inf).sort(dim=1)
        masses = (lists.logits + lists.weights.masked_fill(~lists.present, 1.0).log()).gather(1, order)
        up_to_here = masses.logcumsumexp(dim=1)
        below = torch.searchsorted(grades, grades) - 1  # the last passage of the grade below
        mass_below = up_to_here.gather(1, below.clamp(min=0))
        each = functional.softplus(mass_below - lists.logits.gather(1, order))
        weights = lists.weights.masked_fill(~lists.upper, 0.0).gather(1, order)
        return (weights * each).sum(dim=1) / weights.sum(dim=1)
