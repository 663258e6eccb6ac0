"""The likelihood of every positive of a list, each for itself."""

from torch import Tensor

from retriever.losses.binary_loss import BinaryLoss
from retriever.losses.list_loss import CountedLists


class Joint(BinaryLoss):
    """−Σ_{d∈P} log P(d), where P(d) is the softmax over P ∪ N.

    Its gradient on a positive's score is |P|·P_p − 1, which is above 0 for one that holds more than its share: the
    best positive can be pushed down. A sum, not a mean, as published: lists with many positives pull harder.
    Source: arXiv 2504.05220 (joint likelihood). With weights w the softmax is over w e^s and each term is multiplied by
    its positive's weight (our choice).
    """

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        weights = lists.weights.masked_fill(~lists.upper, 0.0)
        shares = lists.logits + lists.weights.masked_fill(~lists.upper, 1.0).log()
        return (weights * (lists.log_mass(lists.present).unsqueeze(1) - shares)).sum(dim=1)
