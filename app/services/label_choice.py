"""What the Labels screen is narrowed to, as a value that saved views and addresses keep.

How the choice is drawn and worded is the screen's. Nothing here reads the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from app.services.labels import LabelFilters
from app.services.saved_views import FilterValue
from db.enums import Outcome, Split

MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """Filters of the Labels screen; None, False and "" narrow nothing.

    confidence_from, confidence_to: in [0, 1], both ends belong. disputed, flagged: only those that are.
    """

    outcome: Outcome | None = None
    reviewed: bool | None = None
    judge_id: int | None = None
    grade: int | None = None
    confidence_from: float | None = None
    confidence_to: float | None = None
    split: Split | None = None
    disputed: bool = False
    flagged: bool = False
    text: str = ""

    @property
    def by_proposal(self) -> bool:
        """Whether it leaves out pairs that people judge blind: being found would tell what was proposed or said."""
        told = (self.judge_id, self.grade, self.confidence_from, self.confidence_to, self.outcome)
        return self.disputed or any(value is not None for value in told)

    def filters(self) -> LabelFilters:
        """The same for `labels.list_labels`."""
        return LabelFilters(
            outcome=self.outcome,
            reviewed=self.reviewed,
            judge_id=self.judge_id,
            grade=self.grade,
            confidence_from=self.confidence_from,
            confidence_to=self.confidence_to,
            split=self.split,
            disputed=True if self.disputed else None,
            flagged=True if self.flagged else None,
            text=self.text,
        )


ALL = LabelChoice()
NAMES = tuple(field.name for field in fields(LabelChoice))


def to_filters(choice: LabelChoice) -> dict[str, FilterValue]:
    """The choice as words and numbers by name, without what narrows nothing."""
    default = asdict(ALL)
    return {
        name: value.value if isinstance(value, Outcome | Split) else value
        for name, value in asdict(choice).items()
        if value != default[name]
    }


def to_address(choice: LabelChoice) -> dict[str, str]:
    """The choice as parameters of an address."""
    return {
        name: ("yes" if value else "no") if isinstance(value, bool) else str(value)
        for name, value in to_filters(choice).items()
    }


def from_filters(filters: Mapping[str, object]) -> LabelChoice:
    """The choice that stored filters or an address mean; what makes no sense, or none any more, is left out."""
    outcome, split, text = filters.get("outcome"), filters.get("split"), filters.get("text")
    return LabelChoice(
        outcome=next((known for known in Outcome if known == outcome), None),
        reviewed=_yes_or_no(filters.get("reviewed")),
        judge_id=_whole(filters.get("judge_id")),
        grade=_whole(filters.get("grade")),
        confidence_from=_share(filters.get("confidence_from")),
        confidence_to=_share(filters.get("confidence_to")),
        split=next((known for known in Split if known == split), None),
        disputed=_yes_or_no(filters.get("disputed")) is True,
        flagged=_yes_or_no(filters.get("flagged")) is True,
        text=" ".join(text.replace("\0", " ").split())[:MAX_TEXT] if isinstance(text, str) else "",
    )


def _yes_or_no(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"yes": True, "no": False}.get(value) if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None


def _share(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 else None
