"""A query adapter: a small learned change of the query vector; passage vectors and encoder stay as they are.

Here are its forms, how it is applied, saved and loaded. How one is learned lives in `adapter_training`.
"""

import json
import math
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from retriever.errors import ModelCorrupt, ModelNotFound

Vectors = NDArray[np.float32]

META_NAME = "adapter.json"
WEIGHTS_NAME = "adapter.safetensors"
_FORMAT = 1
_ROWS = 4096


class Transform(nn.Module, ABC):
    """q ↦ (q + δ(q)) / ‖q + δ(q)‖; each form is another δ, and δ = 0 before training."""

    kind: str

    def forward(self, queries: Tensor) -> Tensor:
        """The changed queries, the shape given, L2-normalised; a query whose sum with δ vanishes stays as it is.

        queries: (n, dim) float32, L2-normalised.
        """
        return self.move(queries, self.change(queries))

    @staticmethod
    def move(queries: Tensor, change: Tensor) -> Tensor:
        """The queries with a change added, L2-normalised."""
        moved = queries + change
        length = moved.norm(dim=1, keepdim=True)
        return torch.where(length > 1e-6, moved / length.clamp_min(1e-6), queries)

    @abstractmethod
    def change(self, queries: Tensor) -> Tensor:
        """δ(q), (n, dim) like the queries."""

    @abstractmethod
    def scale(self, strength: float) -> None:
        """Multiplies δ by strength."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of every vector."""


class LowRank(Transform):
    """δ(q) = U V q, with V (rank, dim) and U (dim, rank).

    Source: the low-rank update of Hu et al. 2021 (LoRA, arXiv 2106.09685), applied to the query vector: our choice.
    """

    kind = "low_rank"

    def __init__(self, *, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)

    @classmethod
    def fresh(cls, *, dim: int, rank: int, generator: torch.Generator) -> Self:
        """The identity: V random with rows of length about 1, U zero."""
        return cls(down=torch.randn(rank, dim, generator=generator) / math.sqrt(dim), up=torch.zeros(dim, rank))

    def change(self, queries: Tensor) -> Tensor:
        """δ(q), (n, dim) like the queries."""
        return queries @ self.down.T @ self.up.T

    def scale(self, strength: float) -> None:
        """Multiplies δ by strength."""
        with torch.no_grad():
            self.up.mul_(strength)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return int(self.up.shape[0])


