"""Full-text search on both databases: which pairs hold the words, whatever is typed, and nothing told of blind ones."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services.importing import (
    NewCandidate,
    NewQuery,
    NewSuggestion,
    import_candidates,
    import_passages,
    import_queries,
    import_suggestions,
)
from builders import pair_ids
from db.enums import Split
from db.errors import SearchTooLong
from db.models import Pair
from db.queries.text_search import FIELDS, Field, matching_pairs, terms_of

PASSAGES = [
    ("p1", "Rye bread", "A sourdough starter needs warm water."),
    ("p2", "Zürich", "The café near the station serves straße food, C++ and 100% juice."),
    ("p3", "東京", "東京都は日本の首都です"),
    ("p4", "서울", "서울에서는 날씨가 좋다"),
    ("p5", "ภาษา", "ภาษาไทยง่าย"),
]
HOSTILE = [
    *('"', '""', '"""', "'", "*", "AND", "OR NOT NEAR(", 'a" OR "b', "text:a", "-a", "^a", "{a b}: c", "a AND", "<->"),
    *("\x00", "a\x00b", "%", "_", "\\", ";--", "😀", "👩\u200d👩\u200d👧 a", "a:*", "!a & | b", "\ud800", "&amp; <b>"),
    *("ab" * 5000, "a " * 64, '"' * 9999, "東" * 64, "http://a.b/c?d=e#f", "-1.5e300", "\u202e\u200b"),
]


@pytest.fixture
def searched(any_workspace: Workspace) -> Workspace:
    """Five passages as candidates of a train and of a held-out question; the judge gives reasons for all."""
    import_passages(any_workspace, PASSAGES, source_name="s")
    import_queries(
        any_workspace,
        [
            NewQuery("train", "how warm is the water for rye bread", Split.TRAIN),
            NewQuery("held", "where is coffee", Split.HELD_OUT),
        ],
        source_name="s",
    )
    rows = [NewCandidate(q, p[0], "bm25", 1, 1.0) for q in ("train", "held") for p in PASSAGES]
    import_candidates(any_workspace, rows, source_name="s")
    return any_workspace


def find(workspace: Workspace, text: str, *within: Field) -> set[tuple[str, str]]:
    with workspace.sessions.read() as session:
        wanted = matching_pairs(session, text, criterion=Criterion.RELEVANCE, within=within or FIELDS)
        found = list(session.scalars(sa.select(Pair.id).where(Pair.id.in_(wanted))))
    names = {pair_id: name for name, pair_id in pair_ids(workspace).items()}
    return {names[pair_id] for pair_id in found}


def passages(workspace: Workspace, text: str) -> set[str]:
    return {passage for _, passage in find(workspace, text, "passage")}


def test_words_are_found_whole_together_and_the_last_one_unfinished(searched: Workspace) -> None:
    """Somebody types what they remember of a passage and is told that it is not there."""
    assert passages(searched, "sourdough") == {"p1"}
    assert passages(searched, "WATER sour") == {"p1"}, "any order, any case, the last word begun"
    assert passages(searched, "sour water") == set(), "only the last word may be unfinished"
    assert passages(searched, '"starter needs"') == {"p1"}
    assert passages(searched, '"needs starter"') == set()
    assert passages(searched, '"starter nee"') == set(), "what stands in quotes is whole"
    assert passages(searched, "rye starter") == {"p1"}, "the title is part of the passage"
    assert passages(searched, "c++") == {"p2"}
    assert passages(searched, "100% juice") == {"p2"}
    assert passages(searched, "café") == {"p2"}


@pytest.mark.parametrize("text", ["東京", "日本", "本の首", '"首都"', "都"])
def test_japanese_and_chinese_words_are_found_inside_a_sentence(searched: Workspace, text: str) -> None:
    """A text without spaces is one word to the index, and nobody finds anything in it."""
    assert passages(searched, text) == {"p3"}


def test_korean_and_thai_words_are_found_with_what_sticks_to_them(searched: Workspace) -> None:
    """A Korean noun is found only in the one form that was typed; a Thai word never."""
    assert passages(searched, "서울 날씨") == {"p4"}
    assert passages(searched, "ไทย") == {"p5"}
    assert passages(searched, "本日") == set(), "characters in another order are another word"


def test_a_question_is_found_with_all_its_pairs(searched: Workspace) -> None:
    """The list cannot be narrowed to one question."""
    assert find(searched, "rye warm") == {("train", p[0]) for p in PASSAGES} | {("held", "p1")}
    assert find(searched, "rye warm", "passage") == {("train", "p1"), ("held", "p1")}
    assert find(searched, "coffee", "query") == {("held", p[0]) for p in PASSAGES}


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_is_typed_the_search_answers(searched: Workspace, text: str) -> None:
    """A stray quote or an emoji shows an error of the database instead of a list."""
    assert find(searched, text) <= {(query, passage) for query in ("train", "held") for passage, _, _ in PASSAGES}


def test_a_text_without_letters_finds_nothing_and_too_many_words_are_refused_in_words() -> None:
    """A search for "%" finds everything, or words after the 64th are dropped and what is found lacks them unseen."""
    assert terms_of('% _ "" 😀') == ()
    assert sum(len(term.words) for term in terms_of("a " * 64)) == 64
    assert [len(term.words[0]) for term in terms_of("ab" * 5000)] == [200]
    for text, has in (("a " * 65, "65 words"), ("東" * 65, "65 words"), ('"' + "b " * 65, "65 words")):
        with pytest.raises(SearchTooLong, match=f"at most 64 words, this one has {has}"):
            terms_of(text)
    with pytest.raises(SearchTooLong, match="12,801 characters"):
        terms_of("a" * 12_801)


def test_reasons_are_found_only_where_they_may_be_read(searched: Workspace) -> None:
    """A reviewer searches for "irrelevant" and knows what the judge said of a pair they are to judge blind."""
    rows = [
        NewSuggestion(query, passage, "gpt", 3, 3, reason="names the temperature")
        for query in ("train", "held")
        for passage, _, _ in PASSAGES
    ]
    import_suggestions(searched, rows, source_name="s")
    assert find(searched, "temperature") == {("train", p[0]) for p in PASSAGES}
    assert find(searched, "temperature", "query", "passage") == set()


def test_a_passage_that_changes_is_found_by_its_new_words_only(searched: Workspace) -> None:
    """The index answers from texts that are gone."""
    import_passages(searched, [("p1", "Oats", "日本 porridge")], source_name="s")
    assert passages(searched, "sourdough") == set()
    assert passages(searched, "porridge") == {"p1"}
    assert passages(searched, "日本") == {"p1", "p3"}
