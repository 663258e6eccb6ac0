import math
from pathlib import Path

import bm25s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retriever.bm25 import BM25Index, content_terms, term_overlap
from retriever.errors import IndexMismatch
from retriever.types import Passage

PASSAGES = [
    Passage("moon", "Tides", "The moon pulls the sea; the sea follows the moon."),
    Passage("bread", "", "Bread rises with yeast."),
    Passage("sea", "Sea salt", "Salt is won from sea water."),
    Passage("empty", "", ""),
]


@pytest.fixture
def index(tmp_path: Path) -> BM25Index:
    return BM25Index.build(tmp_path / "index", PASSAGES)


def lucene_bm25(term: str, position: int) -> float:
    """One term's score from the textbook formula with k1 = 1.5 and b = 0.75."""
    documents = [content_terms(passage.full_text) for passage in PASSAGES]
    containing = sum(term in document for document in documents)
    idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
    mean_length = sum(map(len, documents)) / len(documents)
    frequency = documents[position].count(term)
    return idf * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * len(documents[position]) / mean_length))


def test_scores_are_bm25_worked_out_from_the_formula(index: BM25Index) -> None:
    """A tokeniser that differs between index and query gives plausible and wrong rankings."""
    hits = index.search(["How does the sea follow the moon?"], 3)[0]
    assert [hit.passage_id for hit in hits] == ["moon", "sea"]
    assert hits[0].score == pytest.approx(lucene_bm25("sea", 0) + lucene_bm25("moon", 0), rel=1e-5)
    assert hits[1].score == pytest.approx(lucene_bm25("sea", 2), rel=1e-5)


def test_passages_without_a_common_term_never_appear(index: BM25Index) -> None:
    """Score 0 is not a hit; pooled anyway, random passages are put up for judging and paid for."""
    assert [hit.passage_id for hit in index.search(["yeast"], 10)[0]] == ["bread"]


@pytest.mark.parametrize("query", ["", "   ", "the of and", "xylophone", "?!"])
def test_a_query_without_known_terms_finds_nothing(index: BM25Index, query: str) -> None:
    """One empty query must not end a run over thousands."""
    assert index.search([query], 5) == [[]]


def test_an_index_without_a_single_term_can_be_built_and_searched(tmp_path: Path) -> None:
    """An empty import is an ordinary mistake, not a crash."""
    for name, passages in (("none", []), ("blank", [Passage("a", "", "!"), Passage("b", "", "")])):
        index = BM25Index.build(tmp_path / name, passages)
        assert index.n == len(passages)
        assert index.search(["moon"], 5) == [[]]


def test_equal_scores_keep_the_order_of_the_index(tmp_path: Path) -> None:
    """Rankings that change from run to run make evaluations that cannot be repeated."""
    index = BM25Index.build(tmp_path / "index", [Passage(str(at), "", "salt water") for at in range(50)])
    assert [hit.passage_id for hit in index.search(["salt"], 3)[0]] == ["0", "1", "2"]


def test_an_opened_index_answers_like_the_one_that_was_built(tmp_path: Path, index: BM25Index) -> None:
    """The worker that builds and the screen that searches are two processes."""
    again = BM25Index.open(tmp_path / "index")
    assert again.search(["sea"], 5) == index.search(["sea"], 5)
    assert again.passage_ids == ("moon", "bread", "sea", "empty")


def test_a_folder_without_a_whole_index_is_refused(tmp_path: Path, index: BM25Index) -> None:
    """A build cut off half-way must not answer with half the passages."""
    with pytest.raises(IndexMismatch, match="no readable index"):
        BM25Index.open(tmp_path / "none")
    (tmp_path / "index" / "data.csc.index.npy").unlink()
    with pytest.raises(IndexMismatch, match="build it again"):
        BM25Index.open(tmp_path / "index")


def test_two_passages_of_one_id_are_refused(tmp_path: Path) -> None:
    """One of them could never be told from the other, and labels would go to both."""
    with pytest.raises(IndexMismatch, match="'a' occurs twice"):
        BM25Index.build(tmp_path / "index", [Passage("a", "", "one"), Passage("a", "", "two")])


def test_k_below_one_is_refused(index: BM25Index) -> None:
    """A k of 0 from a form would look like "nothing found"."""
    with pytest.raises(ValueError, match="k is 0"):
        index.search(["sea"], 0)


@given(text=st.text(max_size=200))
def test_terms_are_exactly_those_of_bm25s(text: str) -> None:
    """The baselines were made with bm25s's tokeniser; ours must see the same words in any text."""
    theirs = bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False)[0]
    assert content_terms(text) == [term for term in theirs if term]


def test_overlap_is_the_share_of_the_querys_terms() -> None:
    """Turned round, long passages would look unrelated to everything."""
    assert term_overlap("moon and sea salt", "Salt, from the SEA.") == pytest.approx(2 / 3)
    assert term_overlap("the", "the sea") == 0.0
