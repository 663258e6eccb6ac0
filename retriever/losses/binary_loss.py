"""The sides of the losses that know positives and negatives only."""

from torch import Tensor

from retriever.losses.list_loss import ListLoss
from retriever.training_lists import IRRELEVANT_BELOW


class BinaryLoss(ListLoss):
    """A list loss over positives P and negatives N of each query.

    Positive: graded relevant_from or more. Negative: graded below IRRELEVANT_BELOW, or unlabelled. Grades between are
    left out on both sides (our choice: a weak label is neither). A query's positives are never negatives.
    """

    def sides(self, grades: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Positives and negatives; see `ListLoss.sides`."""
        return present & (grades >= self.relevant_from), present & (grades < IRRELEVANT_BELOW)
