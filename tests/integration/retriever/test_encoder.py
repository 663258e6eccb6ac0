import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from retriever.encoder import Encoder
from retriever.errors import EncodingCancelled, ModelCorrupt, ModelNotFound
from retriever.model_store import DEFAULT_MODEL_SHA256, default_model_path, hash_file, resolve_model

TEXTS = ["Tides follow the moon.", "", "bread " * 400, "Bread rises with yeast.", "Why do tides change?"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(default_model_path())


def test_the_default_model_is_the_pinned_one() -> None:
    """Another model under the same name would change every label and figure."""
    assert hash_file(default_model_path() / "model.safetensors") == DEFAULT_MODEL_SHA256
    assert resolve_model("default") == default_model_path()


def test_vectors_come_in_the_order_of_the_texts_normalised(encoder: Encoder) -> None:
    """Sorted by length and not put back, every passage would carry the vector of another."""
    vectors = encoder.encode(TEXTS, batch_size=2)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, encoder.dim) == (5, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    plain = SentenceTransformer(str(default_model_path()), device="cpu")
    one_by_one = np.stack([plain.encode(text, normalize_embeddings=True) for text in TEXTS])
    np.testing.assert_allclose(vectors, one_by_one, atol=1e-5)


def test_a_question_lies_nearest_to_its_answer(encoder: Encoder) -> None:
    """The vectors must mean something, not only have the right shape."""
    vectors = encoder.encode(TEXTS)
    assert int(np.argmax(vectors[:4] @ vectors[4])) == 0


def test_a_stream_is_read_chunk_by_chunk(encoder: Encoder) -> None:
    """A corpus read whole before the first vector does not fit in memory."""
    read: list[str] = []

    def texts() -> Iterator[str]:
        for text in itertools.cycle(TEXTS[:1]):
            read.append(text)
            yield text

    chunks = encoder.encode_stream(texts(), chunk=3)
    assert next(chunks).shape == (3, 384)
    assert len(read) == 3


def test_a_stream_gives_the_vectors_of_encode(encoder: Encoder) -> None:
    """The index is built from the stream, the queries from encode: they must meet."""
    streamed = np.concatenate(list(encoder.encode_stream(iter(TEXTS), chunk=2)))
    np.testing.assert_allclose(streamed, encoder.encode(TEXTS), atol=1e-5)


def test_encoding_reports_progress_and_stops_when_asked(encoder: Encoder) -> None:
    """Hours without a sign of life get killed; a job that cannot be cancelled too."""
    seen: list[tuple[int, int]] = []
    encoder.encode(TEXTS, batch_size=2, progress=lambda *at: seen.append(at))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    answers = iter([False, True])
    with pytest.raises(EncodingCancelled, match="after 2 of 5"):
        encoder.encode(TEXTS, batch_size=2, should_cancel=lambda: next(answers))


def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    """An empty import is an ordinary mistake, not a crash."""
    assert encoder.encode([]).shape == (0, 384)
    assert list(encoder.encode_stream([])) == []


def test_a_shorter_length_cuts_the_text() -> None:
    """A setting that is not applied costs the time it was meant to save."""
    short = Encoder.load(default_model_path(), max_length=16)
    assert short.max_length == 16
    start, whole = short.encode(["bread " * 14, "bread " * 200])
    np.testing.assert_allclose(start, whole, atol=1e-5)


def test_loading_prints_nothing_and_leaves_the_librarys_settings(capfd: pytest.CaptureFixture[str]) -> None:
    """Load reports and bars of a library end up between the user's own lines."""
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    Encoder.load(default_model_path()).encode(TEXTS)
    assert capfd.readouterr() == ("", "")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """Twelve kinds of library errors must be one that people can act on."""
    with pytest.raises(ModelNotFound, match="check the path"):
        Encoder.load(tmp_path / "none")
    broken = tmp_path / "broken"
    shutil.copytree(default_model_path(), broken)
    (broken / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelCorrupt, match="cannot load"):
        Encoder.load(broken)
