"""Policies that accept or reject a proposal. The certified rule lives elsewhere; nothing here keeps an error bound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol

from annotator.errors import PolicyInvalid
from annotator.types import Proposal, Scale, SuggestionStatus


class Outcome(StrEnum):
    """What a policy decides; rejected pairs go to the audit queue."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Decision:
    """An outcome and, in plain words, why."""

    outcome: Outcome
    why: str


class Policy(Protocol):
    """Whatever decides over proposals; `version` changes whenever the parameters do."""

    @property
    def version(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool]: ...

    def decide(self, proposal: Proposal, scale: Scale) -> Decision: ...


@dataclass(frozen=True, slots=True)
class BareThreshold:
    """Accepts a grade whose confidence reaches the threshold of its side. Our choice, and uncertified.

    Thresholds are compared with the raw confidence whatever its kind, so they mean something for one judge at a time
    only.

    Raises:
        PolicyInvalid: a threshold is no probability.
    """

    threshold_relevant: float = 0.9
    threshold_irrelevant: float = 0.9

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0.0 <= value <= 1.0:
                raise PolicyInvalid(f"{name} is {value}; it must be a probability in [0, 1]")

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool]:
        """What the version is the hash of."""
        return {"policy": "bare threshold", **asdict(self)}

    @property
    def version(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the parameters."""
        canonical = json.dumps(dict(self.parameters), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def decide(self, proposal: Proposal, scale: Scale) -> Decision:
        """Accepted or rejected, and why."""
        if proposal.status is SuggestionStatus.UNREADABLE or proposal.grade is None:
            return Decision(Outcome.REJECTED, "the reply could not be read")
        if not 0 <= proposal.grade <= scale.max_grade:
            return Decision(Outcome.REJECTED, f"grade {proposal.grade} is not on the scale 0..{scale.max_grade}")
        if proposal.confidence is None:
            return Decision(Outcome.REJECTED, "the judge gave no confidence")
        relevant = scale.is_relevant(proposal.grade)
        side = "relevant" if relevant else "not relevant"
        threshold = self.threshold_relevant if relevant else self.threshold_irrelevant
        measured = f"{side} with {proposal.confidence_kind} confidence {proposal.confidence:.3f}"
        if proposal.confidence >= threshold:
            return Decision(Outcome.ACCEPTED, f"uncertified: {measured}, at least the bare threshold {threshold:g}")
        return Decision(Outcome.REJECTED, f"{measured}, below the bare threshold {threshold:g}")
