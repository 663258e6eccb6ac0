"""Every pair of a list in the right order."""

from torch import Tensor
from torch.nn import functional

from retriever.losses.graded_pairs import graded_pairs
from retriever.losses.list_loss import CountedLists, ListLoss


class Lambda(ListLoss):
    """Mean over the pairs with g_i > g_j of −log σ(s_i − s_j); pairs of equal grade are left out.

    Source: LarPO (arXiv 2502.03699), the lambda objective, which is DPO over all pairs: no ΔnDCG weighs them, despite
    the name. The paper sums; the mean, weighted by the product of both label weights, is our choice: a query with many
    labels, or many negatives in its batch, must not drown the others.
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        pairs = graded_pairs(lists)
        return pairs.mean(functional.softplus(-pairs.lead))
