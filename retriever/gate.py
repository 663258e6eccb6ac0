"""Whether a candidate model may go live, from a comparison on human-judged held-out queries; promoting is not here."""

import math
from statistics import NormalDist, stdev

from retriever.paired_tests import cautious_bounds
from retriever.slices import SMALLEST, UNSEEN
from retriever.types import GATE_RULES, Comparison, Difference, GateVerdict, RegressionOutcome

GATE_MEASURE = "nDCG@10"
DEFAULT_MARGIN = 0.01
DEFAULT_MIN_QUERIES = 30
BETTER, NOT_WORSE = GATE_RULES
_TAIL_RESAMPLES = 20
_MOST_RESAMPLES = 200_000
_MOST_QUERIES_NAMED = 100_000


def alpha_for_look(looks: int, *, alpha: float = 0.05) -> float:
    """What the next look at a held-out set may spend of alpha: alpha / (k(k+1)), where k counts looks from 1.

    looks: evaluations of this held-out set already made. The shares of all looks to come add up to alpha, so however
    many candidates are tried, one that is no better passes with probability alpha at most: as far as the bound
    keeps its level, and as long as candidates are not built from the verdicts on this very set. Our choice (a
    Bonferroni spending schedule).
    Raises: ValueError for looks below 0.
    """
    if looks < 0:
        raise ValueError(f"looks is {looks}; it must be 0 or more")
    return alpha / ((looks + 1) * (looks + 2))


def decide(
    comparison: Comparison,
    *,
    rule: str = BETTER,
    margin: float = DEFAULT_MARGIN,
    min_queries: int = DEFAULT_MIN_QUERIES,
    looks: int,
    regression: RegressionOutcome | None = None,
    let_through: int = 0,
    alpha: float = 0.05,
) -> GateVerdict:
    """The verdict and, in plain sentences, why.

    A candidate passes when there are min_queries held-out queries; the lower bound of its nDCG@10 difference on all of
    them is above 0 (rule "better") or above −margin ("not-worse"); the lower bound on the unseen ones is not below
    −margin; and the candidate breaks no check of the regression set (`regression`; None: none was made). A check that
    the live model fails as well is said and does not block: refusing would keep a model that is as bad there (our
    choice). Bounds are one-sided, `cautious_bounds` at the level this look may spend. Too few unseen queries to
    judge, or slices unknown, is said but does not block: the bound over all queries still must hold. margin: nDCG, 0 or
    more. let_through: how many models in a row, the live one last, went live without being shown better: each may have
    lost the margin against the one before, which is said and does not block (our choice).

    Raises: ValueError for an unknown rule, a negative margin, looks or let_through below 0, min_queries below 1 or a
    comparison without nDCG@10.
    """
    if rule not in GATE_RULES:
        raise ValueError(f"rule is {rule!r}; choose one of {', '.join(GATE_RULES)}")
    if margin < 0:
        raise ValueError(f"margin is {margin}; it must be 0 or more")
    if min_queries < 1:
        raise ValueError(f"min_queries is {min_queries}; it must be 1 or more")
    if let_through < 0:
        raise ValueError(f"let_through is {let_through}; it must be 0 or more")
    if GATE_MEASURE not in comparison.differences:
        raise ValueError(f"the comparison has no {GATE_MEASURE}: evaluate it for both models")
    spent = alpha_for_look(looks, alpha=alpha)
    overall = comparison.differences[GATE_MEASURE]
    low, high = _bounds(comparison, overall, alpha=spent)
    better = low > 0
    holds = better or (rule == NOT_WORSE and low > -margin)
    enough = overall.n >= min_queries
    reasons = [_overall_reason(overall, low=low, high=high, rule=rule, margin=margin, alpha=spent)]
    if holds and not better:
        reasons.append(_drift_reason(let_through, margin=margin))
    reasons.append(
        f"This was look {looks + 1} at these queries, at {_percent(1 - spent)} confidence; "
        "each further look asks for more."
    )
    if spent * _MOST_RESAMPLES < 1:
        reasons.append(
            f"These queries were looked at {looks} times before, too often to decide by: only an override can promote."
        )
    if not enough:
        reasons.append(f"Too few held-out queries to decide: {overall.n}, at least {min_queries} are needed.")
    unseen_holds, unseen_reason = _judge_unseen(comparison, margin=margin, alpha=spent)
    reasons.append(unseen_reason)
    reasons += _regression_reasons(regression)
    reasons.append(
        f"Nobody judged {100 * comparison.baseline.unjudged_at_10:.0f} % of the live model's top 10 and "
        f"{100 * comparison.candidate.unjudged_at_10:.0f} % of the candidate's ({overall.n} queries)."
    )
    return GateVerdict(
        passed=holds and enough and unseen_holds and not (regression and regression.broken),
        better=better,
        reasons=tuple(reasons),
        alpha=spent,
    )


