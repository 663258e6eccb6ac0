"""What a round gained and whether to stop: figures worked out by hand."""

from __future__ import annotations

import pytest

from app.services.round_figures import LEAST_AUDITS, LEAST_QUERIES, advise, figure_of, gain_of
from app.services.round_views import Figure


def gain(mean: float, *, low: float = 0.0, high: float = 0.0, n: int = LEAST_QUERIES) -> Figure:
    return Figure(mean, low, high, n)


def test_a_gain_is_paired_by_query() -> None:
    """The mean over other questions is compared, and a round looks better for having easier ones."""
    found = gain_of({"a": 0.5, "b": 1.0, "c": 0.0}, {"a": 0.25, "b": 1.0, "c": 0.25, "d": 0.0})
    assert (found.mean, found.n_queries) == (0.0, 3)
    assert found.low <= found.mean <= found.high
    assert figure_of([0.5, 0.5]) == Figure(0.5, 0.5, 0.5, 2)


@pytest.mark.parametrize(
    ("mean", "n_audits", "stop"),
    [
        (0.004, 200, False),  # .002 for 100, as asked: go on
        (0.0039, 200, True),  # .00195 for 100
        (0.01, 1_000, True),  # .001 for 100: much in all, little for each
        (0.001, 20, False),  # .005 for 100
        (-0.01, 100, True),
    ],
)
def test_stop_is_advised_where_100_audits_gain_less_than_asked(mean: float, n_audits: int, stop: bool) -> None:
    """People audit for weeks for nothing, or stop while each hour still pays."""
    assert advise(gain(mean), n_audits=n_audits, least_gain=0.002).stop is stop


def test_the_advice_says_what_it_rests_on_and_where_it_is_in_doubt() -> None:
    """A recommendation from a handful of questions is taken for a fact."""
    sure = advise(gain(0.001, low=-0.001, high=0.002, n=75), n_audits=200, least_gain=0.002)
    assert sure.text == (
        "You can stop: 100 more audits are expected to gain less than 0.002 nDCG@10 "
        "(+0.0005, interval -0.0005 to +0.0010; 75 held-out questions, 200 audits)."
    )
    doubtful = advise(gain(0.001, low=-0.01, high=0.012, n=75), n_audits=200, least_gain=0.002)
    assert doubtful.stop
    assert doubtful.text.endswith("The interval does not exclude more.")


def test_nothing_is_said_from_too_little() -> None:
    """Ten questions and five audits end the work of a team."""
    assert advise(None, n_audits=500, least_gain=0.002).stop is None
    few = advise(gain(0.0, n=LEAST_QUERIES - 1), n_audits=500, least_gain=0.002)
    assert (few.stop, "29 held-out questions are judged, at least 30" in few.text) == (None, True)
    idle = advise(gain(0.0), n_audits=LEAST_AUDITS - 1, least_gain=0.002)
    assert (idle.stop, "19 pairs were audited" in idle.text) == (None, True)
