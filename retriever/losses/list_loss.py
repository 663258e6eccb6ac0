"""What all list losses share: who is positive, who negative, how label weights enter. Each formula has its own file."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from retriever.training_lists import IRRELEVANT_BELOW


class ListLoss(nn.Module, ABC):
    """Mean loss of a batch of lists.

    Of a query's passages, those graded relevant_from or more are the positives P, those graded below IRRELEVANT_BELOW
    the negatives N; grades between are left out on both sides (our choice: a weak label is neither). A query without a
    positive or without a negative adds nothing and does not count in the mean.

    Label weights w (our choice): a negative's term e^s is multiplied by w; the positives' weights are taken relative to
    the query's largest, u; the query's whole loss is multiplied by u. So all losses agree when |P| = 1, at any weight.
    """

    def __init__(self, *, temperature: float, relevant_from: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        if not relevant_from > 0:
            raise ValueError(f"relevant_from is {relevant_from}; it must be above 0")
        self.temperature = temperature
        self.relevant_from = relevant_from

    def forward(self, scores: Tensor, grades: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean over the queries that count, a scalar of at least 0; 0 when none counts.

        scores: (n_queries, list_length) float, cosines. grades: the same shape, 0 to K. mask: the same shape, bool,
        True where there is a passage; what stands elsewhere, even NaN, changes nothing. weights: the same shape, 0 or
        more, 1 where missing; 0 leaves the passage out. Raises: ValueError for shapes or types that do not fit.
        """
        self._check(scores, grades, mask, weights)
        weights = torch.ones_like(scores) if weights is None else weights
        present = mask & (weights > 0)
        positive = present & (grades >= self.relevant_from)
        negative = present & (grades < IRRELEVANT_BELOW)
        counts = positive.any(dim=1) & negative.any(dim=1)
        if not bool(counts.any()):
            return scores.masked_fill(~mask, 0.0).sum() * 0.0
        scores, weights, positive, negative = scores[counts], weights[counts], positive[counts], negative[counts]
        logits = scores.masked_fill(~(positive | negative), 0.0) / self.temperature
        largest = weights.masked_fill(~positive, 0.0).amax(dim=1, keepdim=True)
        log_negatives = logits + weights.masked_fill(~negative, 0.0).log()
        losses = self.query_losses(
            logits,
            positive_weights=(weights / largest).masked_fill(~positive, 0.0),
            log_negative_mass=log_negatives.logsumexp(dim=1),
        )
        return (largest.squeeze(1) * losses).mean()

    @abstractmethod
    def query_losses(self, logits: Tensor, *, positive_weights: Tensor, log_negative_mass: Tensor) -> Tensor:
        """One loss per query, (n_queries,), each at least 0; every query given has a positive and a negative.

        logits: (n_queries, list_length) scores over temperature, finite. positive_weights: the same shape, in (0, 1]
        for positives, 0 elsewhere. log_negative_mass: (n_queries,), the log of Σ_{n∈N} w_n e^{s_n}.
        """

    @staticmethod
    def _check(scores: Tensor, grades: Tensor, mask: Tensor, weights: Tensor | None) -> None:
        if scores.ndim != 2:
            raise ValueError(f"scores have shape {tuple(scores.shape)}; they must be (n_queries, list_length)")
        for name, tensor in (("grades", grades), ("mask", mask), ("weights", weights)):
            if tensor is not None and tensor.shape != scores.shape:
                raise ValueError(
                    f"{name} have shape {tuple(tensor.shape)}, scores {tuple(scores.shape)}: must be equal"
                )
        if mask.dtype != torch.bool:
            raise ValueError(f"mask is {mask.dtype}; it must be bool")
        if bool(torch.isnan(grades[mask]).any()):
            raise ValueError("a grade is NaN; leave the passage out by the mask instead")
        if weights is not None and not bool((weights[mask] >= 0).all()):
            raise ValueError("a weight is negative or NaN; it must be 0 or more")
