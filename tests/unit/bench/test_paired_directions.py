import numpy as np
import pytest

from bench.paired_directions import interval, mean, mean_of_seeds


def test_directions_count_the_same_however_many_queries_they_have() -> None:
    """Pooled, the year with more queries would decide the claim alone."""
    values = {"there": {"a": 1.0, "b": 1.0, "c": 1.0}, "back": {"d": 0.0}}
    assert mean(values) == 0.5
    assert interval(values).value == 0.5


def test_the_interval_is_that_of_paired_differences() -> None:
    """Unpaired, the spread between easy and hard queries would hide every difference."""
    draw = np.random.default_rng(0)
    baseline = {"there": {str(n): float(v) for n, v in enumerate(draw.random(50))}}
    better = {"there": {query: value + 0.01 for query, value in baseline["there"].items()}}
    found = interval(better, baseline)
    assert [found.value, found.low, found.high] == pytest.approx([0.01, 0.01, 0.01])
    alone = interval(better)
    assert alone.low is not None
    assert alone.high is not None
    # Standard error of 50 uniform numbers: √(1/12/50) = .041, so about ±.08.
    assert 0.12 < alone.high - alone.low < 0.20


def test_other_queries_are_never_paired() -> None:
    """A baseline of other queries would give a difference that means nothing."""
    with pytest.raises(ValueError, match="same directions and queries"):
        interval({"there": {"a": 1.0}}, {"there": {"b": 1.0}})
    with pytest.raises(ValueError, match="same directions and queries"):
        interval({"there": {"a": 1.0}}, {"back": {"a": 1.0}})


def test_seeds_are_averaged_by_query() -> None:
    """Seeds counted as queries would make every interval too narrow."""
    assert mean_of_seeds([{"a": 0.2, "b": 1.0}, {"a": 0.4, "b": 0.0}]) == pytest.approx({"a": 0.3, "b": 0.5})
    for runs in ([], [{"a": 1.0}, {"b": 1.0}]):
        with pytest.raises(ValueError, match="same queries"):
            mean_of_seeds(runs)
