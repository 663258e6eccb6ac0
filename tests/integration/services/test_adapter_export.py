"""An adapter taken out of Relabel gives the vectors that it gives inside."""

import json
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from app.bootstrap import Workspace
from app.services.indexing import ensure_live_model, model_path, register_model
from app.services.model_export import export_model
from db.enums import ModelStage
from retriever.adapter import LowRank, Mlp, QueryAdapter, Transform
from retriever.encoder import Encoder

QUESTIONS = ["why does my sourdough not rise", "how do I stop a chain from slipping"]
PASSAGES = ["A loaf that stays flat mostly has a starter that is too young.", "Chains replaced belts around 1890."]


def exported(workspace: Workspace, transform: Transform, target: Path) -> tuple[SentenceTransformer, Encoder]:
    """The exported folder as sentence-transformers loads it, and our own encoder of the same version."""
    base = ensure_live_model(workspace)
    staging = workspace.settings.models / ".adapter"
    QueryAdapter(transform).save(staging)
    adapter = register_model(
        workspace,
        staging=staging,
        name="adapter",
        base_id=base.id,
        dim=base.dim,
        stage=ModelStage.CANDIDATE,
        encoder_id=base.id,
    )
    export_model(workspace, model_id=adapter.id, target=target)
    assert json.loads((target / "relabel.json").read_text(encoding="utf-8"))["hash"] == adapter.hash
    ours = Encoder.load(model_path(workspace, base), device="cpu", adapter=model_path(workspace, adapter))
    return SentenceTransformer(str(target), device="cpu"), ours


def low_rank() -> LowRank:
    rng = torch.Generator().manual_seed(3)
    return LowRank(down=torch.randn(8, 384, generator=rng) / 20, up=torch.randn(384, 8, generator=rng) / 4)


def test_a_low_rank_adapter_leaves_as_one_model_with_our_vectors(workspace: Workspace, tmp_path: Path) -> None:
    """A model handed to a search service that ranks otherwise than the one that passed the gate."""
    model, ours = exported(workspace, low_rank(), tmp_path / "out")
    np.testing.assert_allclose(model.encode_query(QUESTIONS), ours.encode_queries(QUESTIONS), atol=1e-5)
    np.testing.assert_allclose(model.encode_document(PASSAGES), ours.encode(PASSAGES), atol=1e-5)
    np.testing.assert_allclose(model.encode(PASSAGES), ours.encode(PASSAGES), atol=1e-5)
    assert model.max_seq_length == ours.max_length
    assert not np.allclose(model.encode_query(QUESTIONS), ours.encode(QUESTIONS), atol=1e-2)
    assert "`encode_query`" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_another_adapter_leaves_beside_its_encoder_and_the_card_says_how(workspace: Workspace, tmp_path: Path) -> None:
    """An adapter exported as the bare encoder, which nobody notices before the answers get worse."""
    rng = torch.Generator().manual_seed(3)
    mlp = Mlp(down=torch.randn(8, 384, generator=rng), bias=torch.zeros(8), up=torch.randn(384, 8, generator=rng))
    model, ours = exported(workspace, mlp, tmp_path / "out")
    np.testing.assert_allclose(model.encode(PASSAGES, normalize_embeddings=True), ours.encode(PASSAGES), atol=1e-5)
    adapter = QueryAdapter.load(tmp_path / "out" / "adapter")
    vectors = np.asarray(model.encode(QUESTIONS, normalize_embeddings=True), dtype=np.float32)
    np.testing.assert_allclose(adapter.apply(vectors), ours.encode_queries(QUESTIONS), atol=1e-5)
    assert "must also go through the adapter" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
