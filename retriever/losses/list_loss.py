"""What all list losses share: checks, masks, which lists count, how label weights enter. Each formula has its own file.

Who is positive in the losses that know two sides only is in `binary_loss`; who is above whom by grade is here.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

UNLABELLED = -1.0
"""The grade (any below 0) of a passage that nobody judged for the query: in-batch and corpus negatives.

It counts as grade 0 wherever passages are compared, and is a negative of the binary losses. Where a target is spread
over the list (`list_net`, `kl`, `arl2`) it gets no share: with that of a judged 0 each, a thousand would be the target.
"""


@dataclass(frozen=True, slots=True)
class CountedLists:
    """The lists of a batch that count, ready for a formula; every tensor is (n, list_length).

    logits: scores over temperature, finite, 0 where no passage counts. grades: 0 or more, 0 for unlabelled passages and
    where none counts. upper, lower: bool, disjoint, the passages to be lifted and those they are lifted above; every
    list has both. unlabelled: bool, the passages that nobody judged. weights: above 0 where a passage counts, else 0;
    those of the upper are relative to the list's largest, in (0, 1].
    """

    logits: Tensor
    grades: Tensor
    upper: Tensor
    lower: Tensor
    unlabelled: Tensor
    weights: Tensor

    @property
    def present(self) -> Tensor:
        """Where a passage counts, (n, list_length) bool."""
        return self.upper | self.lower

    def log_mass(self, side: Tensor) -> Tensor:
        """log Σ w e^s over the passages of a side, (n,); −inf for a list that has none there."""
        return (self.logits + self.weights.masked_fill(~side, 0.0).log()).logsumexp(dim=1)

    def mean_over(self, side: Tensor, values: Tensor) -> Tensor:
        """The weighted mean of values (n, list_length) over the passages of a side, (n,); each list needs one there."""
        weights = self.weights.masked_fill(~side, 0.0)
        return (weights * values).sum(dim=1) / weights.sum(dim=1)


class ListLoss(nn.Module, ABC):
    """Mean loss of a batch of lists.

    A list counts when some of its passages are graded above the others: its lowest grade are the lower side, all above
    are the upper. The binary losses and `contrastive` draw these sides differently. Lists without both sides add
    nothing and do not thin the mean; `counts` says which.

    Label weights w (our choice): those of the upper are taken relative to the list's largest, u, those of the lower
    stay as they are; the list's whole loss is multiplied by u. In every softmax a passage's e^s is multiplied by its
    weight, in every mean over passages or pairs its term is. So a list whose positives are trusted half as much pulls
    half as hard, and the losses that are InfoNCE at one positive are so at any weight.
    """

    def __init__(self, *, temperature: float, relevant_from: float, max_grade: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        if not 0 < relevant_from <= max_grade:
            raise ValueError(f"relevant_from is {relevant_from}; it must be above 0 and at most {max_grade}")
        self.temperature = temperature
        self.relevant_from = relevant_from
        self.max_grade = max_grade

    def forward(self, scores: Tensor, grades: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean over the lists that count, a scalar of at least 0; 0 when none counts.

        scores: (n_queries, list_length) float, cosines. grades: the same shape, 0 to max_grade, below 0 for passages
        that nobody judged (`UNLABELLED`). mask: the same shape, bool, True where there is a passage; what stands
        elsewhere, even NaN, changes nothing. weights: the same shape, 0 or more, 1 where missing; 0 leaves the passage
        out. Raises: ValueError for shapes, types, grades or weights that do not fit.
        """
        if scores.ndim != 2:
            raise ValueError(f"scores have shape {tuple(scores.shape)}; they must be (n_queries, list_length)")
        if grades.shape != scores.shape:
            raise ValueError(f"grades have shape {tuple(grades.shape)}, scores {tuple(scores.shape)}: must be equal")
        counts = self.counts(grades, mask, weights)
        if not bool(counts.any()):
            return scores.masked_fill(~mask, 0.0).sum() * 0.0
        weights = torch.ones_like(scores) if weights is None else weights.to(scores.dtype)
        scores, grades, mask, weights = scores[counts], grades[counts], mask[counts], weights[counts]
        upper, lower = self._sides(grades, mask, weights)
        present = upper | lower
        largest = weights.masked_fill(~upper, 0.0).amax(dim=1, keepdim=True)
        lists = CountedLists(
            logits=scores.masked_fill(~present, 0.0) / self.temperature,
            grades=grades.masked_fill(~present, 0.0).clamp(min=0.0).to(scores.dtype),
            upper=upper,
            lower=lower,
            unlabelled=present & (grades < 0),
            weights=torch.where(upper, weights / largest, weights).masked_fill(~present, 0.0),
        )
        return (largest.squeeze(1) * self.list_losses(lists)).mean()

    def counts(self, grades: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
        """Which lists of a batch count, (n_queries,) bool: the others are skipped, for the caller to count and show.

        The arguments are those of `forward`. Raises: ValueError for shapes, types, grades or weights that do not fit.
        """
        self._check(grades, mask, weights)
        upper, lower = self._sides(grades, mask, torch.ones_like(grades) if weights is None else weights)
        return upper.any(dim=1) & lower.any(dim=1)

    @abstractmethod
    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,), each at least 0."""

    def sides(self, grades: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Which passages are upper and which lower, each (n_queries, list_length) bool.

        grades: 0 or more; what stands where no passage is present must not matter. Here: above the list's lowest grade,
        and the lowest grade.
        """
        lowest = grades.masked_fill(~present, torch.inf).amin(dim=1, keepdim=True)
        return present & (grades > lowest), present & (grades <= lowest)

    def _sides(self, grades: Tensor, mask: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        if grades.shape[1] == 0:
            return mask, mask
        return self.sides(grades.clamp(min=0.0), mask & (weights > 0))

    def _check(self, grades: Tensor, mask: Tensor, weights: Tensor | None) -> None:
        if grades.ndim != 2:
            raise ValueError(f"grades have shape {tuple(grades.shape)}; they must be (n_queries, list_length)")
        for name, tensor in (("mask", mask), ("weights", weights)):
            if tensor is not None and tensor.shape != grades.shape:
                raise ValueError(
                    f"{name} have shape {tuple(tensor.shape)}, grades {tuple(grades.shape)}: must be equal"
                )
        if mask.dtype != torch.bool:
            raise ValueError(f"mask is {mask.dtype}; it must be bool")
        if bool(torch.isnan(grades[mask]).any()):
            raise ValueError("a grade is NaN; leave the passage out by the mask instead")
        if bool((grades[mask] > self.max_grade).any()):
            raise ValueError(f"a grade is {float(grades[mask].max()):g}, above max_grade {self.max_grade:g}")
        if weights is not None and not bool((weights[mask] >= 0).all() & weights[mask].isfinite().all()):
            raise ValueError("a weight is negative or not finite; it must be 0 or more")
