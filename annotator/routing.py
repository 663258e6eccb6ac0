"""Policies that accept or reject. A bare threshold keeps no error bound; a certified one applies what `certificate`
found for one frozen batch, and nothing else.
"""

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
        return _version(self.parameters)

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


@dataclass(frozen=True, slots=True)
class CertifiedThreshold:
    """Accepts a frozen suggestion whose calibrated confidence reaches the certified threshold of its class.

    batch: hash of the one batch that it may decide on. A threshold of None: nothing of that class is certified. Grades
    between are no class of their own: what is certified is the side, relevant or not.
    """

    batch: str
    threshold_irrelevant: float | None
    threshold_relevant: float | None
    epsilon: float
    delta: float

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """What the version is the hash of."""
        return {"policy": "certified threshold", **asdict(self)}

    @property
    def version(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the parameters."""
        return _version(self.parameters)

    def decide(self, *, relevant: bool, confidence: float, audited: bool) -> Decision:
        """Accepted or rejected, and why; an audited pair carries the person's grade and is never accepted by itself."""
        side = "relevant" if relevant else "not relevant"
        threshold = self.threshold_relevant if relevant else self.threshold_irrelevant
        measured = f"{side} with calibrated confidence {confidence:.3f}"
        if audited:
            return Decision(Outcome.REJECTED, "audited blind: a person's grade stands here")
        if threshold is None:
            return Decision(Outcome.REJECTED, f"{measured}; nothing of this class is certified at {self.epsilon:.0%}")
        if confidence >= threshold:
            promise = f"at most {self.epsilon:.0%} wrong with confidence {1 - self.delta / 2:.1%}"
            return Decision(Outcome.ACCEPTED, f"certified: {measured}, at least {threshold:.3f}; {promise}")
        return Decision(Outcome.REJECTED, f"{measured}, below the certified threshold {threshold:.3f}")


def _version(parameters: Mapping[str, str | int | float | bool | None]) -> str:
    canonical = json.dumps(dict(parameters), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
