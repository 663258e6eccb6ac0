"""InfoNCE over a list, each positive against the negatives only."""

from torch import Tensor
from torch.nn import functional

from retriever.losses.list_loss import ListLoss


class InfoNCE(ListLoss):
    """Mean over the positives p of −log [e^{s_p} / (e^{s_p} + Σ_{n∈N} e^{s_n})], weighted by the label weights.

    The query's other positives leave the denominator, so no positive is pushed away by another.
    Source: van den Oord, Li & Vinyals 2018 (arXiv 1807.03748), eq. 4; the weighted mean over positives is our choice.
    """

    def query_losses(self, logits: Tensor, *, positive_weights: Tensor, log_negative_mass: Tensor) -> Tensor:
        """One loss per query, (n_queries,); see `ListLoss.query_losses`."""
        # −log [e^s / (e^s + e^m)] = softplus(m − s), which neither overflows nor loses digits.
        each = functional.softplus(log_negative_mass.unsqueeze(1) - logits)
        return (positive_weights * each).sum(dim=1) / positive_weights.sum(dim=1)
