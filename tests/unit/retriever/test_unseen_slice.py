import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.types import GradedList, LabelledPassage
from retriever.unseen_slice import split_unseen


def asks(query: str, *relevant: str, irrelevant: str = "") -> GradedList:
    """A list whose passages are named after their letters, relevant ones graded 2."""
    passages = [LabelledPassage(name, f"text {name}", 2) for name in relevant]
    passages += [LabelledPassage(name, f"text {name}", 0) for name in irrelevant]
    return GradedList(query_id=f"id of {query}", query=query, passages=tuple(passages))


def split(lists: list[GradedList], *, share: float, seed: int = 0) -> tuple[list[GradedList], list[GradedList]]:
    return split_unseen(lists, share=share, seed=seed, relevant_from=2)


def relevant_names(lists: list[GradedList]) -> set[str]:
    found = [passage for graded in lists for passage in graded.passages if passage.grade >= 2]
    return {passage.passage_id for passage in found} | {passage.text for passage in found}


@given(
    relevant=st.lists(st.sets(st.sampled_from("abcdefghijkl"), max_size=3), max_size=14),
    queries=st.randoms(use_true_random=False),
    share=st.floats(0, 0.5),
    seed=st.integers(0, 5),
)
def test_no_relevant_passage_and_no_query_is_on_both_sides(
    relevant: list[set[str]], queries: object, share: float, seed: int
) -> None:
    """A slice that is called unseen and is not lets a training harm all other queries unnoticed."""
    lists = [
        asks(f"q{queries.randrange(12)}", *sorted(own), irrelevant="xy")  # type: ignore[attr-defined]
        for own in relevant
    ]
    trained, aside = split(lists, share=share, seed=seed)
    assert relevant_names(trained).isdisjoint(relevant_names(aside))
    assert {graded.query for graded in trained}.isdisjoint({graded.query for graded in aside})
    assert sorted(map(id, trained + aside)) == sorted(map(id, lists))
    assert abs(len(aside) - share * len(lists)) <= share * len(lists)


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=8), share=st.floats(0, 0.5), seed=st.integers(0, 3))
def test_the_share_is_met_as_nearly_as_whole_groups_allow(sizes: list[int], share: float, seed: int) -> None:
    """Asked for a tenth, a slice of two queries decides by chance, and one of a half wastes the labels."""
    lists = [asks(f"{group} {at}", f"p{group}") for group, size in enumerate(sizes) for at in range(size)]
    _, aside = split(lists, share=share, seed=seed)
    sums = {0}
    for size in sizes:
        sums |= {total + size for total in sums}
    nearest = min(abs(total - share * len(lists)) for total in sums)
    assert abs(len(aside) - share * len(lists)) == pytest.approx(nearest)


def test_lists_that_share_one_answer_all_hang_together() -> None:
    """In everyday data nearly everything hangs together; a split by query alone would put answers on both sides."""
    lists = [asks("one", "a"), asks("two", "a", "b"), asks("three", "b"), asks("four", "c")]
    trained, aside = split(lists, share=0.3)
    assert [graded.query for graded in aside] == ["four"]
    assert [graded.query for graded in trained] == ["one", "two", "three"]


def test_where_everything_hangs_together_nothing_is_put_aside() -> None:
    """Putting everything aside would leave nothing to train on; half a group would not be unseen."""
    lists = [asks(f"q{at}", "a") for at in range(10)]
    assert split(lists, share=0.5) == (lists, [])


def test_the_same_text_under_two_ids_and_one_query_asked_twice_hang_together() -> None:
    """Corpora hold duplicates: under its second name the answer would be seen all the same."""
    twin = GradedList("2", "two", (LabelledPassage("other id", "Text  a", 3),))
    again = GradedList("3", "ONE ", (LabelledPassage("z", "text z", 3),))
    lists = [asks("one", "a"), twin, again, asks("four", "c")]
    _, aside = split(lists, share=0.25)
    assert [graded.query for graded in aside] == ["four"]


def test_a_shared_irrelevant_passage_does_not_tie_and_a_list_without_answer_is_never_put_aside() -> None:
    """It would take a place in the slice and could not be scored."""
    lists = [asks("one", "a", irrelevant="x"), asks("two", irrelevant="ax"), asks("three", "b", irrelevant="x")]
    for seed in range(6):
        _, aside = split(lists, share=0.4, seed=seed)
        assert len(aside) == 1
        assert aside[0].query in {"one", "three"}


def test_the_seed_draws_and_the_same_seed_draws_the_same() -> None:
    """A run repeated after a crash must put the same queries aside."""
    lists = [asks(f"q{at}", f"p{at}") for at in range(40)]
    drawn = [tuple(graded.query for graded in split(lists, share=0.1, seed=seed)[1]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 4


@pytest.mark.parametrize(("share", "relevant_from"), [(0.6, 2), (-0.1, 2), (float("nan"), 2), (0.1, 0)])
def test_a_share_or_grade_out_of_range_is_refused(share: float, relevant_from: float) -> None:
    """More aside than trained on, or everything relevant, is a slip of the caller."""
    with pytest.raises(ValueError, match="must be"):
        split_unseen([], share=share, seed=0, relevant_from=relevant_from)
