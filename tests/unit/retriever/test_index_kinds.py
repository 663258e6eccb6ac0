import pytest

from retriever.index_kinds import (
    FLAT,
    HNSW,
    IVF_PQ,
    IVF_SQ8,
    KindLimits,
    choose_kind,
    kinds_to_try,
    n_lists,
    n_training,
    pq_bits,
    pq_codes,
)

LIMITS = KindLimits(flat=2_000, hnsw=3_000, ivf_sq8=4_000)


@pytest.mark.parametrize(
    ("n", "kind"), [(2_000, FLAT), (2_001, HNSW), (3_000, HNSW), (3_001, IVF_SQ8), (4_000, IVF_SQ8), (4_001, IVF_PQ)]
)
def test_the_kind_follows_from_the_number_of_vectors(n: int, kind: str) -> None:
    """A million passages behind exact search make every question wait; a hundred behind a graph lose answers."""
    assert choose_kind(n, dim=384, limits=LIMITS) == kind


def test_a_kind_asked_for_is_taken_at_any_size_that_can_train_it() -> None:
    """A setting that is silently ignored costs a day to find."""
    assert choose_kind(5_000_000, dim=384, kind=FLAT) == FLAT
    assert choose_kind(1_000, dim=384, kind=IVF_PQ) == IVF_PQ
    assert choose_kind(999, dim=384, kind=HNSW) == FLAT
    with pytest.raises(ValueError, match="choose one of"):
        choose_kind(10, dim=384, kind="annoy")


def test_vectors_that_cannot_be_cut_into_parts_are_never_product_coded() -> None:
    """One code for a vector of 97 numbers would stand for everything."""
    assert [pq_codes(dim) for dim in (384, 768, 100, 10, 97)] == [96, 192, 25, 2, None]
    assert choose_kind(10_000_000, dim=97) == IVF_SQ8


def test_lists_and_their_training_grow_with_the_root_of_the_corpus() -> None:
    """One vector for each list trains nothing; a list a vector searches nothing."""
    assert (n_lists(1_000_000), n_lists(1_000), n_lists(10)) == (2_000, 31, 1)
    assert (n_training(1_000_000), n_training(5_000)) == (64_000, 5_000)
    assert [pq_bits(n) for n in (10_000, 1_000, 1)] == [8, 4, 1]


def test_lists_are_tried_where_a_graph_or_codes_find_too_little() -> None:
    """A graph that loses its way among clumps would leave a million passages to exact search."""
    assert kinds_to_try(2_000, dim=384, limits=LIMITS) == ()
    assert kinds_to_try(2_500, dim=384, limits=LIMITS) == (HNSW, IVF_SQ8)
    assert kinds_to_try(3_500, dim=384, limits=LIMITS) == (IVF_SQ8,)
    assert kinds_to_try(4_500, dim=384, limits=LIMITS) == (IVF_PQ, IVF_SQ8)
    assert kinds_to_try(4_500, dim=384, kind=HNSW, limits=LIMITS) == (HNSW,)
