"""Texts to vectors with a sentence-transformers model; what the vectors are for lives elsewhere.

How a batch is computed is in `retriever.encoding`: with torch or OpenVINO, in float32, bf16 or int8.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from sentence_transformers import SentenceTransformer

from retriever.encoding.backend import Backend, BackendName, Role, Vectors, precision_of
from retriever.encoding.tokens import longest_first
from retriever.encoding.torch_backend import TorchBackend
from retriever.errors import BackendRefused, EncodingCancelled, ModelCorrupt, ModelNotFound
from retriever.quiet import quiet_transformers

if TYPE_CHECKING:
    from retriever.adapter import QueryAdapter
    from retriever.encoding.measuring import Measurement

__all__ = ["BackendName", "Encoder", "Vectors", "load_sentence_transformer", "make_backend"]


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


def make_backend(name: BackendName, model: SentenceTransformer) -> Backend:
    """The backend of that name, ready to run the model.

    Raises: BackendRefused when it cannot run this model here.
    """
    if name in ("torch", "torch-bf16"):
        return TorchBackend(model, bf16=name == "torch-bf16")
    try:
        from retriever.encoding.openvino_backend import OpenVinoBackend
    except ImportError as exc:
        raise BackendRefused(f"openvino is not installed here ({exc})") from exc

    return OpenVinoBackend(model, precision=precision_of(name))


class Encoder:
    """A loaded model, with the query adapter of its version where there is one; `load` makes one."""

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        backend: BackendName | None = None,
        adapter: QueryAdapter | None = None,
    ) -> None:
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
        self._refusal: str | None = None
        self._backend: Backend = TorchBackend(model)
        if backend not in (None, "torch"):
            self.use(backend)

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

        backend: None is "torch"; one that cannot run this model is replaced by torch, see `refusal`. adapter: the
        folder of a query adapter, which `encode_queries` applies.
        Raises: ModelNotFound, ModelCorrupt.
        """
        loaded = None
        if adapter is not None:
            from retriever.adapter import QueryAdapter

            loaded = QueryAdapter.load(adapter)
        model = load_sentence_transformer(path, max_length=max_length, device=device)
        return cls(model, backend=backend, adapter=loaded)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def max_length(self) -> int | None:
        """Tokens read of a text; the rest is cut."""
        return self._model.max_seq_length

    @property
    def model(self) -> SentenceTransformer:
        """The loaded model, for what measures or changes it."""
        return self._model

    @property
    def backend(self) -> BackendName:
        """What computes the vectors."""
        return self._backend.name

    @property
    def refusal(self) -> str | None:
        """Why the backend asked for last is not the one in use; None where it is."""
        return self._refusal

    def use(self, backend: BackendName) -> bool:
        """Computes with this backend from now on; False where it cannot run this model: then with torch, float32."""
        try:
            self._backend = make_backend(backend, self._model)
        except BackendRefused as exc:
            self._backend, self._refusal = TorchBackend(self._model), str(exc)
            return False
        self._refusal = None
        return True

    def use_fastest(self, texts: Sequence[str]) -> Measurement:
        """Measures every backend on these texts, a hundred or so, and computes with the fastest from now on.

        Raises: ValueError without texts.
        """
        from retriever.encoding.measuring import measure_backends

        measured, backends = measure_backends(self._model, texts)
        self._backend, self._refusal = backends[measured.backend], None
        return measured

    def encode(
        self,
        texts: Sequence[str],
        *,
        batch_size: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        should_cancel: Callable[[], bool] | None = None,
    ) -> Vectors:
        """Vectors of passages, (n, dim) float32, L2-normalised, in the order given.

        batch_size None is the backend's own. progress(done, total) is called after each batch, should_cancel before
        each. Texts are batched by tokens, which saves padding: a float32 vector differs by rounding (below 1e-5) with
        the batch it was computed in, one in bf16 or int8 by up to 1e-2 a number; see `backend.PARITY`.
        Raises: EncodingCancelled.
        """
        return self._encode(texts, "document", batch_size=batch_size, progress=progress, should_cancel=should_cancel)

    def encode_queries(
        self,
        texts: Sequence[str],
        *,
        batch_size: int | None = None,
        should_cancel: Callable[[], bool] | None = None,
    ) -> Vectors:
        """Vectors of queries, (n, dim) float32, L2-normalised, in order: through the adapter, if there is one.

        Raises: EncodingCancelled.
        """
        vectors = self._encode(texts, "query", batch_size=batch_size, progress=None, should_cancel=should_cancel)
        return vectors if self._adapter is None or not len(vectors) else self._adapter.apply(vectors)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        chunk: int = 2048,
        batch_size: int | None = None,
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
        """Writes the model as a plain sentence-transformers folder, without the adapter."""
        with quiet_transformers():
            self._model.save(str(folder), create_model_card=False)

    def _encode(
        self,
        texts: Sequence[str],
        role: Role,
        *,
        batch_size: int | None,
        progress: Callable[[int, int], None] | None,
        should_cancel: Callable[[], bool] | None,
    ) -> Vectors:
        size = self._backend.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ValueError(f"batch_size is {size}; it must be 1 or more")
        vectors = np.empty((len(texts), self._dim), dtype=np.float32)
        # Longest first: if memory runs out, it does so at once.
        order = longest_first(self._model, texts) if len(texts) > size else list(range(len(texts)))
        done = 0

        def batches() -> Iterator[list[str]]:
            for start in range(0, len(order), size):
                if should_cancel is not None and should_cancel():
                    raise EncodingCancelled(f"encoding stopped on request after {done} of {len(texts)} texts")
                yield [texts[position] for position in order[start : start + size]]

        def keep(number: int, computed: Vectors) -> None:
            nonlocal done
            vectors[order[number * size : (number + 1) * size]] = computed
            done += len(computed)
            if progress is not None:
                progress(done, len(texts))

        self._backend.embed(batches(), role=role, sink=keep)
        return vectors
