"""Whether a candidate model may go live, from a comparison on human-judged held-out queries; promoting is not here."""

import math
from collections.abc import Sequence

from retriever.evaluation import UNSEEN, bootstrap_interval
from retriever.types import Comparison, Difference, GateVerdict

GATE_MEASURE = "nDCG@10"
DEFAULT_MARGIN = 0.01
DEFAULT_MIN_QUERIES = 30
_SMALL_SLICE = 10
_TAIL_RESAMPLES = 20
_MOST_RESAMPLES = 200_000


def alpha_for_look(looks: int, *, alpha: float = 0.05) -> float:
    """What the next look at a held-out set may spend of alpha: alpha / (k(k+1)), where k counts looks from 1.

    looks: evaluations of this held-out set already made. The shares of all looks to come add up to alpha, so however
    many candidates are tried, one that is no better passes with probability alpha at most: as far as the bootstrap
    interval keeps its level, and as long as candidates are not built from the verdicts on this very set. Our choice (a
    Bonferroni spending schedule).
    Raises: ValueError for looks below 0.
    """
    if looks < 0:
        raise ValueError(f"looks is {looks}; it must be 0 or more")
    return alpha / ((looks + 1) * (looks + 2))


def decide(
    comparison: Comparison,
    *,
    margin: float = DEFAULT_MARGIN,
    min_queries: int = DEFAULT_MIN_QUERIES,
    looks: int,
    regression_failures: Sequence[str] = (),
    alpha: float = 0.05,
) -> GateVerdict:
    """The verdict and, in plain sentences, why.

    A candidate passes when there are min_queries held-out queries, the lower bound of its nDCG@10 difference on all of
    them is above 0, the lower bound on the unseen ones is not below −margin, and nothing of the regression set failed.
    Bounds are lower ends of bootstrap intervals at the level this look may spend. Too few unseen queries to judge, or
    slices unknown, is said but does not block: the bound over all queries still must hold. margin: nDCG, 0 or more.
    Raises: ValueError for a negative margin, looks below 0, min_queries below 1 or a comparison without nDCG@10.
    """
    if margin < 0:
        raise ValueError(f"margin is {margin}; it must be 0 or more")
    if min_queries < 1:
        raise ValueError(f"min_queries is {min_queries}; it must be 1 or more")
    if GATE_MEASURE not in comparison.differences:
        raise ValueError(f"the comparison has no {GATE_MEASURE}: evaluate it for both models")
    spent = alpha_for_look(looks, alpha=alpha)
    overall = comparison.differences[GATE_MEASURE]
    low, high = _interval(comparison, overall, alpha=spent)
    better = low > 0
    enough = overall.n >= min_queries
    reasons = [
        _overall_reason(overall, low=low, high=high),
        f"This was look {looks + 1} at this held-out set, so the interval is at {100 * (1 - spent):.2f} %.",
    ]
    if not enough:
        reasons.append(f"Too few held-out queries to decide: {overall.n}, at least {min_queries} are needed.")
    unseen_holds, unseen_reason = _judge_unseen(comparison, margin=margin, alpha=spent)
    reasons.append(unseen_reason)
    if regression_failures:
        reasons.append(f"{len(regression_failures)} of the regression checks failed: {'; '.join(regression_failures)}.")
    reasons.append(
        f"Nobody judged {100 * comparison.baseline.unjudged_at_10:.0f} % of the live model's top 10 and "
        f"{100 * comparison.candidate.unjudged_at_10:.0f} % of the candidate's ({overall.n} queries)."
    )
    return GateVerdict(
        passed=better and enough and unseen_holds and not regression_failures,
        better=better,
        reasons=tuple(reasons),
        alpha=spent,
    )


def _overall_reason(overall: Difference, *, low: float, high: float) -> str:
    figures = (
        f"{GATE_MEASURE} changed by {overall.mean:+.3f}, interval {low:+.3f} to {high:+.3f} "
        f"({overall.n} held-out queries)"
    )
    if low > 0:
        return f"Better: {figures}."
    if high < 0:
        return f"Worse: {figures}."
    return f"Not shown to be better: {figures}; the interval includes 0."


def _judge_unseen(comparison: Comparison, *, margin: float, alpha: float) -> tuple[bool, str]:
    if not comparison.slices:
        return True, "Which held-out queries the training had seen is unknown, so new queries were not checked apart."
    unseen = comparison.slices.get(UNSEEN, {}).get(GATE_MEASURE)
    if unseen is None:
        return True, "Training had seen every held-out query (0 unseen), so new queries could not be checked."
    low, high = _interval(comparison, unseen, alpha=alpha)
    figures = f"changed by {unseen.mean:+.3f}, interval {low:+.3f} to {high:+.3f} ({unseen.n} queries)"
    if unseen.n < _SMALL_SLICE:
        return True, f"Too few unseen queries to check apart: {GATE_MEASURE} {figures}; {_SMALL_SLICE} are needed."
    if low < -margin:
        return False, f"On unseen queries it may be worse by more than {margin:.3f}: {GATE_MEASURE} {figures}."
    return True, f"On unseen queries it is not worse by more than {margin:.3f}: {GATE_MEASURE} {figures}."


def _interval(comparison: Comparison, difference: Difference, *, alpha: float) -> tuple[float, float]:
    return bootstrap_interval(
        [value for _, value in difference.per_query],
        # A bound far out in the tail needs resamples beyond it, or it is the luck of the few most extreme ones.
        resamples=max(comparison.resamples, min(_MOST_RESAMPLES, math.ceil(_TAIL_RESAMPLES / alpha))),
        seed=comparison.seed,
        alpha=alpha,
    )
