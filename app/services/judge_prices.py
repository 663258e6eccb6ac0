"""What a judge costs, from tokens times the price, whatever its replies happened to cost this time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotator.types import JudgeKind
from app.config import Settings
from db.models import JudgeRow, Suggestion
from db.queries.comparing import JudgeUsage


def members_of(suggestion: Suggestion) -> list[Mapping[str, Any]]:
    """What an ensemble's members said, in its order; empty for a judge that is none."""
    return list((suggestion.context or {}).get("members", []))


@dataclass(frozen=True, slots=True)
class Prices:
    """What judges cost. A reply from the cache was paid for once and would be again, so it counts like a paid one.

    A judge's own price a token is what it paid; where it paid for nothing, the price of the settings, if they name its
    model. The built-in judges cost nothing.
    """

    rows: Sequence[JudgeRow]
    usages: Mapping[int, JudgeUsage]
    settings: Settings

    def of(self, row: JudgeRow, by_pair: Mapping[int, Suggestion]) -> tuple[float, float | None]:
        """Tokens a pair, and US dollars for 1,000 pairs or None where no price is known.

        Members whose votes an ensemble found stored used no tokens of its own; what they use alone is added.
        """
        tokens, usd = self._own(row)
        if row.kind is not JudgeKind.ENSEMBLE:
            return tokens, usd
        for member in self._stored_members(by_pair):
            more, cost = (0.0, None) if member is None else self._own(member)
            tokens, usd = tokens + more, None if usd is None or cost is None else usd + cost
        return tokens, usd

    def _own(self, row: JudgeRow) -> tuple[float, float | None]:
        usage = self.usages.get(row.id)
        if usage is None:
            return 0.0, None
        tokens = usage.prompt_tokens + usage.completion_tokens
        if row.kind in (JudgeKind.LOCAL, JudgeKind.RETRIEVER) or (row.kind is JudgeKind.ENSEMBLE and not tokens):
            return tokens / usage.n, 0.0
        price_in, price_out = self.settings.llm_price_in_per_million_usd, self.settings.llm_price_out_per_million_usd
        usd = None
        if usage.paid_tokens:
            usd = usage.paid_usd / usage.paid_tokens * tokens
        elif tokens and row.model == self.settings.llm_model and price_in is not None and price_out is not None:
            usd = (usage.prompt_tokens * price_in + usage.completion_tokens * price_out) / 1e6
        return tokens / usage.n, None if usd is None else 1000 * usd / usage.n

    def _stored_members(self, by_pair: Mapping[int, Suggestion]) -> list[JudgeRow | None]:
        """The members whose votes the latest suggestion took from where they were stored; None for one unknown here."""
        by_name = {(row.name, row.prompt_version): row for row in self.rows}
        return [
            by_name.get((member["judge"], member["prompt_version"]))
            for member in members_of(by_pair[max(by_pair)])
            if member.get("suggestion_id") is not None
        ]
