"""What a probe found that one model at one endpoint can do, as a value that is stored and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from annotator.judges.server_features import Features, ReplyFormat


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the probe found; `context_length` is in tokens and None where the server does not tell.

    `features` are the optional parts of the protocol that the server takes and answers to. `reasons`: the model thought
    before it answered, so that token confidence is refused. `obeys_format`: the reply was the JSON object asked for.
    """

    features: Features
    reasons: bool
    obeys_format: bool
    context_length: int | None
    prompt_tokens: int
    completion_tokens: int

    @property
    def token_confidence(self) -> bool:
        """Whether a confidence can be read from token probabilities."""
        return self.features.logprobs and not self.reasons

    def to_json(self) -> dict[str, object]:
        """The capabilities as plain JSON, to be stored; `from_json` gives them back."""
        return {
            "reply_format": self.features.reply_format.name,
            "temperature": self.features.temperature,
            "logprobs": self.features.logprobs,
            "max_completion_tokens": self.features.max_completion_tokens,
            "reasons": self.reasons,
            "obeys_format": self.obeys_format,
            "context_length": self.context_length,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }

    @staticmethod
    def from_json(stored: Mapping[str, object]) -> Capabilities:
        """The capabilities that `to_json` stored."""
        context = stored["context_length"]
        return Capabilities(
            features=Features(
                reply_format=ReplyFormat[str(stored["reply_format"])],
                temperature=bool(stored["temperature"]),
                logprobs=bool(stored["logprobs"]),
                max_completion_tokens=bool(stored["max_completion_tokens"]),
            ),
            reasons=bool(stored["reasons"]),
            obeys_format=bool(stored["obeys_format"]),
            context_length=None if context is None else int(str(context)),
            prompt_tokens=int(str(stored["prompt_tokens"])),
            completion_tokens=int(str(stored["completion_tokens"])),
        )
