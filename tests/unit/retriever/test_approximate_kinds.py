"""Each approximate kind over a few clustered vectors, through `DenseIndex`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retriever import approximate_index
from retriever.approximate_index import GRAPH_NAME, LISTS_NAME
from retriever.dense_index import DenseIndex
from retriever.errors import IndexMismatch
from retriever.index_kinds import FLAT, HNSW, IVF_PQ, IVF_SQ8, KindLimits
from retriever.vector_file import VECTORS_NAME

APPROXIMATE = (HNSW, IVF_SQ8, IVF_PQ)
N, DIM = 1_500, 16


def clustered(n: int = N, *, seed: int = 0) -> np.ndarray:
    """Vectors around thirty centres."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((30, DIM))
    vectors = centres[random.integers(30, size=n)] + 0.4 * random.standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def build(directory: Path, vectors: np.ndarray, **options: object) -> DenseIndex:
    chunks = (vectors[at : at + 400] for at in range(0, len(vectors), 400))
    ids = (f"p{at}" for at in range(len(vectors)))
    return DenseIndex.build(directory, ids, chunks, vectors.shape[1], source="m1", **options)


@pytest.fixture(scope="module", params=APPROXIMATE)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DenseIndex]:
    folder = tmp_path_factory.mktemp(request.param) / "index"
    return folder, build(folder, clustered(), kind=request.param)


def test_every_kind_finds_what_exact_search_finds(built: tuple[Path, DenseIndex]) -> None:
    """What an index misses nobody ever judges, and it looks like a worse model."""
    index, queries, vectors = built[1], clustered(100, seed=1), clustered()
    products = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    found = shared = 0
    for row, hits in zip(products, index.search(queries, 10), strict=True):
        assert [hit.rank for hit in hits] == list(range(1, 11))
        np.testing.assert_allclose(
            [hit.score for hit in hits], [row[int(hit.passage_id[1:])] for hit in hits], atol=1e-6
        )
        shared += len({hit.passage_id for hit in hits} & {f"p{at}" for at in np.argsort(-row)[:10]})
        found += 10
    assert shared / found >= 0.95
    assert index.recall is not None
    assert index.recall >= 0.95


def test_an_opened_index_answers_like_the_one_that_was_built(built: tuple[Path, DenseIndex]) -> None:
    """The worker that builds and the screen that searches are two processes, and the folder was moved in between."""
    folder, index = built
    queries = clustered(20, seed=2)
    before = index.search(queries, 7)
    moved = folder.with_name("moved")
    folder.rename(moved)
    try:
        opened = DenseIndex.open(moved)
        assert opened.search(queries, 7) == before
        assert (opened.kind, opened.recall, opened.efforts, opened.n) == (index.kind, index.recall, index.efforts, N)
        np.testing.assert_array_equal(opened.vectors, clustered())
    finally:
        moved.rename(folder)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what a process has mapped")
def test_an_opened_index_is_mapped_and_not_read(built: tuple[Path, DenseIndex]) -> None:
    """Eight million passages in each process that searches, though the disk has them once."""
    opened = DenseIndex.open(built[0])
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = {Path(line.split(maxsplit=5)[5]).name for line in maps if str(built[0]) in line}
    assert mapped == {VECTORS_NAME, GRAPH_NAME if opened.kind == HNSW else LISTS_NAME}
    assert opened.n == N


def test_what_was_measured_is_kept_with_the_index(built: tuple[Path, DenseIndex]) -> None:
    """A recall that nobody wrote down cannot be asked for later."""
    stored = json.loads((built[0] / "meta.json").read_text())
    assert stored["recall"] == built[1].recall
    assert [effort["depth"] for effort in stored["efforts"]] == [10, 100]
    assert stored["parameters"]["bits"] >= 1


def test_asking_for_more_than_there_is_gives_all_of_it_in_order(built: tuple[Path, DenseIndex]) -> None:
    """FAISS fills up with passage -1, which would be the last passage of the list."""
    index, queries = built[1], clustered(2, seed=3)
    assert index.search(queries, N + 5) == index.search(queries, N + 5, exact=True)
    assert [len(hits) for hits in index.search(queries, N + 5)] == [N, N]


def test_each_query_gets_its_own_answer_alone_or_in_a_batch(built: tuple[Path, DenseIndex]) -> None:
    """A screen asks one question, an evaluation a thousand; both must see the same ranking."""
    index, queries = built[1], clustered(10, seed=4)
    assert [index.search(query[None], 5)[0] for query in queries] == index.search(queries, 5)


