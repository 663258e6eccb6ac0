"""All pairs of positive and negative of a list under one logarithm."""

from torch import Tensor
from torch.nn import functional

from retriever.losses.binary_loss import BinaryLoss
from retriever.losses.list_loss import CountedLists


class LSEPair(BinaryLoss):
    """log(1 + Σ_p Σ_n e^{s_n − s_p}) = softplus(LSE_N(s) + LSE_P(−s)).

    Its gradient on a positive's score is proportional to −e^{−s_p}: weak positives are pulled hardest.
    Source: arXiv 2602.12727 (abstract only). With weights each pair's term is multiplied by both weights (our choice).
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        log_weights = lists.weights.masked_fill(~lists.upper, 0.0).log()
        return functional.softplus(lists.log_mass(lists.lower) + (log_weights - lists.logits).logsumexp(dim=1))
