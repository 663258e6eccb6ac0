"""Questions are grouped by how they ask, and the examples shown come from different groups."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotator.question_patterns import (
    KEPT_A_PATTERN,
    SEEDS,
    build_bank,
    choose_demonstrations,
    pattern_of,
)


@pytest.mark.parametrize(
    ("question", "pattern"),
    [
        ("What is rust?", "what, short"),
        ("How do I remove rust?", "how, short"),
        ("how many eggs", "how much, short"),
        ("How often should a filter be changed in a house with two cats?", "how much, long"),
        ("WHY does bread rise", "why, short"),
        ("Is it safe?", "yes or no, short"),
        ("isn\u2019t it safe?", "yes or no, short"),
        ("What is the difference between rust and patina?", "comparison, long"),
        ("oak vs beech", "comparison, short"),
        ("rust removal vinegar", "key words, short"),
        ("I need a tool that removes rust from a chain", "need, long"),
        ("Wie entferne ich Rost?", "other question, short"),
        ("如何去除铁锈？", "other question, short"),
        ("Rost entfernen Essig", "key words, short"),
        ("???", "other, short"),
        ("", "other, short"),
    ],
)
def test_a_pattern_is_the_way_of_asking(question: str, pattern: str) -> None:
    """Disaster: diversity measured by topic, while every question begins with "what is"."""
    assert pattern_of(question) == pattern


def test_two_topics_asked_alike_share_a_pattern() -> None:
    """Disaster: a thousand patterns of one question each, so that no choice among them means anything."""
    assert pattern_of("how to bake bread") == pattern_of("how to file a patent")


def test_the_built_in_examples_cover_every_opening_short_and_long() -> None:
    """Disaster: a first job whose examples all ask alike."""
    patterns = Counter(map(pattern_of, SEEDS))
    openings = {pattern.split(", ")[0] for pattern in patterns}
    assert max(patterns.values()) == 1
    assert len(openings) >= 10
    assert {f"{opening}, {length}" for opening in openings for length in ("short", "long")} == set(patterns)


@given(st.integers(1, 40), st.text(max_size=20), st.lists(st.text(min_size=1, max_size=60), max_size=30))
def test_examples_shown_together_are_of_different_patterns(count: int, seed: str, written: list[str]) -> None:
    """Disaster: six examples that teach one way of asking."""
    bank = build_bank(written)
    shown = choose_demonstrations(bank, count=count, seed=seed)
    assert len(shown) == min(count, len(bank.examples))
    assert len({pattern_of(example) for example in shown}) == len(shown)
    assert shown == choose_demonstrations(bank, count=count, seed=seed)


def test_a_pattern_written_often_is_shown_seldom() -> None:
    """Disaster: a corpus of "what is" questions, because the first hundred were."""
    bank = build_bank(f"What is thing number {number}?" for number in range(200))
    often = pattern_of("What is thing number 7?")
    shown = Counter(
        pattern_of(example) for seed in range(400) for example in choose_demonstrations(bank, count=4, seed=str(seed))
    )
    others = [shown[pattern] for pattern in bank.examples if pattern != often]
    assert shown[often] < min(others) / 4


def test_a_bank_stays_small_and_keeps_its_built_in_examples() -> None:
    """Disaster: a job's record that grows with every question ever written."""
    bank = build_bank(f"What is thing number {number}?" for number in range(5_000))
    pattern = pattern_of("What is thing number 7?")
    assert len(bank.examples[pattern]) == KEPT_A_PATTERN
    assert set(SEEDS) <= {example for examples in bank.examples.values() for example in examples}
    assert bank.written[pattern] == 5_000


@given(st.text(max_size=400))
def test_any_text_has_a_pattern_that_fits_its_column(text: str) -> None:
    """Disaster: a job that dies on a question of emoji, or a pattern too long to store."""
    assert 0 < len(pattern_of(text)) <= 80
