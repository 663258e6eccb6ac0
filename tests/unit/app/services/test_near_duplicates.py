"""Which queries ask nearly the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.near_duplicates import (
    JACCARD,
    MIN_WORDS,
    NearDuplicates,
    content_words,
    plan_splits,
    strictest,
    text_key,
)
from db.enums import Split

WORDS = ["red", "green", "blue", "black", "white", "brown", "pink", "grey", "gold", "teal"]


def test_the_same_content_words_in_any_order_and_case_are_duplicates() -> None:
    """A training question asked again in other words' order would inflate the test."""
    found = NearDuplicates()
    found.add("How do I merge two sorted streams?", 1)
    assert found.find("merge TWO streams, sorted") == {1}
    assert text_key("merge the streams") == text_key("Streams: merge!")


def test_four_of_five_words_are_near_and_three_of_five_are_not() -> None:
    """The border of our choice, by hand: 4/5 = 0.8 counts, 4/6 does not; three words are too few to compare."""
    found = NearDuplicates()
    found.add("red green blue black", 1)
    found.add("gold teal pink", 2)
    assert found.find("red green blue black white") == {1}
    assert found.find("red green blue black white brown") == set()
    assert found.find("gold teal pink grey") == set()


def test_queries_without_any_word_are_told_apart_by_their_text() -> None:
    """All emoji in one cluster would share a split for nothing."""
    assert text_key("🙂") != text_key("🙃")
    assert content_words("to be or not to be") != frozenset()
    assert content_words("who are you") == {"who", "are", "you"}


@settings(max_examples=60)
@given(st.lists(st.sets(st.sampled_from(WORDS), min_size=1), min_size=1, max_size=12))
def test_the_index_finds_exactly_what_comparing_all_pairs_finds(queries: list[set[str]]) -> None:
    """Prefix filtering is exact; a missed pair is a leak."""
    index = NearDuplicates()
    for number, words in enumerate(queries):
        expected = set()
        for other, others in enumerate(queries[:number]):
            big = min(len(words), len(others)) >= MIN_WORDS
            if words == others or (big and len(words & others) / len(words | others) >= JACCARD):
                expected.add(other)
        found = index.find(" ".join(sorted(words)))
        # identical queries are kept once, under the first of them, so compare families
        for other in range(number):
            index.family(other)
        assert {index.family(other) for other in found} == {index.family(other) for other in expected}
        index.add(" ".join(words), number, similar=found)


def test_a_query_between_two_clusters_makes_them_one_family_with_the_strictest_split() -> None:
    """A chain of paraphrases must not reach from training into the held-out set."""
    index = NearDuplicates()
    index.add("a", 1)
    index.add("b", 2)
    index.add("c", 3, similar={1, 2})
    plan = plan_splits(index, present={}, wanted={1: {Split.TRAIN}, 2: {Split.HELD_OUT}})
    assert {split: sorted(clusters) for split, clusters in plan.assign.items()} == {Split.HELD_OUT: [1, 2, 3]}
    assert plan.torn == 1


def test_a_split_that_is_there_holds_against_a_stricter_wish() -> None:
    """A query that has trained must not become a test question."""
    index = NearDuplicates()
    index.add("a", 1)
    plan = plan_splits(index, present={1: Split.TRAIN}, wanted={1: {Split.HELD_OUT}})
    assert plan.assign == {}
    assert plan.held == 1


def test_held_out_is_stricter_than_calibrate_and_calibrate_than_train() -> None:
    """The order is what decides torn families."""
    assert strictest([Split.TRAIN, Split.CALIBRATE]) is Split.CALIBRATE
    assert strictest([Split.CALIBRATE, Split.HELD_OUT]) is Split.HELD_OUT
    assert strictest([]) is None
