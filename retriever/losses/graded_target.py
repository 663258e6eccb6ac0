"""The distribution over a list that its grades ask for."""

import torch
from torch import Tensor

from retriever.losses.list_loss import CountedLists, ListLoss

STEPS_OF_THE_SCALE = 6.0
"""A passage of the highest grade gets e^6 ≈ 400 times the share of grade 0, on every scale. Our choice."""


class TargetLoss(ListLoss):
    """A list loss against t_i ∝ w_i e^{g_i/τ_g} over the judged passages of a list; unlabelled ones get no share.

    grade_temperature: τ_g, above 0; None is max_grade / STEPS_OF_THE_SCALE. The model's own distribution is
    p_i ∝ w_i e^{s_i} over all passages present, unlabelled ones too, which are so pushed down. Passages that are not
    present are in neither sum: they are taken out of both before the softmax, and no −inf ever meets a 0.
    A weight multiplies a passage's share on both sides, so it never changes which scores are best (our choice).
    """

    def __init__(
        self, *, temperature: float, relevant_from: float, max_grade: float, grade_temperature: float | None = None
    ) -> None:
        super().__init__(temperature=temperature, relevant_from=relevant_from, max_grade=max_grade)
        self.grade_temperature = max_grade / STEPS_OF_THE_SCALE if grade_temperature is None else grade_temperature
        if not self.grade_temperature > 0:
            raise ValueError(f"grade_temperature is {grade_temperature}; it must be above 0")

    def shares(self, lists: CountedLists) -> tuple[Tensor, Tensor, Tensor]:
        """The target t, (n, list_length), 0 where it has no share; log t and log p, 0 where t is 0."""
        judged = lists.present & ~lists.unlabelled
        log_weights = lists.weights.masked_fill(~lists.present, 1.0).log()
        wanted = (log_weights + lists.grades / self.grade_temperature).masked_fill(~judged, -torch.inf)
        log_target = (wanted - wanted.logsumexp(dim=1, keepdim=True)).masked_fill(~judged, 0.0)
        log_model = lists.logits + log_weights - lists.log_mass(lists.present).unsqueeze(1)
        return log_target.exp().masked_fill(~judged, 0.0), log_target, log_model.masked_fill(~judged, 0.0)
