import json
from pathlib import Path

import numpy as np
import pytest

from retriever.dense_index import DenseIndex
from retriever.errors import IndexMismatch


def unit_vectors(n: int, dim: int, *, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build(directory: Path, vectors: np.ndarray, *, chunk: int = 7) -> DenseIndex:
    chunks = (vectors[at : at + chunk] for at in range(0, len(vectors), chunk))
    return DenseIndex.build(directory, (f"p{at}" for at in range(len(vectors))), chunks, vectors.shape[1], source="m1")


@pytest.mark.parametrize("n_queries", [1, 40])
def test_search_finds_what_comparing_with_every_passage_finds(tmp_path: Path, n_queries: int) -> None:
    """An approximate or shifted index loses passages that nobody will ever judge."""
    vectors, queries = unit_vectors(50, 8), unit_vectors(n_queries, 8, seed=1)
    found = build(tmp_path / "index", vectors).search(queries, 5)
    products = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    for row, hits in zip(products, found, strict=True):
        assert [hit.passage_id for hit in hits] == [f"p{at}" for at in np.argsort(-row)[:5]]
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(row)[::-1][:5], atol=1e-6)


def test_an_opened_index_answers_like_the_one_that_was_built(tmp_path: Path) -> None:
    """The worker that builds and the screen that searches are two processes."""
    vectors = unit_vectors(20, 4)
    built = build(tmp_path / "index", vectors)
    opened = DenseIndex.open(tmp_path / "index")
    assert opened.search(vectors[:3], 4) == built.search(vectors[:3], 4)
    assert (opened.n, opened.dim, opened.source) == (20, 4, "m1")
    assert isinstance(opened.vectors, np.memmap)
    np.testing.assert_array_equal(opened.vectors, vectors)


def test_asking_for_more_than_there_is_gives_what_there_is(tmp_path: Path) -> None:
    """FAISS fills up with passage -1, which would be the last passage of the list."""
    vectors = unit_vectors(3, 4)
    assert [len(hits) for hits in build(tmp_path / "index", vectors).search(vectors, 100)] == [3, 3, 3]


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    """An empty import is an ordinary mistake, not a crash."""
    index = build(tmp_path / "index", np.empty((0, 4), dtype=np.float32))
    assert index.search(unit_vectors(2, 4), 3) == [[], []]


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    """Compared anyway they give a ranking that means nothing."""
    index = build(tmp_path / "index", unit_vectors(3, 4))
    with pytest.raises(IndexMismatch, match="encode with the model"):
        index.search(unit_vectors(1, 5), 3)
    with pytest.raises(IndexMismatch, match="expected"):
        DenseIndex.build(tmp_path / "other", ["a"], [unit_vectors(1, 5)], 4)


def test_vectors_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """One NaN passage can come first for every query."""
    broken = unit_vectors(3, 4)
    broken[1, 2] = np.nan
    with pytest.raises(IndexMismatch, match="NaN"):
        build(tmp_path / "broken", broken)
    with pytest.raises(ValueError, match="NaN"):
        build(tmp_path / "index", unit_vectors(3, 4)).search(broken, 1)


@pytest.mark.parametrize("ids", [["a", "b"], ["a", "b", "c", "d"], ["a", "b", "a"]])
def test_ids_that_do_not_match_the_vectors_are_refused(tmp_path: Path, ids: list[str]) -> None:
    """Shifted by one, every label goes to the wrong passage."""
    with pytest.raises(IndexMismatch, match=r"one to one|twice"):
        DenseIndex.build(tmp_path / "index", ids, [unit_vectors(3, 4)], 4)
    with pytest.raises(IndexMismatch, match="no readable index"):
        DenseIndex.open(tmp_path / "index")


def test_a_build_that_fails_over_an_old_index_leaves_no_index(tmp_path: Path) -> None:
    """New vectors under the old list of ids would answer with the wrong passages."""
    build(tmp_path / "index", unit_vectors(3, 4))
    with pytest.raises(IndexMismatch):
        DenseIndex.build(tmp_path / "index", ["a"], [unit_vectors(3, 4)], 4)
    with pytest.raises(IndexMismatch, match="no readable index"):
        DenseIndex.open(tmp_path / "index")


@pytest.mark.parametrize("damage", ["cut", "gone", "meta", "kind", "count"])
def test_a_damaged_index_is_refused(tmp_path: Path, damage: str) -> None:
    """A full disk leaves files that open and answer."""
    build(tmp_path / "index", unit_vectors(3, 4))
    vectors, meta = tmp_path / "index" / "vectors.f32", tmp_path / "index" / "meta.json"
    stored = json.loads(meta.read_text())
    if damage == "cut":
        vectors.write_bytes(vectors.read_bytes()[:-4])
    elif damage == "gone":
        vectors.unlink()
    else:
        changed = {"meta": "[", "kind": json.dumps({**stored, "kind": "x"}), "count": json.dumps({**stored, "n": 2})}
        meta.write_text(changed[damage])
    with pytest.raises(IndexMismatch, match="build"):
        DenseIndex.open(tmp_path / "index")


def test_k_below_one_is_refused(tmp_path: Path) -> None:
    """A k of 0 from a form would look like "nothing found"."""
    with pytest.raises(ValueError, match="k is 0"):
        build(tmp_path / "index", unit_vectors(3, 4)).search(unit_vectors(1, 4), 0)
