"""Vectors kept by the hash of their text."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retriever.vector_cache import (
    KEY_BYTES,
    CacheOwner,
    VectorCache,
    as_keys,
    drop_cache,
    list_caches,
    text_key,
)

OWNER = CacheOwner(model_hash="ab" * 32, max_length=64, precision="f32", dim=3)


def keys_of(*texts: str) -> np.ndarray:
    return as_keys([text_key(text) for text in texts])


def vectors_of(*texts: str) -> np.ndarray:
    """What stands for an encoder: three numbers that follow from the text."""
    return np.array([[len(text), *text_key(text)[:2]] for text in texts], dtype=np.float32)


def keep(cache: VectorCache, *texts: str) -> None:
    cache.append(keys_of(*texts), vectors_of(*texts))


def test_kept_vectors_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    """A passage found by another passage's vector."""
    keep(VectorCache.open(tmp_path, OWNER), "a", "bb", "ccc")
    cache = VectorCache.open(tmp_path, OWNER)
    keep(cache, "dddd")
    np.testing.assert_array_equal(cache.vectors(keys_of("dddd", "bb", "a", "bb")), vectors_of("dddd", "bb", "a", "bb"))
    assert cache.n == 4


def test_only_texts_without_a_vector_are_missing_and_each_once(tmp_path: Path) -> None:
    """A corpus encoded again because one passage was added, or a text that occurs twice encoded twice."""
    cache = VectorCache.open(tmp_path, OWNER)
    assert cache.missing(keys_of("a", "b", "a")).tolist() == [0, 1]
    keep(cache, "a")
    assert cache.missing(keys_of("new", "a", "newer", "new")).tolist() == [0, 2]
    assert cache.missing(keys_of("a")).tolist() == []
    assert cache.missing(as_keys([])).tolist() == []


def test_a_missing_vector_is_an_error_and_not_a_row_of_somebody_else(tmp_path: Path) -> None:
    """An index with zeros, or another text's vector, where one was lost."""
    cache = VectorCache.open(tmp_path, OWNER)
    keep(cache, "a")
    with pytest.raises(KeyError, match="1 of 2 texts"):
        cache.vectors(keys_of("a", "b"))


