"""An encoder and its query adapter as one sentence-transformers model, for use without Relabel."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Module, Normalize, Router
from torch import nn

from retriever.adapter import WEIGHTS_NAME, QueryAdapter
from retriever.encoder import load_sentence_transformer
from retriever.quiet import quiet_transformers


def save_adapted_model(encoder: Path, adapter: Path, target: Path) -> bool:
    """Writes a model whose query route goes through the adapter; False, and nothing written, where it cannot be said.

    Its `encode_query` and `encode_document` give our vectors of queries and passages, and so does `encode` for
    passages. A low-rank adapter is one linear layer, x ↦ (1 + U V) x, and a normalisation; for the other forms
    sentence-transformers has no module.
    Raises: ModelNotFound, ModelCorrupt.
    """
    if QueryAdapter.load(adapter).kind != "low_rank":
        return False
    model = load_sentence_transformer(encoder, device="cpu")
    if any(isinstance(part, Router) for part in model.modules()):
        return False
    tensors = load_file(str(adapter / WEIGHTS_NAME))
    weight = torch.eye(len(tensors["up"])) + tensors["up"] @ tensors["down"]
    dim = len(weight)
    turn = Dense(dim, dim, bias=False, activation_function=nn.Identity(), init_weight=weight)
    shared = [*(cast("Module", part) for part in model.children()), Normalize()]
    router = Router.for_query_document(
        query_modules=[*shared, turn, Normalize()], document_modules=shared, default_route="document"
    )
    with quiet_transformers():
        whole = SentenceTransformer(
            modules=[router],
            device="cpu",
            prompts={name: text for name, text in model.prompts.items() if text is not None},
            default_prompt_name=model.default_prompt_name,
            similarity_fn_name="cosine",
        )
        whole.save(str(target), create_model_card=False)
    return True