def _overall_reason(overall: Difference, *, low: float, high: float, rule: str, margin: float, alpha: float) -> str:
    change = f"{GATE_MEASURE} changed by {overall.mean:+.3f} ({overall.n} held-out queries)"
    if low > 0:
        return f"Better: {change}, and by more than {low:+.3f} at {_percent(1 - alpha)} confidence."
    if high < 0:
        return f"Worse: {change}, and by {high:+.3f} at best."
    may_be = f"{change}, but at {_percent(1 - alpha)} confidence it may be as low as {low:+.3f}"
    if rule == BETTER:
        return f"Not shown to be better: {may_be}.{_would_settle(overall, above=0.0, alpha=alpha)}"
    if low > -margin:
        return (
            f"Not worse by more than {margin:.3f}: {change}, not below {low:+.3f} at {_percent(1 - alpha)} confidence."
        )
    return f"It may be worse by more than {margin:.3f}: {may_be}.{_would_settle(overall, above=-margin, alpha=alpha)}"


def _drift_reason(let_through: int, *, margin: float) -> str:
    if not let_through:
        return f"Each model that goes live like this may lose {margin:.3f} against the one before it."
    in_a_row = let_through + 1
    return (
        f"It would be the {in_a_row}. model in a row that goes live without being shown better: each may have lost "
        f"{margin:.3f}, together {in_a_row * margin:.3f} against the model they began from."
    )


def _judge_unseen(comparison: Comparison, *, margin: float, alpha: float) -> tuple[bool, str]:
    unseen = comparison.slices.get(UNSEEN, {}).get(GATE_MEASURE)
    if unseen is None:
        if not comparison.slices.keys() & {UNSEEN, "seen"}:
            return True, "Which held-out queries the training had seen is unknown: new queries were not checked apart."
        return True, "Training had seen every held-out query (0 unseen), so new queries could not be checked."
    change = f"{GATE_MEASURE} changed by {unseen.mean:+.3f} ({unseen.n} queries)"
    if unseen.n < SMALLEST:
        return True, f"Too few unseen queries to check apart: {change}; {SMALLEST} are needed."
    low, _ = _bounds(comparison, unseen, alpha=alpha)
    if low < -margin:
        return False, (
            f"On unseen queries it may be worse by more than {margin:.3f}: {change}, but at {_percent(1 - alpha)} "
            f"confidence it may be as low as {low:+.3f}.{_would_settle(unseen, above=-margin, alpha=alpha)}"
        )
    return True, f"On unseen queries it is not worse by more than {margin:.3f}: {change}, and not below {low:+.3f}."


def _regression_reasons(regression: RegressionOutcome | None) -> list[str]:
    if regression is None or not regression.n_checks:
        return ["The regression set is empty, so no single answer was checked."]
    reasons = []
    if regression.broken:
        reasons.append(
            f"{len(regression.broken)} of {regression.n_checks} regression checks hold with the live model and fail "
            f"with the candidate: {'; '.join(regression.broken)}."
        )
    if regression.failing_before:
        reasons.append(
            f"{len(regression.failing_before)} of {regression.n_checks} regression checks fail with both models, which "
            f"does not block: {'; '.join(regression.failing_before)}."
        )
    return reasons or [f"The regression set holds ({regression.n_checks} checks)."]


def _would_settle(difference: Difference, *, above: float, alpha: float) -> str:
    """About how many queries would put the bound above `above` if mean and spread stay as they are; often none would.

    Our choice: the normal approximation, n = (z·s / (mean − above))², to two digits.
    """
    gap = difference.mean - above
    values = [value for _, value in difference.per_query]
    if gap <= 0 or len(values) < 2:
        return ""
    needed = (NormalDist().inv_cdf(1 - alpha) * stdev(values) / gap) ** 2
    if not difference.n < needed <= _MOST_QUERIES_NAMED:
        return ""
    digits = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return f" About {math.ceil(needed / digits) * digits:,} such queries would settle it, should it stay like this."


def _percent(share: float) -> str:
    """ "97.5 %", "99.989 %": as many digits as tell it from 100."""
    digits = max(1, 1 - math.floor(math.log10(100 * (1 - share))))
    return f"{100 * share:.{digits}f} %"


def _bounds(comparison: Comparison, difference: Difference, *, alpha: float) -> tuple[float, float]:
    low, high = cautious_bounds(
        [value for _, value in difference.per_query],
        # A bound far out in the tail needs resamples beyond it, or it is the luck of the few most extreme ones.
        resamples=max(comparison.resamples, min(_MOST_RESAMPLES, math.ceil(_TAIL_RESAMPLES / alpha))),
        seed=comparison.seed,
        alpha=alpha,
    )
    return max(-1.0, low), min(1.0, high)  # as far as nDCG can change
