"""Building an index from kept vectors: only new texts are encoded, whatever was cancelled or killed before."""

import importlib.metadata
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from numpy.typing import NDArray

from app.bootstrap import Workspace, open_with
from app.config import settings_from
from app.services import encoder_choice, passage_vectors
from app.services.doctor import Check, examine
from app.services.importing import import_passages
from app.services.indexing import (
    dense_system,
    ensure_dense_index,
    ensure_live_model,
    index_names,
    model_path,
    register_model,
)
from app.services.pooling import pool
from app.services.promotion import promote, rollback
from app.services.retrievers import open_index, open_retriever
from builders import TOPICS, add_corpus
from db.enums import ModelKind, ModelStage
from db.models import CandidateHit, ModelVersion
from db.queries.registry import get_live
from retriever.adapter import LowRank, QueryAdapter
from retriever.dense_index import DenseIndex
from retriever.encoder import Encoder
from retriever.encoding.backend import precision_of
from retriever.encoding.measuring import MEASURED, BackendFigure, Measurement
from retriever.errors import EncodingCancelled
from retriever.vector_cache import Keys, VectorCache, drop_cache, list_caches


class Counted:
    """Follows a build: how many texts were to be encoded, and how many were."""

    def __init__(self) -> None:
        self.done = self.total = 0

    def __call__(self, done: int, total: int) -> None:
        self.done, self.total = done, total


def build(workspace: Workspace, model: ModelVersion) -> tuple[DenseIndex, Counted]:
    counted = Counted()
    return DenseIndex.open(ensure_dense_index(workspace, model, progress=counted)), counted


def short(workspace: Workspace, **settings: object) -> Workspace:
    """The workspace with short texts, so that encoding takes a moment."""
    workspace.close()
    return open_with(settings_from(workspace.settings.workspace, {"max_length": 16, **settings}))


@pytest.fixture
def corpus(workspace: Workspace) -> Workspace:
    opened = short(workspace)
    add_corpus(opened)
    return opened


def test_a_changed_corpus_encodes_only_what_changed(corpus: Workspace) -> None:
    """A million passages encoded again because one was added."""
    model = ensure_live_model(corpus)
    before, counted = build(corpus, model)
    assert counted.done == counted.total == before.n == 60
    import_passages(corpus, [("new", "Cups", "A cup of tea.")], source_name="more")
    after, counted = build(corpus, model)
    assert (counted.done, counted.total, after.n) == (1, 1, 61)
    encoder = Encoder.load(model_path(corpus, model), max_length=16)
    at = after.passage_ids.index("new")
    np.testing.assert_allclose(after.vectors[at], encoder.encode(["Cups A cup of tea."])[0], atol=1e-5)
    np.testing.assert_array_equal(after.vectors[0], before.vectors[0])


def test_another_model_is_never_served_the_vectors_of_this_one(corpus: Workspace) -> None:
    """A retrained model measured, and promoted, on the vectors of the model before it."""
    model = ensure_live_model(corpus)
    index, _ = build(corpus, model)
    other, _ = build(corpus, changed_model(corpus, model))
    assert other.passage_ids == index.passage_ids
    assert not np.allclose(other.vectors, index.vectors, atol=1e-3)
    assert len(list_caches(passage_vectors.vectors_folder(corpus))) == 2


def changed_model(workspace: Workspace, model: ModelVersion) -> ModelVersion:
    encoder = Encoder.load(model_path(workspace, model))
    with torch.no_grad():
        for weight in encoder.model.parameters():
            weight.mul_(1.1)
    staging = workspace.settings.models / ".changed"
    encoder.save(staging)
    return register_model(
        workspace, staging=staging, name="changed", base_id=model.id, dim=model.dim, stage=ModelStage.CANDIDATE
    )