@pytest.mark.parametrize("damage", ["cut", "gone", "sizes", "efforts", "garbage"])
def test_a_damaged_index_is_refused(built: tuple[Path, DenseIndex], tmp_path: Path, damage: str) -> None:
    """A file that is cut short and mapped kills the process at the first search behind its end."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in built[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    meta = json.loads((folder / "meta.json").read_text())
    for file in meta["sizes"]:
        path = folder / file
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-8])
        elif damage == "gone":
            path.unlink()
        elif damage == "garbage":
            path.write_bytes(b"\0" * path.stat().st_size)
    if damage == "sizes":
        (folder / "meta.json").write_text(json.dumps({**meta, "sizes": {}}))
    if damage == "efforts":
        (folder / "meta.json").write_text(json.dumps({**meta, "efforts": []}))
    with pytest.raises(IndexMismatch, match="build"):
        DenseIndex.open(folder)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_equal_and_empty_vectors_are_ranked_in_the_order_they_came(tmp_path: Path, kind: str) -> None:
    """The same passage imported twice, or one without a word: a ranking that changes from call to call."""
    vectors = clustered(1_200)
    vectors[100:104] = vectors[0]
    vectors[200:260] = 0.0
    index = build(tmp_path / kind, vectors, kind=kind)
    hits = index.search(vectors[:1], 5)[0]
    assert [hit.passage_id for hit in hits] == ["p0", "p100", "p101", "p102", "p103"]
    assert len({hit.score for hit in hits}) == 1
    assert index.search(np.zeros((1, DIM), dtype=np.float32), 3) == index.search(
        np.zeros((1, DIM), dtype=np.float32), 3
    )


def test_lists_built_in_parts_answer_like_lists_built_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus larger than memory is built in parts; one part lost or numbered anew answers with other passages."""
    vectors = np.concatenate([clustered()] * 14)  # more than one chunk of reading
    vectors += 0.05 * np.random.default_rng(3).standard_normal(vectors.shape).astype(np.float32)
    whole = build(tmp_path / "whole", vectors, kind=IVF_SQ8)
    monkeypatch.setattr(approximate_index, "_SHARD", 10_000)
    parts = build(tmp_path / "parts", vectors, kind=IVF_SQ8)
    queries = clustered(20, seed=5)
    assert parts.search(queries, 10) == whole.search(queries, 10)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "lists.faiss",
        "lists.ivfdata",
        "meta.json",
        "passage_ids.json",
        "vectors.f32",
    ]


def test_the_size_decides_and_an_index_that_finds_too_little_stays_exact(tmp_path: Path) -> None:
    """Nobody asked for an approximation: it must not cost answers."""
    limits = KindLimits(flat=1_200, hnsw=1_300, ivf_sq8=1_400)
    kinds = [
        build(tmp_path / str(n), clustered(n), limits=limits, recall_target=0.5).kind for n in (1_200, 1_250, 1_350, N)
    ]
    assert kinds == [FLAT, HNSW, IVF_SQ8, IVF_PQ]
    impossible = build(tmp_path / "exact", clustered(), limits=limits, recall_target=1.1)
    assert (impossible.kind, impossible.recall) == (FLAT, None)
    assert sorted(path.name for path in (tmp_path / "exact").iterdir()) == [
        "meta.json",
        "passage_ids.json",
        "vectors.f32",
    ]


def test_an_unknown_kind_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    """A misspelt setting must not show after an hour of encoding."""

    def never() -> Callable[[], np.ndarray]:
        raise AssertionError("encoded")
        yield

    with pytest.raises(ValueError, match="choose one of"):
        DenseIndex.build(tmp_path / "index", ["a"], never(), DIM, kind="annoy")


def test_a_folder_of_the_time_before_there_were_kinds_still_opens(tmp_path: Path) -> None:
    """An upgrade must not cost everybody a new encoding of the corpus."""
    folder = tmp_path / "index"
    vectors = clustered(5)
    build(folder, vectors)
    (folder / "meta.json").write_text(json.dumps({"kind": "flat-inner-product", "n": 5, "dim": DIM, "source": "m1"}))
    opened = DenseIndex.open(folder)
    assert (opened.kind, opened.recall) == (FLAT, None)
    assert opened.search(vectors[:1], 1)[0][0].passage_id == "p0"


def test_the_effort_is_chosen_on_the_questions_given_and_asked_for_only_where_it_matters(tmp_path: Path) -> None:
    """Stand-ins are no questions; and encoding questions for an exact index is time for nothing."""
    asked = []

    def questions() -> np.ndarray:
        asked.append(1)
        return clustered(40, seed=8)

    assert build(tmp_path / "exact", clustered(), queries=questions).kind == FLAT
    assert not asked
    given = build(tmp_path / "given", clustered(), kind=IVF_SQ8, queries=questions)
    assert asked == [1]
    invented = build(tmp_path / "invented", clustered(), kind=IVF_SQ8)
    assert given.efforts[0].effort < invented.efforts[0].effort  # inside a cluster fewer lists will do
