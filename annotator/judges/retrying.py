"""How long to wait before asking a server again, and when to stop asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `max_attempts` calls a request; waits in seconds.

    Without word from the server the wait before attempt n + 1 is drawn evenly from [b/2, b], b = min(cap, base ·
    2^(n−1)): exponential backoff with equal jitter (our choice), so that workers refused together do not come back
    together. A server that names a wait is obeyed up to `max_retry_after`; beyond that the request is given up as
    retryable.
    """

    max_attempts: int = 6
    base: float = 1.0
    cap: float = 60.0
    max_retry_after: float = 300.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.base < 0 or self.cap < 0 or self.max_retry_after < 0:
            raise ValueError(f"a retry policy needs at least one attempt and no negative waits: {self}")

    def wait(self, *, attempt: int, retry_after: float | None, draw: float) -> float | None:
        """Seconds to wait after failed attempt `attempt` (from 1), or None to give up; `draw` is in [0, 1)."""
        if attempt >= self.max_attempts:
            return None
        if retry_after is not None:
            # A little is added, never taken away: coming back before the time named is refused again.
            return None if retry_after > self.max_retry_after else retry_after + draw * min(1.0, retry_after / 10)
        bound = min(self.cap, self.base * 2.0 ** min(attempt - 1, 60))
        return bound * (0.5 + draw / 2)


def retry_after_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """The wait a server asks for, in seconds from `now` (Unix time), or None when it names none that can be read.

    Source: RFC 9110, section 10.2.3 (seconds or an HTTP date); `retry-after-ms` is an addition of OpenAI and Azure.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    stated = headers.get("retry-after")
    seconds = _number(stated)
    if seconds is not None or stated is None:
        return seconds
    try:
        moment = parsedate_to_datetime(stated)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return value if 0.0 <= value < float("inf") else None
