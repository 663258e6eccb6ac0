import re
from collections.abc import Mapping

import numpy as np
import pytest

from retriever.evaluation import compare
from retriever.gate import alpha_for_look, decide
from retriever.types import Comparison, Evaluation, QueryMeasures, RegressionOutcome


def evaluation(values: Mapping[str, float], *, unjudged: float = 0.0) -> Evaluation:
    return Evaluation(
        measures={"nDCG@10": sum(values.values()) / len(values)},
        per_query=tuple(QueryMeasures(query_id, {"nDCG@10": value}) for query_id, value in values.items()),
        n_queries=len(values),
        n_judgements=10 * len(values),
        unjudged_at_10=unjudged,
    )


def comparison(
    *,
    seen: float = 0.0,
    unseen: float = 0.0,
    n_seen: int = 30,
    n_unseen: int = 30,
    noise: float = 0.1,
    known: bool = True,
) -> Comparison:
    """Seen and unseen queries whose differences have exactly these means, with noise around them."""
    random = np.random.default_rng(0)
    after = {}
    for name, n, mean in (("s", n_seen, seen), ("u", n_unseen, unseen)):
        spread = random.normal(0, noise, n)
        after.update(
            {f"{name}{at}": 0.5 + mean + value for at, value in enumerate(spread - spread.mean())} if n else {}
        )
    return compare(
        evaluation(dict.fromkeys(after, 0.5), unjudged=0.12),
        evaluation(after, unjudged=0.34),
        seen_query_ids=[query_id for query_id in after if query_id.startswith("s")] if known else None,
        resamples=2_000,
    )


def test_a_clear_gain_on_seen_and_unseen_queries_passes() -> None:
    """A gate that lets nothing through gets overridden, and then it is no gate."""
    verdict = decide(comparison(seen=0.1, unseen=0.1), min_queries=30, looks=0)
    assert verdict.passed
    assert verdict.better
    assert verdict.reasons[0].startswith("Better: nDCG@10 changed by +0.100")
    assert "(60 held-out queries)" in verdict.reasons[0]


def test_a_gain_that_may_be_chance_does_not_pass() -> None:
    """Trained often enough, some model is always a little ahead by luck."""
    verdict = decide(comparison(seen=0.01, unseen=0.01), min_queries=30, looks=0)
    assert not verdict.passed
    assert not verdict.better
    assert verdict.reasons[0].startswith("Not shown to be better")


def test_a_loss_is_called_a_loss() -> None:
    """People must not read "not shown to be better" for a model that is plainly worse."""
    assert decide(comparison(seen=-0.1, unseen=-0.1), min_queries=30, looks=0).reasons[0].startswith("Worse")


def test_learning_the_answers_by_heart_does_not_pass() -> None:
    """The mean rises by what was trained on while everything new gets worse: the known leak of such test sets."""
    verdict = decide(comparison(seen=0.3, unseen=-0.05), min_queries=30, looks=0)
    assert verdict.better
    assert not verdict.passed
    assert any(
        reason.startswith("On unseen queries it may be worse by more than 0.010") and "(30 queries)" in reason
        for reason in verdict.reasons
    )


def test_the_margin_says_how_much_unseen_queries_may_lose() -> None:
    """What "not worse" means is the owner's choice, not ours."""
    found = comparison(seen=0.2, unseen=0.0, noise=0.03)
    assert not decide(found, margin=0.001, min_queries=30, looks=0).passed
    assert decide(found, margin=0.05, min_queries=30, looks=0).passed


