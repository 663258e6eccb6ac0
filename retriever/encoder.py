"""Texts to vectors with a sentence-transformers model; what the vectors are for lives elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from retriever.errors import EncodingCancelled, ModelCorrupt, ModelNotFound
from retriever.quiet import quiet_transformers

if TYPE_CHECKING:
    from retriever.adapter import QueryAdapter

Vectors = NDArray[np.float32]
BackendName = Literal["torch", "torch-bf16", "openvino", "openvino-bf16"]


def load_sentence_transformer(
    path: Path | str, *, max_length: int | None = None, device: str | None = None
) -> SentenceTransformer:
    """The model of a folder or hub name, loaded without noise; max_length (tokens) shortens what it reads of a text.

    Raises: ModelNotFound when a folder named as a Path is missing; ModelCorrupt when it cannot be loaded.
    """
    if isinstance(path, Path) and not path.is_dir():
        raise ModelNotFound(f"no model folder at {path}: check the path")
    with quiet_transformers():
        try:
            model = SentenceTransformer(str(path), device=device)
        except Exception as exc:  # the loaders below raise a dozen unrelated kinds for a broken folder
            raise ModelCorrupt(
                f"cannot load a sentence-transformers model from {path}: {exc}",
                user_message="This model cannot be loaded: a file is missing or damaged.",
            ) from exc
    if max_length is not None:
        model.max_seq_length = min(max_length, model.max_seq_length or max_length)
    return model


class Encoder:
    """A loaded model, with the query adapter of its version where there is one; `load` makes one."""

    def __init__(self, model: SentenceTransformer, *, adapter: QueryAdapter | None = None) -> None:
        dim = model.get_embedding_dimension()
        if dim is None:
            raise ModelCorrupt("the model does not say how long its vectors are: use a model with a pooling layer")
        if adapter is not None and adapter.dim != dim:
            raise ModelCorrupt(
                f"the adapter was trained for vectors of {adapter.dim}, the encoder makes vectors of {dim}: "
                "use it with the encoder it was trained on"
            )
        self._model = model
        self._dim = dim
        self._adapter = adapter

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        max_length: int | None = None,
        device: str | None = None,
        backend: BackendName | None = None,
        adapter: Path | None = None,
    ) -> Self:
        """An encoder from a model folder or hub name; device None is a GPU if there is one, else the CPU.

        adapter: the folder of a query adapter, which `encode_queries` applies. backend None is "torch".
        Raises: ModelNotFound, ModelCorrupt.
        """
        loaded = None
        if adapter is not None:
            from retriever.adapter import QueryAdapter

            loaded = QueryAdapter.load(adapter)
        return cls(load_sentence_transformer(path, max_length=max_length, device=device), adapter=loaded)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def max_length(self) -> int | None:
        """Tokens read of a text; the rest is cut."""
        return self._model.max_seq_length

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
        should_cancel: Callable[[], bool] | None = None,
    ) -> Vectors:
        """Vectors of the texts, (n, dim) float32, L2-normalised, in the order given.

        progress(done, total) is called after each batch, should_cancel before each. Texts are batched by length, which
        only saves padding: a vector differs by rounding (below 1e-5) with the batch it was computed in.
        Raises: EncodingCancelled.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        vectors = np.empty((len(texts), self._dim), dtype=np.float32)
        # Longest first: if memory runs out, it does so at once.
        order = sorted(range(len(texts)), key=lambda position: -len(texts[position]))
        for start in range(0, len(order), batch_size):
            if should_cancel is not None and should_cancel():
                raise EncodingCancelled(f"encoding stopped on request after {start} of {len(texts)} texts")
            batch = order[start : start + batch_size]
            vectors[batch] = self._encode_batch([texts[position] for position in batch])
            if progress is not None:
                progress(start + len(batch), len(texts))
        return vectors

    def encode_queries(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        should_cancel: Callable[[], bool] | None = None,
    ) -> Vectors:
        """Vectors of queries, (n, dim) float32, L2-normalised, in order: through the adapter, if there is one.

        Raises: EncodingCancelled.
        """
        vectors = self.encode(texts, batch_size=batch_size, should_cancel=should_cancel)
        return vectors if self._adapter is None or not len(vectors) else self._adapter.apply(vectors)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        chunk: int = 2048,
        batch_size: int = 64,
        should_cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Vectors]:
        """The vectors of `encode`, chunk after chunk, holding no more than one chunk of texts at a time.

        Raises: EncodingCancelled.
        """
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}; it must be 1 or more")
        remaining = iter(texts)
        while block := list(itertools.islice(remaining, chunk)):
            yield self.encode(block, batch_size=batch_size, should_cancel=should_cancel)

    def save(self, folder: Path) -> None:
        """Writes the model as a plain sentence-transformers folder."""
        with quiet_transformers():
            self._model.save(str(folder), create_model_card=False)

    def _encode_batch(self, texts: list[str]) -> Vectors:
        vectors = self._model.encode(
            texts,
            batch_size=len(texts),
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return np.asarray(vectors, dtype=np.float32)
