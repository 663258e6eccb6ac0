"""The cross-entropy between what the grades ask for and what the model says."""

from torch import Tensor

from retriever.losses.graded_target import TargetLoss
from retriever.losses.list_loss import CountedLists


class ListNet(TargetLoss):
    """−Σ_i t_i log p_i, with t and p as in `TargetLoss`.

    Source: Cao et al. 2007 (ListNet), the top-one cross-entropy; τ_g and the label weights are our choice.
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        target, _, log_model = self.shares(lists)
        return -(target * log_model).sum(dim=1)
