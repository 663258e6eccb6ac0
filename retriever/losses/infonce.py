"""InfoNCE over a list, each positive against the negatives only."""

from torch import Tensor
from torch.nn import functional

from retriever.losses.binary_loss import BinaryLoss
from retriever.losses.list_loss import CountedLists


class InfoNCE(BinaryLoss):
    """Mean over the positives p of −log [e^{s_p} / (e^{s_p} + Σ_{n∈N} e^{s_n})], weighted by the label weights.

    The query's other positives leave the denominator, so no positive is pushed away by another.
    Source: van den Oord, Li & Vinyals 2018 (arXiv 1807.03748), eq. 4; the weighted mean over positives is our choice.
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        # −log [e^s / (e^s + e^m)] = softplus(m − s), which neither overflows nor loses digits.
        each = functional.softplus(lists.log_mass(lists.lower).unsqueeze(1) - lists.logits)
        return lists.mean_over(lists.upper, each)
