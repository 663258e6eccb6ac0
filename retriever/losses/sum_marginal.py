"""The marginal likelihood of all positives of a list together."""

from torch import Tensor
from torch.nn import functional

from retriever.losses.binary_loss import BinaryLoss
from retriever.losses.list_loss import CountedLists


class SumMarginal(BinaryLoss):
    """−log Σ_{d∈P} P(d) = LSE_{P∪N}(s) − LSE_P(s), where P(d) is the softmax over P ∪ N.

    Its gradient on a positive's score is P_p − P_p / ΣP₊: it favours positives that are already strong, so it forgives
    false ones. Source: SumMargLH in arXiv 2504.05220 (utility-focused annotation, EMNLP 2025); label weights inside the
    sum are our choice.
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        # LSE_{P∪N} − LSE_P = softplus(LSE_N − LSE_P), which neither overflows nor loses digits.
        return functional.softplus(lists.log_mass(lists.lower) - lists.log_mass(lists.upper))
