"""The closed sets of words that the tables store; the words are those of the design's table."""

from __future__ import annotations

from enum import StrEnum

from annotator.routing import Outcome

__all__ = [
    "CertificateState",
    "LabelSource",
    "ModelKind",
    "ModelStage",
    "Outcome",
    "PersonKind",
    "PolicyKind",
    "PromotionCause",
    "QuestionOutcome",
    "QueueCause",
    "ReviewAction",
    "RevocationAct",
    "Role",
    "RoundStatus",
    "RunStatus",
    "SpendState",
    "Split",
    "Visibility",
]


class Split(StrEnum):
    """What a query is for; set once."""

    TRAIN = "train"
    CALIBRATE = "calibrate"
    HELD_OUT = "held-out"


class PersonKind(StrEnum):
    """Whether somebody sits at the desk here, or their judgements came in a file."""

    REVIEWER = "reviewer"
    IMPORTED = "imported"


class Role(StrEnum):
    REVIEWER = "reviewer"
    ADJUDICATOR = "adjudicator"
    OWNER = "owner"


class ReviewAction(StrEnum):
    """What a person did with a pair; undo takes back one earlier review and stands beside it."""

    GRADE = "grade"
    SKIP = "skip"
    FLAG = "flag"
    UNDO = "undo"
    ADJUDICATE = "adjudicate"


class QueueCause(StrEnum):
    """Why a pair stands in the audit queue, the strongest reason only; the words on the card are the entry's."""

    NEAR_THRESHOLD = "near-threshold"
    HIGH_RANK = "high-rank"
    DISAGREEMENT = "disagreement"
    FALSE_NEGATIVE = "false-negative"
    UNREADABLE = "unreadable"
    SUSPECT_HUMAN = "suspect-human"
    PEOPLE_ONLY = "people-only"
    DRAWN = "drawn"
    OTHER = "other"


class LabelSource(StrEnum):
    """Who stands behind a curated grade, the strongest first."""

    ADJUDICATED = "adjudicated"
    HUMAN = "human"
    ACCEPTED = "accepted"
    SELF = "self"
    PROPOSED = "proposed"


class PolicyKind(StrEnum):
    BARE_THRESHOLD = "bare-threshold"
    CERTIFIED = "certified"


class CertificateState(StrEnum):
    ISSUED = "issued"
    SUSPENDED = "suspended"


class ModelKind(StrEnum):
    """What was trained: the encoder itself, or a transform of the query vector on top of an encoder left as it is."""

    FULL = "full"
    ADAPTER = "adapter"


class RevocationAct(StrEnum):
    REVOKE = "revoke"
    RESTORE = "restore"


class RoundStatus(StrEnum):
    """How far a round is; it waits for people between labelling and retraining."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ModelStage(StrEnum):
    CANDIDATE = "candidate"
    LIVE = "live"
    RETIRED = "retired"


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_active(self) -> bool:
        return self in (RunStatus.QUEUED, RunStatus.RUNNING)


class PromotionCause(StrEnum):
    """Why the live model changed."""

    FIRST = "first"
    GATE = "gate"
    OVERRIDE = "override"
    ROLLBACK = "rollback"


class QuestionOutcome(StrEnum):
    """What came of asking for a passage's questions; a readable reply may hold none."""

    WRITTEN = "written"
    UNREADABLE = "unreadable"
    FAILED = "failed"


class SpendState(StrEnum):
    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


class Visibility(StrEnum):
    """Whether a reviewer saw the suggestion before grading."""

    BLIND = "blind"
    SHOWN = "shown"
