"""Every pair of a list apart by as much as its grades are."""

from torch import Tensor
from torch.nn import functional

from retriever.losses.graded_pairs import graded_pairs
from retriever.losses.list_loss import CountedLists, ListLoss


class Margin(ListLoss):
    """Mean over the pairs with g_i > g_j of max(0, (g_i − g_j) − (s_i − s_j)).

    The scores are over temperature: at 0.05 one grade asks for .05 of cosine. A pair far enough apart costs nothing,
    unlike with a margin-MSE (arXiv 2010.02666), which would pull it together again: a grade says which is better, not
    by what distance. Source: the hinge ranking loss of Agarwal & Niyogi 2009 (JMLR 10, "Generalization bounds for
    ranking algorithms via algorithmic stability"); the weighted mean over pairs is our choice.
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        pairs = graded_pairs(lists)
        return pairs.mean(functional.relu(pairs.gap - pairs.lead))
