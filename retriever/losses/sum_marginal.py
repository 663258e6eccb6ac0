"""The marginal likelihood of all positives of a list together."""

from torch import Tensor
from torch.nn import functional

from retriever.losses.list_loss import ListLoss


class SumMarginal(ListLoss):
    """−log Σ_{d∈P} P(d) = LSE_{P∪N}(s) − LSE_P(s), where P(d) is the softmax over P ∪ N.

    Its gradient favours positives that are already strong, so it forgives false ones.
    Source: SumMargLH in arXiv 2504.05220 (utility-focused annotation, EMNLP 2025); label weights inside the sum are our
    choice.
    """

    def query_losses(self, logits: Tensor, *, positive_weights: Tensor, log_negative_mass: Tensor) -> Tensor:
        """One loss per query, (n_queries,); see `ListLoss.query_losses`."""
        log_positive_mass = (logits + positive_weights.log()).logsumexp(dim=1)
        # LSE_{P∪N} − LSE_P = softplus(LSE_N − LSE_P), which neither overflows nor loses digits.
        return functional.softplus(log_negative_mass - log_positive_mass)
