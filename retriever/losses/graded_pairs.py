"""The pairs of a list in which one passage is graded above the other; what a pair costs is each loss's own."""

from dataclasses import dataclass

from torch import Tensor

from retriever.losses.list_loss import CountedLists


@dataclass(frozen=True, slots=True)
class GradedPairs:
    """Every pair of passages of each list; all tensors are (n, most upper passages of a list, list_length).

    lead: score of the first minus score of the second, over temperature. gap: grade of the first minus grade of the
    second. weights: product of the two label weights where the first is graded above the second, 0 elsewhere.
    """

    lead: Tensor
    gap: Tensor
    weights: Tensor

    def mean(self, costs: Tensor) -> Tensor:
        """The weighted mean of costs, shaped as the pairs, over each list's pairs, (n,)."""
        return (self.weights * costs).sum(dim=(1, 2)) / self.weights.sum(dim=(1, 2))


def graded_pairs(lists: CountedLists) -> GradedPairs:
    """The pairs of these lists; only upper passages stand first, so that thousands of negatives make no square."""
    most = int(lists.upper.sum(dim=1).max())
    first = lists.upper.to(lists.logits.dtype).topk(most, dim=1).indices
    logits, grades, weights = (one.gather(1, first) for one in (lists.logits, lists.grades, lists.weights))
    is_upper = lists.upper.gather(1, first)
    gap = grades.unsqueeze(2) - lists.grades.unsqueeze(1)
    is_pair = is_upper.unsqueeze(2) & lists.present.unsqueeze(1) & (gap > 0)
    return GradedPairs(
        lead=logits.unsqueeze(2) - lists.logits.unsqueeze(1),
        gap=gap,
        weights=(weights.unsqueeze(2) * lists.weights.unsqueeze(1)).masked_fill(~is_pair, 0.0),
    )
