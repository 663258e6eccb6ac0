"""How the members of an ensemble voted on one pair, read from what is stored with its suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemberVoteView:
    """What one member said: its grade, None where its reply could not be read, and its own confidence by kind."""

    judge: str
    model: str
    prompt_version: str
    grade: int | None
    confidence: float | None
    confidence_kind: str | None


@dataclass(frozen=True, slots=True)
class VotesView:
    """All members' votes and how far they agree; both figures are None where too few votes could be read.

    entropy: in nats, 0 is unanimous, ln(K + 1) is even over all K + 1 grades. first_second_distance: share of the
    commonest grade less that of the second, in [0, 1]; 1 is unanimous, 0 is a tie.
    """

    members: tuple[MemberVoteView, ...]
    entropy: float | None
    first_second_distance: float | None


def votes_of(context: Mapping[str, object] | None) -> VotesView | None:
    """The votes in a suggestion's context; None when no ensemble made it."""
    members = None if context is None else context.get("members")
    if context is None or not isinstance(members, list) or not members:
        return None
    return VotesView(
        members=tuple(_member(member) for member in members if isinstance(member, Mapping)),
        entropy=_number(context.get("entropy")),
        first_second_distance=_number(context.get("first_second_distance")),
    )


def _member(said: Mapping[str, object]) -> MemberVoteView:
    grade, kind = said.get("grade"), said.get("confidence_kind")
    return MemberVoteView(
        judge=str(said.get("judge", "")),
        model=str(said.get("model", "")),
        prompt_version=str(said.get("prompt_version", "")),
        grade=grade if isinstance(grade, int) else None,
        confidence=_number(said.get("confidence")),
        confidence_kind=None if kind is None else str(kind),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
