"""Which optional parts of the chat protocol a server takes, learnt from its refusals and remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum


class ReplyFormat(Enum):
    """How a server is asked for JSON, from strictest to not at all."""

    json_schema = 3
    json_object = 2
    none = 1


@dataclass(frozen=True, slots=True)
class Features:
    """What one call makes use of; a fresh judge starts with everything."""

    reply_format: ReplyFormat = ReplyFormat.json_schema
    temperature: bool = True
    logprobs: bool = True
    max_completion_tokens: bool = True

    def without_refused(self, *, parameter: str | None, message: str) -> Features | None:
        """These features less the one that an error names, or None when it names none in use."""
        named = parameter.casefold() if parameter else ""
        said = message.casefold()
        for text in (named, said):
            if self.max_completion_tokens and "max_completion_tokens" in text:
                return replace(self, max_completion_tokens=False)
            if self.logprobs and "logprobs" in text:
                return replace(self, logprobs=False)
            if self.temperature and "temperature" in text:
                return replace(self, temperature=False)
            about_format = any(word in text for word in ("response_format", "json_schema", "json_object"))
            if about_format and self.reply_format is not ReplyFormat.none:
                weaker = ReplyFormat(self.reply_format.value - 1)
                return replace(self, reply_format=weaker)
        return None

    def common_with(self, other: Features) -> Features:
        """What both allow: two calls may learn of different refusals at the same time."""
        return Features(
            reply_format=ReplyFormat(min(self.reply_format.value, other.reply_format.value)),
            temperature=self.temperature and other.temperature,
            logprobs=self.logprobs and other.logprobs,
            max_completion_tokens=self.max_completion_tokens and other.max_completion_tokens,
        )

    def body(
        self,
        *,
        schema: Mapping[str, object] | None,
        schema_name: str,
        max_completion_tokens: int,
        top_logprobs: int | None,
    ) -> dict[str, object]:
        """The optional fields of a call; without a schema plain text is asked for, without `top_logprobs` none."""
        fields: dict[str, object] = {}
        if schema is None:
            pass
        elif self.reply_format is ReplyFormat.json_schema:
            described = {"name": schema_name, "strict": True, "schema": dict(schema)}
            fields["response_format"] = {"type": "json_schema", "json_schema": described}
        elif self.reply_format is ReplyFormat.json_object:
            fields["response_format"] = {"type": "json_object"}
        if self.temperature:
            fields["temperature"] = 0
        if self.logprobs and top_logprobs is not None:
            fields["logprobs"] = True
            fields["top_logprobs"] = top_logprobs
        fields["max_completion_tokens" if self.max_completion_tokens else "max_tokens"] = max_completion_tokens
        return fields
