"""Encoding with torch, in float32 or under bf16 autocast, on the CPU or a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from retriever.encoding.backend import BackendName, Role, Vectors

CPU_BATCH = 32
GPU_BATCH = 256


class TorchBackend:
    """The model as sentence-transformers runs it: its own prompts, routes and modules."""

    def __init__(self, model: SentenceTransformer, *, bf16: bool = False) -> None:
        self._model = model
        self._bf16 = bf16

    @property
    def name(self) -> BackendName:
        """Which backend it is."""
        return "torch-bf16" if self._bf16 else "torch"

    @property
    def batch_size(self) -> int:
        """Texts a batch: small on a CPU, where padding costs most, large where a kernel's start does."""
        return CPU_BATCH if self._model.device.type == "cpu" else GPU_BATCH

    def embed(self, batches: Iterable[Sequence[str]], *, role: Role, sink: Callable[[int, Vectors], None]) -> None:
        """Vectors of the batches, one after the other; see `Backend`."""
        encode = self._model.encode_query if role == "query" else self._model.encode_document
        for number, batch in enumerate(batches):
            with self._precision():
                vectors = encode(
                    list(batch),
                    batch_size=len(batch),
                    show_progress_bar=False,
                    convert_to_numpy=True,
                    normalize_embeddings=True,
                )
            sink(number, _normalised(np.asarray(vectors, dtype=np.float32)) if self._bf16 else vectors)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        device: Literal["cpu", "cuda"] = "cuda" if self._model.device.type == "cuda" else "cpu"
        return torch.autocast(device, dtype=torch.bfloat16) if self._bf16 else contextlib.nullcontext()


def _normalised(vectors: Vectors) -> Vectors:
    # A model whose last step ran in bf16 gives lengths that are off in the third digit.
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
