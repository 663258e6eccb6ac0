"""Every way of encoding gives the vectors of torch in float32, or says why it cannot."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from builders import TOPICS
from retriever.adapter import LowRank, QueryAdapter
from retriever.encoder import Encoder, load_sentence_transformer, make_backend
from retriever.encoding.backend import BACKENDS, BY_HAND, PARITY, SAMPLE_PARITY, Backend, BackendName, precision_of
from retriever.encoding.measuring import MEASURED, BackendFigure, Measurement, fastest, measure_backends
from retriever.encoding.tokens import count_tokens
from retriever.errors import BackendRefused, EncodingCancelled, ModelCorrupt
from retriever.model_store import default_model_path

SENTENCES = [text for topic in TOPICS for text in (topic.question, topic.answer, topic.partly, topic.related)]
LONGER = [" ".join(SENTENCES[at : at + 4]) for at in range(0, 80, 2)]
TEXTS = [*SENTENCES, *LONGER, "", "x", "日本語 ¿qué? 🙂"]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return load_sentence_transformer(default_model_path(), max_length=48, device="cpu")


@pytest.fixture(scope="module")
def measured(model: SentenceTransformer) -> tuple[Measurement, dict[BackendName, Backend]]:
    """Measuring makes the backends that it chooses from, once for all tests; the others are beside them."""
    measurement, backends = measure_backends(model, LONGER[:16])
    return measurement, backends | {name: make_backend(name, model) for name in BY_HAND}


def encode(backend: Backend, texts: list[str], *, size: int) -> np.ndarray:
    found: dict[int, np.ndarray] = {}
    backend.embed([texts[at : at + size] for at in range(0, len(texts), size)], role="document", sink=found.__setitem__)
    return np.concatenate([found[number] for number in sorted(found)])


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_gives_the_vectors_of_torch(
    measured: tuple[Measurement, dict[BackendName, Backend]], name: BackendName
) -> None:
    """A faster encoder that ranks differently: each text, not the mean, keeps cosine .999."""
    backends = measured[1]
    ours, theirs = encode(backends[name], TEXTS, size=8), encode(backends["torch"], TEXTS, size=len(TEXTS))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    assert float((ours * theirs).sum(axis=1).min()) >= PARITY
    if precision_of(name) == "f32":
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_a_float32_vector_does_not_depend_on_its_batch(
    measured: tuple[Measurement, dict[BackendName, Backend]], name: BackendName
) -> None:
    """A passage that ranks differently because another was imported beside it."""
    backend = measured[1][name]
    np.testing.assert_allclose(encode(backend, TEXTS, size=1), encode(backend, TEXTS, size=16), atol=1e-5)


def test_short_texts_are_not_read_in_int8(measured: tuple[Measurement, dict[BackendName, Backend]]) -> None:
    """A title of two words whose vector lost what fifty words would have evened out."""
    backends = measured[1]
    for texts in (["x", "", "tax law"], [TEXTS[0] * 3, "x"]):
        ours, theirs = (encode(backends[name], texts, size=len(texts)) for name in ("openvino-int8", "torch"))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    whole = [" ".join(SENTENCES[:4])]
    ours, theirs = (encode(backends[name], whole, size=1) for name in ("openvino-int8", "torch"))
    assert np.abs(ours - theirs).max() > 1e-5, "or int8 is not what reads the others"


def test_measuring_says_the_speed_and_parity_of_each_and_takes_a_fast_one(
    measured: tuple[Measurement, dict[BackendName, Backend]],
) -> None:
    """A choice nobody can check, or one that is slower than what it replaced."""
    measurement = measured[0]
    assert [figure.backend for figure in measurement.figures] == list(MEASURED)
    assert "openvino-int8" not in MEASURED, "it keeps cosines and not rankings"
    assert measurement.n_texts == 16
    assert [figure.backend for figure in measurement.figures if figure.refused] == []
    speeds = {figure.backend: figure.texts_per_second or 0.0 for figure in measurement.figures}
    assert all(speed > 0 for speed in speeds.values())
    assert speeds[measurement.backend] * 1.11 >= max(speeds.values())
    assert min(figure.least_cosine or 0.0 for figure in measurement.figures) >= SAMPLE_PARITY


def test_a_less_exact_backend_is_taken_only_where_it_is_worth_it() -> None:
    """Vectors given up for one hundredth of a second."""

    def chosen(**speeds: float) -> BackendName:
        names = {name.replace("-", "_"): name for name in BACKENDS}
        return fastest([BackendFigure(names[name], speed, 1.0) for name, speed in speeds.items()])

    assert chosen(torch=100, torch_bf16=109, openvino=90) == "torch"
    assert chosen(torch=100, openvino=101) == "openvino"
    assert chosen(torch=100, openvino=100, openvino_bf16=150, openvino_int8=151) == "openvino-bf16"
    assert chosen(torch=100, openvino=100, openvino_bf16=150, openvino_int8=166) == "openvino-int8"
    assert chosen(torch=100, torch_bf16=60, openvino=140, openvino_bf16=80, openvino_int8=155) == "openvino-int8"
    refused = BackendFigure("openvino-int8", 900.0, 0.5, refused="cosine 0.5")
    assert fastest([BackendFigure("torch", 1.0, 1.0), refused]) == "torch"


class _Lying(torch.nn.Module):
    """A step whose traced form is not what it does: batches of exactly five texts come out turned round."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        if len(features["sentence_embedding"]) == 5:
            features["sentence_embedding"] = -features["sentence_embedding"]
        return features