class Mlp(Transform):
    """δ(q) = U gelu(V q + b), with V (rank, dim), b (rank,) and U (dim, rank)."""

    kind = "mlp"

    def __init__(self, *, down: Tensor, bias: Tensor, up: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(down)
        self.bias = nn.Parameter(bias)
        self.up = nn.Parameter(up)

    @classmethod
    def fresh(cls, *, dim: int, rank: int, generator: torch.Generator) -> Self:
        """The identity: V random, so that V q has entries of size about 1; b and U zero."""
        down = torch.randn(rank, dim, generator=generator)
        return cls(down=down, bias=torch.zeros(rank), up=torch.zeros(dim, rank))

    def change(self, queries: Tensor) -> Tensor:
        """δ(q), (n, dim) like the queries."""
        return nn.functional.gelu(queries @ self.down.T + self.bias) @ self.up.T

    def scale(self, strength: float) -> None:
        """Multiplies δ by strength."""
        with torch.no_grad():
            self.up.mul_(strength)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return int(self.up.shape[0])


class Kernel(Transform):
    """δ(q) = Σ_k g_k(q) v_k / max(1, Σ_k g_k(q)) with g_k(q) = max(0, q·c_k)^p.

    The keys c_k are training queries or their centres and stay fixed; the values v_k (dim,) are learned. The higher the
    power p, the nearer to its key does a value stay: at p = 4 a query at cosine .9 takes two thirds of it, one at .3
    less than a hundredth, and one that no key is near moves little. Our choice; the form is Nadaraya-Watson regression
    (1964) with a weight that is not blown up where no key is near.
    """

    kind = "kernel"
    keys: Tensor
    power: Tensor

    def __init__(self, *, keys: Tensor, values: Tensor, power: Tensor) -> None:
        super().__init__()
        self.register_buffer("keys", keys)
        self.register_buffer("power", power)
        self.values = nn.Parameter(values)

    @classmethod
    def fresh(cls, keys: Tensor, *, power: float) -> Self:
        """The identity: all values zero. keys: (n_keys, dim) float32, L2-normalised. power: above 0."""
        return cls(keys=keys.clone(), values=torch.zeros_like(keys), power=torch.tensor(power, dtype=torch.float32))

    def change(self, queries: Tensor) -> Tensor:
        """δ(q), (n, dim) like the queries."""
        near = (queries @ self.keys.T).clamp_min(0) ** self.power
        return near @ self.values / near.sum(dim=1, keepdim=True).clamp_min(1)

    def scale(self, strength: float) -> None:
        """Multiplies δ by strength."""
        with torch.no_grad():
            self.values.mul_(strength)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return int(self.keys.shape[1])


class QueryAdapter:
    """A learned transform, ready to use; `load` opens one, `adapter_training.train_adapter` makes one."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform.eval().requires_grad_(False)

    @property
    def kind(self) -> str:
        """A name of `types.ADAPTER_KINDS`."""
        return self._transform.kind

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._transform.dim

    def apply(self, query_vectors: Vectors) -> Vectors:
        """The changed vectors, (n, dim) float32, L2-normalised; the vectors given are not touched.

        query_vectors: (n, dim) float32, L2-normalised. Raises: ValueError for another length.
        """
        if query_vectors.ndim != 2 or query_vectors.shape[1] != self.dim:
            raise ValueError(f"query vectors have shape {query_vectors.shape}; this adapter wants (any, {self.dim})")
        changed = np.empty(query_vectors.shape, dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(query_vectors), _ROWS):
                rows = torch.tensor(query_vectors[start : start + _ROWS], dtype=torch.float32)
                changed[start : start + _ROWS] = self._transform(rows).numpy()
        return changed

    def save(self, folder: Path) -> None:
        """Writes the folder, whole or not at all; it must be missing or empty.

        Raises: FileExistsError when it holds something.
        """
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty: save into a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            tensors = {name: tensor.contiguous() for name, tensor in self._transform.state_dict().items()}
            save_file(tensors, str(unfinished / WEIGHTS_NAME))
            meta = {"format": _FORMAT, "kind": self.kind, "dim": self.dim}
            (unfinished / META_NAME).write_text(json.dumps(meta) + "\n", encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            os.replace(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The adapter of a folder.

        Raises: ModelNotFound when there is none; ModelCorrupt when its files are damaged or do not fit each other.
        """
        if not (folder / META_NAME).is_file():
            raise ModelNotFound(f"no query adapter at {folder}: {META_NAME} is missing")
        try:
            meta = json.loads((folder / META_NAME).read_text(encoding="utf-8"))
            tensors = load_file(str(folder / WEIGHTS_NAME))
            form, dim = _FORMS[meta["kind"]], meta["dim"]
            if meta["format"] != _FORMAT:
                raise ModelCorrupt(f"the query adapter at {folder} has format {meta['format']}, expected {_FORMAT}")
            transform = form(**tensors)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as exc:
            raise ModelCorrupt(
                f"cannot load a query adapter from {folder}: {exc!r}",
                user_message="This query adapter cannot be loaded: a file is missing or damaged.",
            ) from exc
        _check(transform, dim=dim, folder=folder)
        return cls(transform)


def _check(transform: Transform, *, dim: object, folder: Path) -> None:
    for name, tensor in transform.state_dict().items():
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise ModelCorrupt(f"{name} of the query adapter at {folder} is not all finite float32 numbers")
    try:
        shape = tuple(transform(torch.zeros(1, transform.dim)).shape)
    except (RuntimeError, IndexError) as exc:
        raise ModelCorrupt(f"the tensors of the query adapter at {folder} do not fit each other: {exc}") from exc
    if shape != (1, dim):
        raise ModelCorrupt(f"the query adapter at {folder} says it has {dim} dimensions, its tensors {shape[1]}")


_FORMS: dict[str, type[Transform]] = {form.kind: form for form in (LowRank, Mlp, Kernel)}
