"""Passages to ask about are spread over sources and documents and always the same for one seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.passage_choice import MIN_CHARACTERS, choose_passages
from db.queries.questions import PassageSpot


def spot(
    id_: int, *, document: str = "", source: int = 1, characters: int = 500, text_hash: str | None = None
) -> PassageSpot:
    name = f"{document}#{id_}" if document else f"p{id_}"
    return PassageSpot(id_, name, source, text_hash or f"hash of {id_}", characters)


def test_every_document_gives_one_passage_before_any_gives_two() -> None:
    """Disaster: a hundred questions about the longest manual, none about the others."""
    spots = [spot(n, document="long.md") for n in range(100)]
    spots += [spot(100 + n, document=f"{n}.md") for n in range(9)]
    documents = {one.id: one.external_id.split("#")[0] for one in spots}
    chosen = choose_passages(spots, count=10, seed=1)
    assert len({documents[id_] for id_ in chosen}) == 10
    assert Counter(documents[id_] for id_ in choose_passages(spots, count=12, seed=1))["long.md"] == 3


def test_a_small_source_is_reached_beside_a_large_one() -> None:
    """Disaster: the hand-written glossary never asked about because the wiki has a million passages."""
    spots = [spot(n, source=1) for n in range(5_000)] + [spot(9_000 + n, source=2) for n in range(2)]
    chosen = choose_passages(spots, count=10, seed=3)
    assert len(chosen) == 10
    assert any(id_ >= 9_000 for id_ in chosen)


def test_copies_short_passages_and_those_asked_before_are_passed_over() -> None:
    """Disaster: one boilerplate notice, copied a thousand times, asked about a thousand times."""
    spots = [spot(n, text_hash="the notice") for n in range(1_000)]
    spots += [spot(2_000, characters=MIN_CHARACTERS - 1), spot(2_001, text_hash="asked"), spot(2_002)]
    chosen = choose_passages(spots, count=1_003, seed=0, asked_hashes={"asked"})
    assert 2_002 in chosen
    assert not {2_000, 2_001} & set(chosen)
    assert sum(id_ < 1_000 for id_ in chosen) == 1


def test_another_seed_chooses_other_passages() -> None:
    """Disaster: a seed that is printed and means nothing."""
    spots = [spot(n) for n in range(1_000)]
    assert set(choose_passages(spots, count=20, seed=1)) != set(choose_passages(spots, count=20, seed=2))


spots_of_any_kind = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from(["", "a", "b", "c"]), st.integers(0, 200), st.integers(0, 12)),
    max_size=60,
)


@given(spots_of_any_kind, st.integers(0, 30), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_the_choice_has_no_copies_and_grows_by_adding(
    kinds: list[tuple[int, str, int, int]], count: int, seed: int
) -> None:
    """Disaster: a passage paid for twice, or fewer passages than there are."""
    spots = [
        spot(n, source=source, document=document, characters=characters, text_hash=f"{kind}")
        for n, (source, document, characters, kind) in enumerate(sorted(kinds))
    ]
    fit = {one.text_hash for one in spots if one.characters >= MIN_CHARACTERS}
    chosen = choose_passages(spots, count=count, seed=seed)
    by_id = {one.id: one for one in spots}
    assert chosen == choose_passages(spots, count=count, seed=seed)
    assert len({by_id[id_].text_hash for id_ in chosen}) == len(chosen) <= count
    assert all(by_id[id_].characters >= MIN_CHARACTERS for id_ in chosen)
    if len(spots) <= 2 * count + 16:
        assert len(chosen) == min(count, len(fit))
