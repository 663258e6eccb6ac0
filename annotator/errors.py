"""Everything this package raises on purpose.

AnnotatorError
├── JudgeUnavailable    no request can succeed: wrong key, no right to the model, no such model, no credit; stop the job
├── PromptInvalid       a prompt file cannot be used; name the file and the field
├── ScaleInvalid        a scale contradicts itself (also a ValueError)
└── PolicyInvalid       a routing policy has impossible parameters (also a ValueError)

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


class PromptInvalid(AnnotatorError):
    """A prompt file lacks a field, names an unknown one, or uses a placeholder that does not exist."""


class ScaleInvalid(AnnotatorError, ValueError):
    """A scale's bounds or labels contradict each other."""


class PolicyInvalid(AnnotatorError, ValueError):
    """A routing policy was given parameters that mean nothing."""
