"""What a backend is: texts in batches to normalised vectors. The backends, and what chooses one, live beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
BackendName = Literal["torch", "torch-bf16", "openvino", "openvino-bf16"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
Role = Literal["query", "document"]
"""What a text is for: models with prompts or routes treat queries and passages differently."""

Precision = Literal["f32", "bf16"]

PARITY = 0.999
"""The least cosine between any vector and torch's float32 vector of the same text, below which a backend is refused."""


class Backend(Protocol):
    """One way to run a loaded model."""

    @property
    def name(self) -> BackendName: ...

    @property
    def batch_size(self) -> int:
        """Texts a batch with which it is fastest, by our measurement."""
        ...

    def embed(self, batches: Iterable[Sequence[str]], *, role: Role, sink: Callable[[int, Vectors], None]) -> None:
        """Calls sink(number of the batch, its vectors) in the caller's thread, in whatever order batches finish.

        The vectors are (texts, dim) float32, L2-normalised. What the iterator raises, it raises; nothing still runs.
        """
        ...


def precision_of(name: BackendName) -> Precision:
    """How exact the vectors of a backend are."""
    return "bf16" if name.endswith("bf16") else "f32"
