"""Turns what a reply carries into one confidence and its kind. Calibration is elsewhere: these numbers are raw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from annotator.types import Scale


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of a reply: where it starts in the text (characters), its natural log-probability, its rivals."""

    offset: int
    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...]


def token_distribution(
    logprobs: Sequence[TokenLogprob] | None, *, grade_at: int | None, grade: int, scale: Scale
) -> tuple[float, ...] | None:
    """Probability of each grade 0..K, read from the token that states the grade; None where that would be unsound.

    p(g) = Σ exp(logprob of tokens that read g) / Σ over all grades of the scale: a softmax renormalised over the grade
    set. A grade that is not among the listed rivals gets 0. None when `grade_at` is None (reasoning came before the
    grade, which saturates the probabilities), when the server sent no log-probabilities, when the token is not the
    grade alone, or when the scale has grades of two digits.

    Source: renormalising over the answer tokens follows DIRAS (arXiv 2406.14162); refusing it after reasoning is our
    choice.
    """
    if logprobs is None or grade_at is None or scale.max_grade > 9:
        return None
    for entry in logprobs:
        if entry.offset <= grade_at < entry.offset + len(entry.token):
            break
    else:
        return None
    if _reads(entry.token, scale) != grade:
        return None
    candidates = dict(entry.alternatives)
    candidates.setdefault(entry.token, entry.logprob)
    masses = [0.0 for _ in scale.grades]
    for token, logprob in candidates.items():
        read = _reads(token, scale)
        if read is not None and math.isfinite(logprob):
            masses[read] += math.exp(min(logprob, 0.0))
    total = sum(masses)
    if not total > 0.0 or not masses[grade] > 0.0:
        return None
    return tuple(mass / total for mass in masses)


def side_probability(distribution: Sequence[float], *, grade: int, scale: Scale) -> float:
    """Probability in [0, 1] that the pair lies on the same side (relevant or not) as the grade."""
    relevant = scale.is_relevant(grade)
    mass = math.fsum(p for g, p in enumerate(distribution) if scale.is_relevant(g) == relevant)
    return min(1.0, max(0.0, mass))


def verbal_confidence(stated: object) -> float | None:
    """The probability a judge states in words, in [0, 1]: a number in [0, 1], or a percentage written with its sign.

    None for anything else: a bare 85 may be a percentage or a mistake, and guessing is not reading.

    Source: verbalised confidence as in DIRAS (arXiv 2406.14162); what is accepted as a number is our choice.
    """
    if isinstance(stated, bool):
        return None
    if isinstance(stated, str):
        text = stated.strip()
        percent = text.endswith("%")
        try:
            value = float(text[:-1] if percent else text)
        except ValueError:
            return None
        value = value / 100 if percent else value
    elif isinstance(stated, int | float):
        try:
            value = float(stated)
        except OverflowError:
            return None
    else:
        return None
    return value if 0.0 <= value <= 1.0 else None


def _reads(token: str, scale: Scale) -> int | None:
    """The grade that a token states and nothing else, besides white space, a colon or a quotation mark."""
    digits = token.strip(" \t\r\n:\"'*")
    if len(digits) == 1 and digits in "0123456789" and int(digits) <= scale.max_grade:
        return int(digits)
    return None