@given(batches=st.lists(st.lists(st.text(max_size=3), max_size=8, unique=True), max_size=6))
@settings(max_examples=30, deadline=None)
def test_whatever_is_appended_in_whatever_order_is_found(
    batches: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A lookup that loses its way among sorted keys."""
    root = tmp_path_factory.mktemp("vectors")
    for batch in batches:
        if batch:
            keep(VectorCache.open(root, OWNER), *batch)
    texts = [text for batch in batches for text in batch]
    cache = VectorCache.open(root, OWNER)
    assert not len(cache.missing(keys_of(*texts)))
    np.testing.assert_array_equal(cache.vectors(keys_of(*texts)), vectors_of(*texts).reshape(-1, 3))


def test_two_keys_with_the_same_first_half_are_told_apart(tmp_path: Path) -> None:
    """A vector served for a text whose hash only begins alike."""
    keys = as_keys([b"12345678" + tail for tail in (b"aaaaaaaa", b"bbbbbbbb", b"cccccccc")])
    cache = VectorCache.open(tmp_path, OWNER)
    cache.append(keys[:2], np.array([[1, 0, 0], [2, 0, 0]], dtype=np.float32))
    assert cache.vectors(keys[[1, 0]])[:, 0].tolist() == [2, 1]
    assert cache.missing(keys).tolist() == [2]


@pytest.mark.parametrize("other", ["model_hash", "max_length", "precision"])
def test_another_model_length_or_precision_finds_nothing(tmp_path: Path, other: str) -> None:
    """A retrained model served with the vectors of the one before it."""
    keep(VectorCache.open(tmp_path, OWNER), "a")
    changed = {"model_hash": "cd" * 32, "max_length": 128, "precision": "bf16"}
    cache = VectorCache.open(tmp_path, replace(OWNER, **{other: changed[other]}))
    assert cache.missing(keys_of("a")).tolist() == [0]
    assert VectorCache.open(tmp_path, OWNER).n == 1


def test_a_folder_that_says_it_is_another_models_is_emptied(tmp_path: Path) -> None:
    """Two models whose hashes begin alike: sixteen digits name the folder, the whole hash must agree."""
    keep(VectorCache.open(tmp_path, OWNER), "a")
    twin = replace(OWNER, model_hash=OWNER.model_hash[:16] + "00" * 24)
    assert twin.folder == OWNER.folder
    assert VectorCache.open(tmp_path, twin).n == 0


@pytest.mark.parametrize("name", ["keys.bin", "vectors.f32"])
def test_a_half_written_tail_is_cut_and_the_rest_kept(tmp_path: Path, name: str) -> None:
    """A power cut in the middle of a write, after which every later row is shifted."""
    keep(VectorCache.open(tmp_path, OWNER), "a", "b", "c")
    path = tmp_path / OWNER.folder / name
    os.truncate(path, path.stat().st_size - 5)
    cache = VectorCache.open(tmp_path, OWNER)
    assert cache.missing(keys_of("a", "b", "c")).tolist() == [2]
    keep(cache, "d", "c")
    again = VectorCache.open(tmp_path, OWNER)
    np.testing.assert_array_equal(again.vectors(keys_of("a", "b", "c", "d")), vectors_of("a", "b", "c", "d"))
    assert (tmp_path / OWNER.folder / "keys.bin").stat().st_size == 4 * KEY_BYTES


_WRITER = """
import sys; sys.path[:0] = {path!r}
from pathlib import Path
from tests_vector_cache import OWNER, keep
from retriever.vector_cache import VectorCache
cache = VectorCache.open(Path({root!r}), OWNER)
for number in range(100_000):
    keep(cache, *(f"{{number}} {{place}}" for place in range(50)))
"""


def test_a_killed_writer_leaves_whole_vectors(tmp_path: Path) -> None:
    """An hour of encoding lost, or poisoned, by a kill."""
    source = Path(__file__)
    (tmp_path / "tests_vector_cache.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    root = tmp_path / "vectors"
    script = _WRITER.format(path=[str(tmp_path), str(source.parents[3])], root=str(root))
    writer = subprocess.Popen([sys.executable, "-c", script])
    try:
        keys = root / OWNER.folder / "keys.bin"
        until = time.monotonic() + 120
        while not (keys.is_file() and keys.stat().st_size > 200 * KEY_BYTES):
            assert writer.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    cache = VectorCache.open(root, OWNER)
    assert cache.n >= 200
    texts = [f"{number} {place}" for number in range(cache.n // 50) for place in range(50)]
    np.testing.assert_array_equal(cache.vectors(keys_of(*texts)), vectors_of(*texts))
    keep(cache, "after")
    np.testing.assert_array_equal(cache.vectors(keys_of("after", texts[0])), vectors_of("after", texts[0]))


def test_two_writers_see_each_others_vectors(tmp_path: Path) -> None:
    """Two processes that encode the same corpus and overwrite each other."""
    one, other = VectorCache.open(tmp_path, OWNER), VectorCache.open(tmp_path, OWNER)
    keep(one, "a", "b")
    keep(other, "c")
    assert one.missing(keys_of("a", "b", "c")).tolist() == []
    np.testing.assert_array_equal(other.vectors(keys_of("c", "a")), vectors_of("c", "a"))


def test_a_cache_dropped_while_open_is_empty_and_can_be_filled_again(tmp_path: Path) -> None:
    """Rows of a deleted file read from the file that took its place."""
    cache = VectorCache.open(tmp_path, OWNER)
    keep(cache, "a", "b", "c")
    drop_cache(tmp_path, OWNER)
    assert list_caches(tmp_path) == []
    assert cache.missing(keys_of("a", "b")).tolist() == [0, 1]
    keep(VectorCache.open(tmp_path, OWNER), "x", "y", "z", "b")
    assert cache.missing(keys_of("a", "b")).tolist()[0] == 0
    with pytest.raises(KeyError):
        cache.vectors(keys_of("a"))
    keep(cache, "a")
    np.testing.assert_array_equal(cache.vectors(keys_of("a")), vectors_of("a"))


def test_the_caches_there_are_say_whose_they_are_and_how_large(tmp_path: Path) -> None:
    """A disk that fills with vectors nobody knows the model of."""
    keep(VectorCache.open(tmp_path, OWNER), "a", "b")
    (tmp_path / "strange").mkdir()
    (found,) = list_caches(tmp_path)
    assert found.owner == OWNER
    assert found.n_bytes > 2 * (KEY_BYTES + 12)
    assert list_caches(tmp_path / "nowhere") == []


@pytest.mark.parametrize("broken", [np.zeros((1, 2)), np.full((1, 3), np.nan), np.zeros((2, 3))])
def test_vectors_of_another_shape_or_not_numbers_are_refused(tmp_path: Path, broken: np.ndarray) -> None:
    """NaN kept for good, found again by every later build."""
    cache = VectorCache.open(tmp_path, OWNER)
    with pytest.raises(ValueError, match="vectors"):
        cache.append(keys_of("a"), broken.astype(np.float32))
    assert cache.n == 0


def test_what_is_appended_while_a_cache_is_dropped_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an hour of another worker's encoding is deleted with what somebody dropped, and its index fails."""
    keep(VectorCache.open(tmp_path, OWNER), "a", "b")
    other = VectorCache.open(tmp_path, OWNER)
    real, appending = shutil.rmtree, []

    def while_deleting(path: Path, **options: bool) -> None:
        appending.append(threading.Thread(target=keep, args=(other, "c")))
        appending[0].start()
        appending[0].join(timeout=0.3)  # it waits for the lock; without one it would have appended by now
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", while_deleting)
    drop_cache(tmp_path, OWNER)
    appending[0].join()
    np.testing.assert_array_equal(other.vectors(keys_of("c")), vectors_of("c"))
    assert VectorCache.open(tmp_path, OWNER).missing(keys_of("a", "b", "c")).tolist() == [0, 1]


def test_a_folder_that_cannot_be_read_for_a_moment_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network drive that hiccups once costs every vector."""
    keep(VectorCache.open(tmp_path, OWNER), "a")
    read = Path.read_text

    def fail(path: Path, *args: str, **options: str) -> str:
        if path.name == "meta.json":
            raise OSError(5, "Input/output error")
        return read(path, *args, **options)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_text", fail)
        with pytest.raises(OSError, match="Input/output"):
            VectorCache.open(tmp_path, OWNER)
        assert list_caches(tmp_path) == []
    assert VectorCache.open(tmp_path, OWNER).missing(keys_of("a")).tolist() == []
