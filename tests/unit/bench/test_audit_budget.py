from dataclasses import asdict

import pytest

from bench.audit_budget import OTHERS, OURS, Curves, kept_at


def test_each_other_arm_changes_one_thing_and_the_plain_one_all() -> None:
    """With two changes at once nobody could say which of them made the difference."""
    changed = {
        arm.name: {name for name, value in asdict(arm).items() if name != "name" and value != asdict(OURS)[name]}
        for arm in OTHERS
    }
    assert changed == {
        "union": {"curriculum"},
        "random": {"by_value"},
        "hard": {"soft"},
        "plain": {"by_value", "curriculum", "soft"},
    }


def test_what_is_kept_is_paired_by_query_over_the_mean_of_seeds_and_directions() -> None:
    """By hand: there (.5 + .7)/2 − .8 = −.2 and .4 − .4 = 0, mean −.1; back .6 − .4 = +.2; both +.05."""
    curves = Curves()
    for values in ({"a": 0.5, "b": 0.4}, {"a": 0.7, "b": 0.4}):
        curves.add(arm="ours", share=0.2, direction="there", values=values)
    for values in ({"a": 0.8, "b": 0.3}, {"a": 0.8, "b": 0.5}):
        curves.add(arm="ours", share=1.0, direction="there", values=values)
    curves.add(arm="ours", share=0.2, direction="back", values={"c": 0.6})
    curves.add(arm="ours", share=1.0, direction="back", values={"c": 0.4})
    found = kept_at(curves)
    assert found.value == pytest.approx(0.05)
    # Back has one query, so only there varies: its mean of two draws of −.2 and 0 lies in [−.2, 0].
    assert [found.low, found.high] == pytest.approx([0.0, 0.1], abs=1e-9)
