"""A list-wise and a pair-wise objective together."""

from torch import Tensor
from torch.nn import functional

from retriever.losses.graded_pairs import graded_pairs
from retriever.losses.graded_target import TargetLoss
from retriever.losses.list_loss import CountedLists


class ARL2(TargetLoss):
    """λ · ListNet + (1 − λ) · mean over the pairs with g_i > g_j of softplus(s_j − s_i + m·(g_i − g_j)/K).

    balance: λ in [0, 1]. margin: m, 0 or more. K is max_grade. ListNet is that of `list_net`, −Σ_i t_i log p_i. Lists
    in which all grades are equal are skipped, see `ListLoss.counts`. Source: ARL2 (arXiv 2402.13542) trains on the
    LLM's scores with a list-wise and a pair-wise loss; its formulas are not public, so both halves, λ = ½ and m = 0 are
    our choice.
    """

    def __init__(
        self,
        *,
        temperature: float,
        relevant_from: float,
        max_grade: float,
        grade_temperature: float | None = None,
        balance: float = 0.5,
        margin: float = 0.0,
    ) -> None:
        super().__init__(
            temperature=temperature,
            relevant_from=relevant_from,
            max_grade=max_grade,
            grade_temperature=grade_temperature,
        )
        if not 0 <= balance <= 1:
            raise ValueError(f"balance is {balance}; it must be in [0, 1]")
        if not margin >= 0:
            raise ValueError(f"margin is {margin}; it must be 0 or more")
        self.balance = balance
        self.margin = margin

    def list_losses(self, lists: CountedLists) -> Tensor:
        """One loss per list, (n,); see `ListLoss.list_losses`."""
        target, _, log_model = self.shares(lists)
        pairs = graded_pairs(lists)
        by_pair = pairs.mean(functional.softplus(self.margin * pairs.gap / self.max_grade - pairs.lead))
        return self.balance * -(target * log_model).sum(dim=1) + (1.0 - self.balance) * by_pair