def test_a_cancelled_build_keeps_what_it_encoded(corpus: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an hour of encoding thrown away by a click."""
    monkeypatch.setattr(passage_vectors, "CHUNK", 16)
    model = ensure_live_model(corpus)
    answers = iter([False, False, True])
    with pytest.raises(EncodingCancelled):
        ensure_dense_index(corpus, model, should_cancel=lambda: next(answers))
    assert open_index(corpus, model) is None
    index, counted = build(corpus, model)
    assert (counted.total, index.n) == (60 - 2 * 16, 60)


_BUILDER = """
from pathlib import Path
from app.bootstrap import open_workspace
from app.services import passage_vectors
from app.services.indexing import ensure_dense_index, ensure_live_model
passage_vectors.CHUNK = 4
workspace = open_workspace(Path({path!r}))
ensure_dense_index(workspace, ensure_live_model(workspace))
"""


def test_a_killed_build_goes_on_where_it_was(corpus: Workspace) -> None:
    """A worker killed at nine tenths that begins at the first passage again."""
    corpus = short(corpus, encoder_backend="torch")
    model = ensure_live_model(corpus)
    folder = corpus.settings.workspace
    (folder / "relabel.toml").write_text('max_length = 16\nencoder_backend = "torch"\n', encoding="utf-8")
    texts = [f"Number {at} of many." for at in range(600)]
    import_passages(corpus, [(f"p{at}", "", text) for at, text in enumerate(texts)], source_name="many")
    builder = subprocess.Popen([sys.executable, "-c", _BUILDER.format(path=str(folder))])
    try:
        until = time.monotonic() + 280
        while sum(stored.n_bytes for stored in list_caches(folder / "vectors")) < 40 * 1600:
            assert builder.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        builder.send_signal(signal.SIGKILL)
        builder.wait()
    assert open_index(corpus, model) is None
    index, counted = build(corpus, model)
    assert index.n == 660
    assert 0 < counted.total <= 660 - 36
    assert counted.done == counted.total
    encoder = Encoder.load(model_path(corpus, model), max_length=16)
    some = [index.passage_ids.index(f"p{at}") for at in (0, 300, 599)]
    np.testing.assert_allclose(index.vectors[some], encoder.encode([texts[at] for at in (0, 300, 599)]), atol=1e-5)


def test_vectors_of_retired_models_can_be_dropped_and_no_others(corpus: Workspace) -> None:
    """A disk full of vectors that nobody searches, or the live model's deleted with them."""
    model = ensure_live_model(corpus)
    build(corpus, model)
    retired = changed_model(corpus, model)
    build(corpus, retired)
    assert passage_vectors.drop_vectors(corpus) == 0
    with corpus.sessions.begin() as session:
        session.get_one(ModelVersion, retired.id).stage = ModelStage.RETIRED
    freed = passage_vectors.drop_vectors(corpus)
    assert freed >= 60 * 384 * 4
    (left,) = list_caches(passage_vectors.vectors_folder(corpus))
    assert left.owner.model_hash == model.hash
    assert open_index(corpus, retired) is not None


def add_adapter(workspace: Workspace, model: ModelVersion) -> ModelVersion:
    """An adapter that turns two directions of the query round."""
    staging = workspace.settings.models / ".adapter"
    QueryAdapter(LowRank(down=torch.eye(384)[:64], up=torch.eye(384)[:, :64] * -2)).save(staging)
    return register_model(
        workspace,
        staging=staging,
        name="adapter",
        base_id=model.id,
        dim=model.dim,
        stage=ModelStage.CANDIDATE,
        encoder_id=model.id,
    )


def test_an_adapter_searches_its_encoders_index_with_changed_queries(corpus: Workspace) -> None:
    """An adapter that needs a re-index, is forgotten in a search, or is named like its encoder in the pool."""
    model = ensure_live_model(corpus)
    adapter = add_adapter(corpus, model)
    assert adapter.kind is ModelKind.ADAPTER
    path = ensure_dense_index(corpus, model)
    counted = Counted()
    assert ensure_dense_index(corpus, adapter, progress=counted) == path
    assert counted.total == 0
    with corpus.sessions.read() as session:
        assert index_names(corpus, session, adapter) == index_names(corpus, session, model)
    assert dense_system(adapter) != dense_system(model)
    question = ["why does my sourdough not rise"]
    plain, adapted = (open_retriever(corpus, version).search(question, 60)[0] for version in (model, adapter))
    # By hand: what the adapter does to a query of length 1 is to turn the first 64 numbers round.
    query = Encoder.load(model_path(corpus, model), max_length=16).encode_queries(question)[0]
    index = DenseIndex.open(path)
    expected = index.vectors @ (query * np.array([-1.0] * 64 + [1.0] * 320, dtype=np.float32))
    np.testing.assert_allclose([hit.score for hit in adapted], np.sort(expected)[::-1], atol=1e-5)
    assert [hit.passage_id for hit in adapted] != [hit.passage_id for hit in plain]


def test_an_adapter_goes_live_pools_under_its_own_name_and_goes_back(corpus: Workspace) -> None:
    """A promoted adapter without an index, or candidates that name the wrong version."""
    model = ensure_live_model(corpus)
    ensure_dense_index(corpus, model)
    pool(corpus)
    adapter = add_adapter(corpus, model)
    promote(corpus, model_id=adapter.id, person="me", override_reason="tried by hand")
    pool(corpus)
    with corpus.sessions.read() as session:
        live = get_live(session)
        assert live is not None
        assert live.id == adapter.id
        systems = set(session.scalars(sa.select(CandidateHit.system).distinct()))
    assert {dense_system(model), dense_system(adapter)} <= systems
    assert rollback(corpus, person="me", reason="back") == model.name


def _measured() -> Measurement:
    figures = (BackendFigure("torch", 100.0, 1.0), BackendFigure("torch-bf16", 200.0, 0.9999))
    return Measurement("torch-bf16", 64, figures)


def test_a_backend_is_measured_once_for_a_family_of_models(corpus: Workspace) -> None:
    """Seconds of measuring before every build, or a choice nobody can look up."""
    model = ensure_live_model(corpus)
    calls: list[int] = []

    def measure() -> Measurement:
        calls.append(1)
        return _measured()

    few, many = encoder_choice.MEASURED_FROM - 1, encoder_choice.MEASURED_FROM
    assert encoder_choice.choose_backend(corpus, model, n_texts=few, measure=measure) == "torch"
    assert not calls
    assert encoder_choice.choose_backend(corpus, model, n_texts=many, measure=measure) == "torch-bf16"
    retrained = changed_model(corpus, model)
    assert encoder_choice.choose_backend(corpus, retrained, n_texts=many, measure=measure) == "torch-bf16"
    assert encoder_choice.choose_backend(corpus, model, n_texts=few, measure=measure) == "torch-bf16"
    assert len(calls) == 1
    choice = encoder_choice.get_choice(corpus, retrained)
    assert choice is not None
    assert (choice.backend, choice.n_texts, choice.figures[0].texts_per_second) == ("torch-bf16", 64, 100.0)
    assert encoder_choice.list_choices(corpus) == (choice,)
    (corpus.settings.workspace / encoder_choice.FILE).write_text('{"x": 3', encoding="utf-8")
    assert encoder_choice.choose_backend(corpus, model, n_texts=many, measure=measure) == "torch-bf16"
    assert len(calls) == 2


def test_the_setting_goes_before_what_was_measured(corpus: Workspace) -> None:
    """A user who must have float32 and gets what is fastest."""
    model = ensure_live_model(corpus)
    named = short(corpus, encoder_backend="torch-bf16")
    chosen = encoder_choice.choose_backend(named, model, n_texts=10_000, measure=lambda: pytest.fail("measured"))
    assert chosen == "torch-bf16"
    _, counted = build(named, model)
    assert counted.total == 60
    assert [stored.owner.precision for stored in list_caches(passage_vectors.vectors_folder(named))] == ["bf16"]


def test_a_backend_that_cannot_run_the_model_is_counted_with_its_reason(corpus: Workspace) -> None:
    """A corpus encoded five times as slowly as it could be, and nobody told."""
    model = ensure_live_model(corpus)
    for reason in ("first", "second"):
        encoder_choice.count_fall_back(corpus, model, asked="openvino", reason=reason)
    choice = encoder_choice.get_choice(corpus, model)
    assert choice is not None
    assert (choice.fell_back, choice.reason, choice.backend) == (2, "second", "openvino")
    named = short(corpus, encoder_backend="openvino-int8")
    encoder_choice.count_fall_back(named, model, asked="openvino-int8", reason="third")
    assert encoder_choice.choose_backend(corpus, model, n_texts=10, measure=lambda: pytest.fail("so few")) == "torch"
    measured = encoder_choice.choose_backend(corpus, model, n_texts=10_000, measure=_measured)
    assert measured == "torch-bf16", "what could not run was not measured either"


def test_a_large_corpus_is_encoded_with_what_was_measured(corpus: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement that is made, stored, and not used."""
    monkeypatch.setattr(encoder_choice, "MEASURED_FROM", 50)
    monkeypatch.setattr(passage_vectors, "MEASURED_FROM", 50)
    model = ensure_live_model(corpus)
    index, _ = build(corpus, model)
    choice = encoder_choice.get_choice(corpus, model)
    assert choice is not None
    assert {figure.backend for figure in choice.figures} == set(MEASURED)
    (kept,) = list_caches(passage_vectors.vectors_folder(corpus))
    assert kept.owner.precision == precision_of(choice.backend)
    exact = Encoder.load(model_path(corpus, model), max_length=16)
    first = exact.encode([f"{TOPICS[0].name} {TOPICS[0].answer}"])[0]
    assert float(index.vectors[0] @ first) >= 0.999


def test_the_doctor_tells_what_encodes_here_and_what_could_be_deleted(corpus: Workspace) -> None:
    """A slow encoder, or gigabytes of vectors of models long retired, that nobody can see."""
    model = ensure_live_model(corpus)
    build(corpus, model)

    def said() -> dict[str, Check]:
        return {check.name: check for check in examine(corpus)}

    assert said()["encoder"].detail == "torch; others are measured with the first 500 passages"
    encoder_choice.choose_backend(corpus, model, n_texts=1_000, measure=_measured)
    encoder_choice.count_fall_back(corpus, model, asked="openvino", reason="no such layer")
    detail = said()["encoder"].detail
    assert f"{model.name}: torch-bf16 (on 64 passages: torch 100/s, cosine 1.00000" in detail
    assert "torch encoded instead 1 times: no such layer" in detail
    assert "drop-vectors" not in said()["vectors"].detail
    with corpus.sessions.begin() as session:
        session.get_one(ModelVersion, model.id).stage = ModelStage.RETIRED
    assert "relabel doctor --drop-vectors" in said()["vectors"].detail


def test_vectors_dropped_while_an_index_is_built_are_made_again(
    corpus: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody frees disk space, and the build of an index ends in a KeyError."""
    model = ensure_live_model(corpus)
    monkeypatch.setattr(passage_vectors, "CHUNK", 16)
    real, dropped = VectorCache.vectors, []

    def dropping(cache: VectorCache, keys: Keys) -> NDArray[np.float32]:
        if not dropped:
            (stored,) = list_caches(passage_vectors.vectors_folder(corpus))
            drop_cache(passage_vectors.vectors_folder(corpus), stored.owner)
            dropped.append(stored)
        return real(cache, keys)

    monkeypatch.setattr(VectorCache, "vectors", dropping)
    index, _ = build(corpus, model)
    assert (index.n, len(dropped)) == (60, 1)


def test_a_corpus_that_outgrows_float32_keeps_its_vectors(corpus: Workspace) -> None:
    """The five hundredth passage has all of them encoded again, because bf16 is faster."""
    model = ensure_live_model(corpus)
    before, _ = build(corpus, model)
    grown = short(corpus, encoder_backend="torch-bf16")
    import_passages(grown, [("new", "Cups", "A cup of tea.")], source_name="more")
    after, counted = build(grown, model)
    assert (counted.total, after.n) == (1, 61)
    np.testing.assert_array_equal(after.vectors[:60], before.vectors)


def test_a_corpus_that_goes_over_to_int8_keeps_what_bf16_made(corpus: Workspace) -> None:
    """A million passages encoded again, because a new version has a faster way."""
    half = short(corpus, encoder_backend="torch-bf16")
    model = ensure_live_model(half)
    before, _ = build(half, model)
    faster = short(half, encoder_backend="openvino-int8")
    import_passages(faster, [("new", "Cups", "A cup of tea.")], source_name="more")
    after, counted = build(faster, model)
    assert (counted.total, after.n) == (1, 61)
    np.testing.assert_array_equal(after.vectors[:60], before.vectors)


def test_without_openvino_torch_encodes(corpus: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without OpenVINO cannot index anything, or say what it has."""
    named = short(corpus, encoder_backend="openvino")
    model = ensure_live_model(named)
    for module in ("openvino", "retriever.encoding.openvino_backend"):
        monkeypatch.setitem(sys.modules, module, None)
    real = importlib.metadata.version

    def absent(package: str) -> str:
        if package == "openvino":
            raise importlib.metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    encoder_choice._machine.cache_clear()
    try:
        index, counted = build(named, model)
        said = {check.name: check.detail for check in examine(named)}
        choice = encoder_choice.get_choice(named, model)
    finally:
        encoder_choice._machine.cache_clear()
    assert (index.n, counted.total) == (60, 60)
    assert "openvino none" in said["packages"]
    assert choice is not None
    assert "openvino is not installed here" in (choice.reason or "")