def test_too_few_unseen_queries_are_named_and_do_not_block() -> None:
    """Five queries prove nothing either way; silence about it would claim they do."""
    verdict = decide(comparison(seen=0.1, unseen=-0.2, n_seen=60, n_unseen=5), min_queries=30, looks=0)
    assert verdict.passed
    assert any(reason.startswith("Too few unseen queries") and "(5 queries)" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(("known", "n_unseen", "says"), [(False, 30, "is unknown"), (True, 0, "0 unseen")])
def test_what_could_not_be_checked_is_said(known: bool, n_unseen: int, says: str) -> None:
    """A check left out in silence reads as a check passed."""
    verdict = decide(comparison(seen=0.1, unseen=0.1, n_unseen=n_unseen, known=known), min_queries=30, looks=0)
    assert verdict.passed
    assert any(says in reason for reason in verdict.reasons)


def test_too_few_held_out_queries_do_not_pass() -> None:
    """With eight queries an interval means little, however far it lies from 0."""
    verdict = decide(comparison(seen=0.3, unseen=0.3, n_seen=4, n_unseen=4), min_queries=30, looks=0)
    assert verdict.better
    assert not verdict.passed
    assert any("8, at least 30 are needed" in reason for reason in verdict.reasons)


def test_a_check_that_only_the_candidate_fails_blocks_and_is_named() -> None:
    """The query the customer complained about must never break again unseen."""
    broken = RegressionOutcome(n_checks=2, broken=("'refund policy' lost its answer",))
    verdict = decide(comparison(seen=0.1, unseen=0.1), min_queries=30, looks=0, regression=broken)
    assert not verdict.passed
    assert any("1 of 2 regression checks" in reason and "refund policy" in reason for reason in verdict.reasons)


def test_a_check_that_both_models_fail_is_said_and_does_not_block() -> None:
    """A pin that nobody meets yet would freeze the live model for ever, though refusing makes nothing better."""
    failing = RegressionOutcome(n_checks=2, failing_before=("'refund policy' lost its answer",))
    verdict = decide(comparison(seen=0.1, unseen=0.1), min_queries=30, looks=0, regression=failing)
    assert verdict.passed
    assert any("fail with both models" in reason and "refund policy" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("outcome", "says"), [(None, "regression set is empty"), (RegressionOutcome(3), "regression set holds (3 checks)")]
)
def test_whether_a_regression_set_was_checked_is_said(outcome: RegressionOutcome | None, says: str) -> None:
    """Silence about checks that do not exist reads as checks passed."""
    verdict = decide(comparison(seen=0.1, unseen=0.1), min_queries=30, looks=0, regression=outcome)
    assert any(says in reason for reason in verdict.reasons)


def test_not_worse_lets_an_equal_model_pass_and_a_worse_one_not() -> None:
    """A faster model that is as good never goes live under "better", and a worse one must not under any rule."""
    equal = comparison(noise=0.01, n_seen=60, n_unseen=60)
    assert not decide(equal, rule="better", looks=0).passed
    verdict = decide(equal, rule="not-worse", looks=0)
    assert (verdict.passed, verdict.better) == (True, False)
    assert verdict.reasons[0].startswith("Not worse by more than 0.010")
    worse = comparison(seen=-0.02, unseen=-0.005, noise=0.01, n_seen=60, n_unseen=60)
    refused = decide(worse, rule="not-worse", looks=0)
    assert not refused.passed
    assert refused.reasons[0].startswith("Worse")


def test_an_interval_across_the_margin_is_refused_under_not_worse_with_the_queries_it_would_take() -> None:
    """ "Not worse" from eight noisy queries is a guess; the owner must hear what would settle it."""
    verdict = decide(comparison(seen=0.0, unseen=0.0, noise=0.1), rule="not-worse", looks=0)
    assert not verdict.passed
    assert verdict.reasons[0].startswith("It may be worse by more than 0.010")
    # (1.96 · 0.1 / 0.01)² = 384; the spread of this sample is a little off 0.1.
    needed = re.search(r"About (\d+) such queries", verdict.reasons[0])
    assert needed is not None
    assert 250 <= int(needed[1]) <= 550


def test_the_bound_in_the_reason_is_the_one_that_decides() -> None:
    """A sentence that says "not below 0" under a verdict that refuses is worse than no sentence."""
    for mean in (0.0, 0.01, 0.02, 0.03, 0.04):
        verdict = decide(comparison(seen=mean, unseen=mean), margin=1.0, looks=0)
        assert verdict.better == verdict.reasons[0].startswith("Better")
        assert verdict.better == verdict.passed


def test_the_same_gain_stops_passing_when_the_set_was_looked_at_often() -> None:
    """The twentieth candidate tried on one set is ahead by chance."""
    found = comparison(seen=0.035, unseen=0.035)
    verdicts = [decide(found, margin=0.5, min_queries=30, looks=looks) for looks in (0, 20)]
    assert [verdict.passed for verdict in verdicts] == [True, False]
    assert "look 21" in verdicts[1].reasons[1]


def test_a_set_that_was_looked_at_too_often_says_so() -> None:
    """After two hundred looks nothing passes any more, and nobody knows why."""
    verdict = decide(comparison(seen=0.2, unseen=0.2), looks=200)
    assert not verdict.passed
    assert any("looked at 200 times before, too often" in reason for reason in verdict.reasons)


def test_all_looks_together_spend_no_more_than_alpha() -> None:
    """A level spent twice is a promise broken."""
    assert alpha_for_look(0) == pytest.approx(0.025)
    assert sum(alpha_for_look(looks) for looks in range(100_000)) == pytest.approx(0.05, abs=1e-5)


def test_both_shares_of_unjudged_passages_are_shown() -> None:
    """A candidate that finds new passages is measured blind, and the reader of the verdict must know."""
    assert any(
        "12 % of the live model's top 10 and 34 % of the candidate's (60 queries)" in reason
        for reason in decide(comparison(), min_queries=30, looks=0).reasons
    )


@pytest.mark.parametrize("changes", [{"margin": -0.1}, {"looks": -1}, {"min_queries": 0}, {"rule": "best"}])
def test_rules_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    """A negative margin would demand a gain where people read "not worse"."""
    with pytest.raises(ValueError, match=r"margin|looks|min_queries|rule"):
        decide(comparison(), **{"min_queries": 30, "looks": 0, **changes})  # type: ignore[arg-type]


def test_models_let_through_one_after_the_other_are_counted_with_what_they_may_have_lost() -> None:
    """Ten models, each "not worse" than the one before, and the tenth is worse than the first by ten margins."""
    equal = comparison(seen=0.0, unseen=0.0, noise=0.01)
    first = decide(equal, rule="not-worse", margin=0.01, looks=0)
    assert any("may lose 0.010 against the one before" in reason for reason in first.reasons)
    third = decide(equal, rule="not-worse", margin=0.01, looks=0, let_through=2)
    assert third.passed
    assert any("3. model in a row" in reason and "together 0.030" in reason for reason in third.reasons)
    better = decide(comparison(seen=0.1, unseen=0.1), rule="not-worse", looks=0, let_through=2)
    assert not any("in a row" in reason for reason in better.reasons)
    with pytest.raises(ValueError, match="let_through"):
        decide(equal, looks=0, let_through=-1)
