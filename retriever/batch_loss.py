"""The loss of one batch under the trainer: texts to vectors, vectors to scores, scores to the list loss."""

import math
from collections.abc import Mapping, Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from retriever.errors import TrainingDiverged
from retriever.losses.list_loss import ListLoss


class BatchLoss(nn.Module):
    """Encodes a batch and applies the list loss; the scores are cosines, so any model can be trained.

    margin: in-batch negatives count when `below_margin` says so. losses: where each step's loss is written.
    """

    def __init__(self, model: SentenceTransformer, loss: ListLoss, *, margin: float, losses: list[float]) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.margin = margin
        self._losses = losses

    def forward(self, features: Sequence[dict[str, Tensor]], labels: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch of `ListCollator`, a scalar. Raises: TrainingDiverged when it is NaN or infinite."""
        vectors = torch.cat([self._encode(feature) for feature in features])
        n_queries = len(labels["labelled"])
        scores = vectors[:n_queries] @ vectors[n_queries:].T
        labelled, grades = labels["labelled"], labels["grades"]
        positive = labelled & (grades >= self.loss.relevant_from)
        negatives = labels["in_batch"] & below_margin(scores.detach(), positive=positive, margin=self.margin)
        loss: Tensor = self.loss(scores, grades, labelled | negatives, labels["weights"])
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"the loss is {value} at step {len(self._losses) + 1}: lower the learning rate or check the base model",
                user_message="Training stopped: its loss is no longer a number. Nothing was saved.",
            )
        self._losses.append(value)
        return loss

    def _encode(self, feature: dict[str, Tensor]) -> Tensor:
        return nn.functional.normalize(self.model(feature)["sentence_embedding"], dim=1)


def below_margin(scores: Tensor, *, positive: Tensor, margin: float) -> Tensor:
    """Where a score lies below the query's weakest positive s by more than margin·|s|; (n_queries, n_passages) bool.

    An unlabelled passage above that line may well be a positive nobody judged. A query without a positive has none.
    Source: relative_margin of sentence-transformers' mine_hard_negatives; measured against the weakest positive and
    with the current weights, our choice.
    """
    weakest = scores.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    limit = weakest - margin * weakest.abs()
    return (scores < limit) & positive.any(dim=1, keepdim=True)