def test_a_conversion_that_gives_other_vectors_is_refused(model: SentenceTransformer) -> None:
    """A corpus indexed with vectors that have nothing to do with the model's."""
    lying = SentenceTransformer(modules=[*model.children(), _Lying()], device="cpu")
    encoder = Encoder(lying)
    assert not encoder.use("openvino")
    assert encoder.backend == "torch"
    assert "openvino gives other vectors than torch" in (encoder.refusal or "")


@pytest.fixture
def words(model: SentenceTransformer) -> Encoder:
    """An encoder that is no transformer: one vector a token."""
    tokenizer: Tokenizer = model.tokenizer.backend_tokenizer
    rng = torch.Generator().manual_seed(0)
    weights = torch.randn(tokenizer.get_vocab_size(), 8, generator=rng).numpy()
    return Encoder(SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu"))


def test_a_model_that_openvino_cannot_run_is_encoded_with_torch_and_says_so(words: Encoder) -> None:
    """A user's own model that breaks the import, or one slow for a reason nobody can see."""
    expected = words.encode(SENTENCES[:40])
    assert not words.use("openvino-bf16")
    assert words.backend == "torch"
    assert words.refusal == "openvino runs plain transformer encoders only; this model begins with StaticEmbedding"
    np.testing.assert_array_equal(words.encode(SENTENCES[:40]), expected)
    assert words.use("torch-bf16")
    assert words.refusal is None


def test_measuring_a_model_that_openvino_cannot_run_keeps_the_reason(words: Encoder) -> None:
    """A choice of one, with no word on why the others are missing."""
    measurement = words.use_fastest(SENTENCES[:16])
    refused = {figure.backend: figure.refused for figure in measurement.figures}
    assert refused["torch"] is None
    assert "StaticEmbedding" in (refused["openvino"] or "")
    assert words.backend == measurement.backend
    assert measurement.backend in ("torch", "torch-bf16")


@pytest.mark.parametrize("name", ["openvino", "openvino-int8"])
def test_cancelling_ends_what_openvino_has_under_way(
    measured: tuple[Measurement, dict[BackendName, Backend]], name: BackendName
) -> None:
    """A cancelled build whose requests go on, and fill in the next one's vectors."""
    backend = measured[1][name]

    def batches() -> Iterator[list[str]]:
        yield LONGER[:8]
        yield ["x", *LONGER[8:15]]
        raise EncodingCancelled("stop")

    with pytest.raises(EncodingCancelled):
        backend.embed(batches(), role="document", sink=lambda number, vectors: None)
    np.testing.assert_allclose(
        encode(backend, TEXTS[16:24], size=4), encode(measured[1]["torch"], TEXTS[16:24], size=4), atol=1e-5
    )


def test_texts_are_measured_in_tokens_cut_where_the_model_cuts(model: SentenceTransformer) -> None:
    """Batches sorted by characters, a third of which is padding."""
    # "a b c" is three words and two marks; forty-eight is where this model stops.
    assert count_tokens(model, ["a b c", "word " * 500]) == [5, 48]


def test_an_adapter_moves_queries_and_never_passages(tmp_path: Path) -> None:
    """Passages sent through the query's map: an index that no query fits."""
    turn = LowRank(down=torch.eye(384)[:2], up=torch.eye(384)[:, :2] * 4)
    QueryAdapter(turn).save(tmp_path / "adapter")
    plain = Encoder.load(default_model_path(), max_length=48, device="cpu")
    adapted = Encoder.load(default_model_path(), max_length=48, device="cpu", adapter=tmp_path / "adapter")
    np.testing.assert_allclose(adapted.encode(TEXTS[:3]), plain.encode(TEXTS[:3]), atol=1e-6)
    # By hand: the first two numbers five times as large, then length 1 again.
    expected = plain.encode_queries(TEXTS[:3]) * np.array([5.0, 5.0, *[1.0] * 382])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(adapted.encode_queries(TEXTS[:3]), expected, atol=1e-5)
    assert adapted.encode_queries([]).shape == (0, 384)


def test_an_adapter_of_another_length_is_refused(words: Encoder, tmp_path: Path) -> None:
    """An adapter put on the encoder it was not trained on."""
    adapter = QueryAdapter(LowRank(down=torch.zeros(2, 384), up=torch.zeros(384, 2)))
    with pytest.raises(ModelCorrupt, match="vectors of 384, the encoder makes vectors of 8"):
        Encoder(words.model, adapter=adapter)


def test_a_models_own_prompts_go_before_queries_and_passages(model: SentenceTransformer) -> None:
    """A model trained with "query: " and "passage: " encoded without, by one backend or by all."""
    prompted = SentenceTransformer(
        modules=list(model.children()), prompts={"query": "query: ", "document": "passage: "}, device="cpu"
    )
    plain = Encoder(model).encode([f"{prefix}{SENTENCES[0]}" for prefix in ("query: ", "passage: ")])
    for backend in ("torch", "openvino"):
        encoder = Encoder(prompted)
        assert encoder.use(backend)
        np.testing.assert_allclose(encoder.encode_queries([SENTENCES[0]])[0], plain[0], atol=1e-5)
        np.testing.assert_allclose(encoder.encode([SENTENCES[0]])[0], plain[1], atol=1e-5)


def test_the_default_model_keeps_attentions_values_in_float32(model: SentenceTransformer) -> None:
    """A new version of the converter that names weights in its own way, and vectors that are worse for it."""
    from retriever.encoding.int8_weights import with_int8_weights
    from retriever.encoding.openvino_backend import convert

    converted = convert(model).model
    sizes = [
        (node.get_element_type().get_type_name(), tuple(node.get_output_shape(0)))
        for node in with_int8_weights(converted).get_ordered_ops()
        if node.get_type_name() == "Constant"
    ]
    # By hand: of six layers, two matrices of 384 by 1,536 and the projections to queries, keys and output.
    assert sum(kind == "i8" for kind, _ in sizes) == 6 * 5
    assert sum(size == (384, 384) and kind == "f32" for kind, size in sizes) == 6


def test_a_model_on_another_device_is_refused_by_openvino() -> None:
    """OpenVINO's CPU kernels asked to read a GPU's memory."""
    from retriever.encoding.openvino_backend import convert

    class Elsewhere(SentenceTransformer):
        @property
        def device(self) -> torch.device:
            return torch.device("meta")

    elsewhere = Elsewhere(modules=[Transformer(str(default_model_path()))], device="cpu")
    with pytest.raises(BackendRefused, match="on the CPU"):
        convert(elsewhere)


DROPPED_AT_ONCE = """
from retriever.encoder import load_sentence_transformer
from retriever.encoding.openvino_backend import Converted, OpenVinoBackend, convert
from retriever.model_store import default_model_path

model = load_sentence_transformer(default_model_path(), max_length=16, device="cpu")
converted = convert(model)
for _ in range(4):
    backend = OpenVinoBackend(model, converted=Converted(converted.model, converted.inputs))
    backend.embed([["a few words"] * 4] * 6, role="document", sink=lambda number, vectors: None)
    del backend
print("dropped")
"""


def test_a_backend_is_dropped_right_after_its_last_batch() -> None:
    """A job that is done with its encoder waits for ever, holding the interpreter's lock: nothing else goes on."""
    done = subprocess.run(
        [sys.executable, "-c", DROPPED_AT_ONCE], capture_output=True, text=True, timeout=180, check=False
    )
    assert (done.returncode, done.stdout) == (0, "dropped\n"), done.stderr
