"""What a round gained and whether to stop: figures worked out by hand."""

from __future__ import annotations

import pytest

from app.services.round_figures import (
    LEAST_AUDITS,
    LEAST_QUERIES,
    advise,
    describe_slices,
    figure_of,
    gain_by_slice,
    gain_of,
)
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
def test_stop_is_advised_where_the_round_gained_less_per_100_audits_than_asked(
    mean: float, n_audits: int, stop: bool
) -> None:
    """People audit for weeks for nothing, or stop while each hour still pays."""
    assert advise(gain(mean), n_audits=n_audits, least_gain=0.002, is_first=False).stop is stop


def test_the_advice_says_what_it_rests_on_and_where_it_is_in_doubt() -> None:
    """A recommendation from a handful of questions is taken for a fact."""
    sure = advise(gain(0.001, low=-0.001, high=0.002, n=75), n_audits=200, least_gain=0.002, is_first=False)
    assert sure.text == (
        "You can stop: the round gained +0.0005 nDCG@10 per 100 audits, less than the 0.002 asked for "
        "(interval -0.0005 to +0.0010; 75 held-out questions, 200 audits). "
        "All that the round brought is in this, the judge's labels too."
    )
    doubtful = advise(gain(0.001, low=-0.01, high=0.012, n=75), n_audits=200, least_gain=0.002, is_first=False)
    assert doubtful.stop
    assert "The interval does not exclude more." in doubtful.text


def test_going_on_is_doubted_as_stopping_is() -> None:
    """A gain that may be none keeps people auditing for ever, because only "stop" was ever doubted."""
    doubtful = advise(gain(0.01, low=-0.002, high=0.022, n=75), n_audits=200, least_gain=0.002, is_first=False)
    assert doubtful.text == (
        "Go on: the round gained +0.0050 nDCG@10 per 100 audits, at least the 0.002 asked for "
        "(interval -0.0010 to +0.0110; 75 held-out questions, 200 audits). The interval does not exclude less. "
        "All that the round brought is in this, the judge's labels too."
    )
    sure = advise(gain(0.01, low=0.004, high=0.016, n=75), n_audits=200, least_gain=0.002, is_first=False)
    assert (sure.stop, "does not exclude" in sure.text) == (False, False)


def test_after_the_first_round_nothing_is_said_of_stopping() -> None:
    """What the first training and all the judge's labels brought is put down to forty audits, and people audit on."""
    first = advise(gain(0.05, low=0.04, high=0.06, n=75), n_audits=40, least_gain=0.002, is_first=True)
    assert first.stop is None
    assert "the first training" in first.text


def test_nothing_is_said_from_too_little() -> None:
    """Ten questions and five audits end the work of a team."""
    assert advise(None, n_audits=500, least_gain=0.002, is_first=False).stop is None
    few = advise(gain(0.0, n=LEAST_QUERIES - 1), n_audits=500, least_gain=0.002, is_first=False)
    assert (few.stop, "29 held-out questions are judged, at least 30" in few.text) == (None, True)
    idle = advise(gain(0.0), n_audits=LEAST_AUDITS - 1, least_gain=0.002, is_first=False)
    assert (idle.stop, "19 pairs were audited" in idle.text) == (None, True)


def test_a_round_says_what_it_gained_on_seen_and_on_unseen_questions() -> None:
    """A round that only learnt its own questions by heart is praised, and people audit on."""
    new = {"a": 1.0, "b": 0.5, "c": 0.25}
    gains = gain_by_slice(new, dict.fromkeys(new, 0.5), seen={"a", "z"})
    assert {name: (found.mean, found.n_queries) for name, found in gains.items()} == {
        "seen": (0.5, 1),
        "unseen": (-0.125, 2),
    }
    assert describe_slices(gains) == (
        " Of these questions, nDCG@10 changed by +0.5000 on the 1 seen ones and by -0.1250 on the 2 unseen ones."
    )
    assert set(gain_by_slice(new, new, seen=())) == {"unseen"}
    assert describe_slices({}) == ""
    lost = describe_slices({"seen": gain(0.2, low=0.1, high=0.3), "unseen": gain(-0.02, low=-0.03, high=-0.01)})
    assert "by -0.0200 on the 30 unseen ones (interval -0.0300 to -0.0100)." in lost
    assert lost.endswith(
        "What the round taught does not carry over: questions about passages it was not trained on lost."
    )
    assert "carry over" not in describe_slices({"unseen": gain(-0.02, low=-0.03, high=0.01)})
