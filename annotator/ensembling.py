"""Several votes as one answer and how far they agree. Pure counting; the ensemble judge asks for the votes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from annotator.types import Scale


def vote_shares(votes: Sequence[int | None], scale: Scale) -> tuple[float, ...] | None:
    """Share of the votes for each grade 0..K, summing to 1; None when every vote is missing.

    A missing vote (None: unreadable, failed, not asked) counts for nothing, it is never grade 0.

    Raises:
        ValueError: a vote is not on the scale.
    """
    given = [vote for vote in votes if vote is not None]
    for vote in given:
        if vote not in scale.grades:
            raise ValueError(f"vote {vote} is not on the scale 0..{scale.max_grade}")
    if not given:
        return None
    return tuple(given.count(grade) / len(given) for grade in scale.grades)


def majority_grade(votes: Sequence[int | None], scale: Scale) -> int | None:
    """The grade with the most votes; None when every vote is missing.

    Ties: the grade on the side (relevant or not) that has more votes; then the one nearest the mean vote; then the
    lowest, because judges mark too many passages relevant. Our choice; a tie shows in the confidence either way.
    """
    shares = vote_shares(votes, scale)
    if shares is None:
        return None
    given = [vote for vote in votes if vote is not None]
    most = max(given.count(grade) for grade in scale.grades)
    tied = [grade for grade in scale.grades if given.count(grade) == most]

    def order(grade: int) -> tuple[int, int, int]:
        same_side = sum(scale.is_relevant(vote) == scale.is_relevant(grade) for vote in given)
        return -same_side, abs(grade * len(given) - sum(given)), grade

    return min(tied, key=order)


def side_share(shares: Sequence[float], grade: int, scale: Scale) -> float:
    """Share of the votes, in [0, 1], on the same side (relevant or not) as the grade: confidence of kind `votes`."""
    relevant = scale.is_relevant(grade)
    return min(1.0, math.fsum(share for g, share in enumerate(shares) if scale.is_relevant(g) == relevant))


def equal_share(shares: Sequence[float]) -> float:
    """Share of the votes for the commonest grade, in (0, 1]: 1 is unanimous."""
    return max(shares)


def entropy(shares: Sequence[float]) -> float:
    """How divided the votes are, in nats: 0 is unanimous, ln(K + 1) is even over all grades.

    Formula: −Σ p ln p.
    Source: CoAnnotating, which finds votes of different prompts better than samples of one prompt.
    """
    return max(0.0, -math.fsum(share * math.log(share) for share in shares if share > 0.0))


def first_second_distance(shares: Sequence[float]) -> float:
    """Share of the commonest grade less that of the second, in [0, 1]: 1 is unanimous, 0 is a tie.

    Source: First–Second Distance, SILICON.
    """
    first, second = sorted(shares, reverse=True)[:2]
    return first - second
