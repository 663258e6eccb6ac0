"""How far the model's distribution over a list is from the one that the grades ask for."""

from torch import Tensor

from retriever.losses.graded_target import TargetLoss
from retriever.losses.list_loss import CountedLists


class KL(TargetLoss):
    """KL(t ‖ p) = Σ_i t_i (log t_i − log p_i), with t and p as in `TargetLoss`.

    It has `list_net`'s gradient, since t does not learn, and is 0 where the model says what the grades ask for: a value
    that can be read. Source: Hinton, Vinyals & Dean 2015 (arXiv 1503.02531), with grades as the teacher's logits at
    τ_g; a passage outside the list is left out of both distributions instead of being given −inf by the teacher.
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        target, log_target, log_model = self.shares(lists)
        return (target * (log_target - log_model)).sum(dim=1).clamp(min=0.0)
