"""A query's pairs as lists: each pair in exactly one call, within the limits, and what a call used adds up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.judges.pools import ListLimits, add_usage, limits_within, pools_of, split, split_usage
from annotator.prompts.loader import load_text_prompt
from annotator.types import JudgeRequest, Usage

PROMPT = load_text_prompt("listwise_relevance")


def requests_of(lengths: list[int], *, queries: int = 1) -> list[JudgeRequest]:
    return [
        JudgeRequest(n, f"q{n % queries}", None, "", f"{n} " + "x" * length, query_id=n % queries)
        for n, length in enumerate(lengths)
    ]


@given(
    st.lists(st.integers(0, 5_000), min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(500, 20_000),
    st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_every_pair_is_in_exactly_one_call_that_keeps_the_limits(
    lengths: list[int], passages: int, characters: int, queries: int
) -> None:
    """Disaster: a passage that no call shows, or a call that no context holds."""
    requests = requests_of(lengths, queries=queries)
    limits = ListLimits(passages, characters)
    calls = [part for pool in pools_of(requests) for part in split(pool, prompt=PROMPT, limits=limits)]
    assert sorted(i for call in calls for i in call.pair_ids) == list(range(len(lengths)))
    for call in calls:
        assert len({request.query_id for request in call.requests}) == 1
        assert len(call.requests) <= passages
        shown = sum(min(len(r.passage), PROMPT.limits["passage"]) for r in call.requests)
        assert shown <= characters or len(call.requests) == 1


def test_the_same_pairs_make_the_same_calls_in_whatever_order_they_come() -> None:
    """Disaster: a restart asks about the same pool in another order, which is another reply to pay."""
    requests = requests_of([100] * 25)
    limits = ListLimits(passages=10)

    def calls(given: list[JudgeRequest]) -> list[list[int]]:
        return [part.pair_ids for pool in pools_of(given) for part in split(pool, prompt=PROMPT, limits=limits)]

    assert calls(requests) == calls(requests[::-1])
    assert [len(call) for call in calls(requests)] == [9, 9, 7]


@given(st.integers(0, 100_000), st.integers(0, 10_000), st.integers(1, 60))
def test_shares_of_a_call_add_up_and_differ_by_one_token_at_most(prompt: int, completion: int, count: int) -> None:
    """Disaster: tokens lost or counted twice by rounding."""
    shares = split_usage(Usage(prompt, completion, False, 0.5), count)
    assert sum(share.prompt_tokens for share in shares) == prompt
    assert sum(share.completion_tokens for share in shares) == completion
    assert max(s.prompt_tokens for s in shares) - min(s.prompt_tokens for s in shares) <= 1
    assert sum(share.cost_usd or 0.0 for share in shares) == pytest.approx(0.5)


def test_several_calls_together_cost_nothing_only_when_all_were_stored() -> None:
    """Disaster: a pipeline of which one step was stored passes for free, or an unknown price for none."""
    paid, stored = Usage(100, 10, False, 0.2), Usage(50, 5, True, 0.0)
    assert add_usage([paid, stored]) == Usage(100, 10, False, 0.2)
    assert add_usage([stored, stored]) == Usage(0, 0, True, 0.0)
    assert add_usage([paid, Usage(1, 1, False, None)]).cost_usd is None


def test_a_short_context_makes_lists_shorter_and_a_long_one_changes_nothing() -> None:
    """Disaster: a judge of another identity, and everything labelled again, because somebody probed a large model."""
    usual = ListLimits()
    assert limits_within(usual, context_tokens=128_000, reply_tokens=300) == usual
    assert limits_within(usual, context_tokens=4_096, reply_tokens=300) == ListLimits(20, 2 * (3_072 - 300))
    assert limits_within(usual, context_tokens=512, reply_tokens=300).characters == 1_000
    with pytest.raises(ValueError, match="at least one passage"):
        ListLimits(passages=0)
