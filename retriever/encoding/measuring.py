"""Which backend is fastest for a model on this machine, among those that give the same vectors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sentence_transformers import SentenceTransformer

from retriever.encoding.backend import (
    BACKENDS,
    BY_HAND,
    PRECISIONS,
    SAMPLE_PARITY,
    Backend,
    BackendName,
    Vectors,
    precision_of,
)
from retriever.encoding.tokens import longest_first
from retriever.encoding.torch_backend import TorchBackend
from retriever.errors import BackendRefused

WORTH = 1.1
"""A less exact backend is taken when it is so many times as fast as the fastest of the more exact ones. Our choice."""

_ROUNDS = 2

MEASURED = tuple(name for name in BACKENDS if name not in BY_HAND)
"""What is measured, and chosen from."""


@dataclass(frozen=True, slots=True)
class BackendFigure:
    """One backend: texts a second and the least cosine to torch in float32, or why it is refused."""

    backend: BackendName
    texts_per_second: float | None
    least_cosine: float | None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """The backend chosen, on how many texts, and what each was measured at, torch in float32 first."""

    backend: BackendName
    n_texts: int
    figures: tuple[BackendFigure, ...]


def measure_backends(
    model: SentenceTransformer, texts: Sequence[str], *, clock: Callable[[], float] = time.perf_counter
) -> tuple[Measurement, dict[BackendName, Backend]]:
    """The fastest backend that keeps parity, with the figures of all, and the backends that can be used.

    Every backend encodes all texts in each of two rounds, longest first as an encoder does, and its quicker round
    counts. Shorter turns misled: the batches of thirty texts of mixed length are mostly padding, and those of 16 that
    OpenVINO takes leave one core idle (140 texts a second on 400 at once, 24 in turns of 32).
    Raises: ValueError without texts.
    """
    if not texts:
        raise ValueError("there are no texts to measure on")
    backends, refused = _make_all(model)
    longest = [texts[at] for at in longest_first(model, texts)]
    seconds = dict.fromkeys(backends, math.inf)
    cosine = dict.fromkeys(backends, 1.0)
    for backend in backends.values():
        _encode(backend, longest[:2])  # what a first call sets up is not the speed of the others
    for number in range(_ROUNDS):
        vectors: dict[BackendName, Vectors] = {}
        names = list(backends)[:: -1 if number % 2 else 1]
        for name in names:
            begun = clock()
            vectors[name] = _encode(backends[name], longest)
            seconds[name] = min(seconds[name], clock() - begun)
        for name in names:
            worst = float((vectors[name] * vectors["torch"]).sum(axis=1).min())
            cosine[name] = min(cosine[name], worst if np.isfinite(worst) else -1.0)
    figures = []
    for name in backends:
        speed = len(texts) / max(seconds[name], 1e-9)
        kept = cosine[name] >= SAMPLE_PARITY
        reason = None if kept else f"cosine {cosine[name]:.5f} to torch, at least {SAMPLE_PARITY} needed"
        figures.append(BackendFigure(name, speed, cosine[name], reason))
    figures += [BackendFigure(name, None, None, reason) for name, reason in refused.items()]
    return Measurement(fastest(figures), len(texts), tuple(figures)), backends


def _make_all(model: SentenceTransformer) -> tuple[dict[BackendName, Backend], dict[BackendName, str]]:
    backends: dict[BackendName, Backend] = {"torch": TorchBackend(model), "torch-bf16": TorchBackend(model, bf16=True)}
    refused: dict[BackendName, str] = {}
    try:
        from retriever.encoding.openvino_backend import OpenVinoBackend, convert

        converted = convert(model)
    except (BackendRefused, ImportError) as exc:
        return backends, {name: str(exc) for name in MEASURED if name not in backends}
    for name in MEASURED:
        if name in backends:
            continue
        try:
            backends[name] = OpenVinoBackend(model, precision=precision_of(name), converted=converted)
        except BackendRefused as exc:
            refused[name] = str(exc)
    return backends, refused


def _encode(backend: Backend, texts: Sequence[str]) -> Vectors:
    size = backend.batch_size
    found: dict[int, Vectors] = {}
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    backend.embed(batches, role="document", sink=found.__setitem__)
    return np.concatenate([found[number] for number in range(len(batches))])


def fastest(figures: Sequence[BackendFigure]) -> BackendName:
    """The fastest that was not refused; a less exact one only where it is WORTH it. torch is always among them."""
    speed = {figure.backend: figure.texts_per_second or 0.0 for figure in figures if figure.refused is None}
    best: BackendName = "torch"
    for precision in PRECISIONS:
        alike = [name for name in speed if precision_of(name) == precision]
        fastest = max(alike, key=lambda name: speed[name], default=best)
        if speed[fastest] >= speed[best] * (1 if precision == "f32" else WORTH):
            best = fastest
    return best
