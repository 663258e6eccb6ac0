"""What a backend is: texts in batches to normalised vectors. The backends, and what chooses one, live beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
BackendName = Literal["torch", "torch-bf16", "openvino", "openvino-bf16", "openvino-int8"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
BY_HAND: frozenset[BackendName] = frozenset({"openvino-int8"})
"""What is taken only where somebody asks for it: fast, but rankings change by more than parity allows.

With all-MiniLM-L6-v2 every cosine is .9995 or more, and nDCG@10 on SciFact changes by .0035; `python -m bench encode`.
"""
Role = Literal["query", "document"]
"""What a text is for: models with prompts or routes treat queries and passages differently."""

Precision = Literal["f32", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""The most exact first."""

PARITY = 0.999
"""The least cosine that a vector should have to torch's float32 vector of the same text; `python -m bench encode`."""

SAMPLE_PARITY = 0.9992
"""The least cosine on the texts a backend is tried on, below which it is refused: a sample misses the worst texts.

Our choice.
"""


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
    return next((precision for precision in PRECISIONS if name.endswith(f"-{precision}")), "f32")
