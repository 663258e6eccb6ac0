"""Everything this package raises on purpose.

AnnotatorError
├── JudgeUnavailable    no request can succeed: wrong key, no right to the model, no such model, no credit; stop the job
├── CapReached          the next call could cost more than the job may still spend; stop the job, keep everything
├── PromptInvalid       a prompt file cannot be used; name the file and the field
├── ScaleInvalid        a scale contradicts itself (also a ValueError)
├── PolicyInvalid       a routing policy has impossible parameters (also a ValueError)
├── CalibrationImpossible   too few reviews, queries or answers of one class to fit or measure; review more
├── CalibratorInvalid   a stored calibrator cannot be read (also a ValueError)
├── InputRefused        a suggestion of another kind, scale or number of votes than asked for (also a ValueError)
└── CertificateImpossible   an audit cannot be designed, or the answers are not those of its sample (also a ValueError)

A pair that got no reply is no error but a `JudgeFailure`; a reply that cannot be read is a `Proposal` marked
unreadable.
"""

from __future__ import annotations


class AnnotatorError(Exception):
    """Root of the tree; `user_message` is fit for the screen, the message itself for the log."""

    def __init__(self, message: str, *, user_message: str | None = None) -> None:
        super().__init__(message)
        self.user_message = user_message or message


class JudgeUnavailable(AnnotatorError):
    """The judge cannot answer any request until someone changes its settings."""


class CapReached(AnnotatorError):
    """The worst case of the next call does not fit under the cap; what came before is stored."""


class PromptInvalid(AnnotatorError):
    """A prompt file lacks a field, names an unknown one, or uses a placeholder that does not exist."""


class ScaleInvalid(AnnotatorError, ValueError):
    """A scale's bounds or labels contradict each other."""


class PolicyInvalid(AnnotatorError, ValueError):
    """A routing policy was given parameters that mean nothing."""


class CalibrationImpossible(AnnotatorError):
    """The reviews are too few, of too few queries, or all of one class."""


class CalibratorInvalid(AnnotatorError, ValueError):
    """A stored calibrator is not what `Calibrator.to_json` writes."""


class InputRefused(AnnotatorError, ValueError):
    """A suggestion carries another kind of confidence, another scale or other votes than the calibrator's."""


class CertificateImpossible(AnnotatorError, ValueError):
    """No certificate can be made of what was given: the batch changed, or the sample is not its own."""
