"""Encoding with OpenVINO on the CPU, in float32, bf16 or int8: the loaded model converted, tokens to unit vector.

Tokens come from the model's own tokeniser. What cannot be converted, or does not give the same vectors afterwards, is
refused with the reason; whoever asked uses torch then. Nothing is kept on disk: converting takes seconds, once for
each build of an index, and the converted model is as large as the model.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import openvino
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from torch import Tensor, nn

from retriever.encoding.backend import SAMPLE_PARITY, BackendName, Precision, Role, Vectors
from retriever.encoding.int8_weights import GROUP, SHORT, with_int8_weights
from retriever.encoding.torch_backend import TorchBackend
from retriever.errors import BackendRefused
from retriever.quiet import quiet_transformers

BATCH = 16
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_AT_A_TIME = "OPTIMAL_NUMBER_OF_INFER_REQUESTS"
_NAMES: dict[Precision, BackendName] = {"f32": "openvino", "bf16": "openvino-bf16", "int8": "openvino-int8"}
_PASSAGES = (
    "Which of two sorted streams is read first when they are merged lazily, and what is kept of the other meanwhile?",
    "A loaf that stays flat mostly has a starter that is too young or was fed too long ago to make gas. " * 12,
    "12,5 % — ¿qué? 日本語 🙂 Straße, naïve café; https://example.org/a?b=1&c=2 (see p. 7, § 3) [x] {y} <z> 100.000 €",
    "The court held that the notice was void because it had been served on a Sunday, two days after the lease ended.",
)
"""Of 16 tokens and more, the lengths far apart: a padded batch is what most texts are computed in."""

_TRIED_ON = (*_PASSAGES[:3], "x", "")


@dataclass(frozen=True, slots=True)
class Converted:
    """A model for OpenVINO, any number of texts of any length, the names of its inputs in order, and what it became."""

    model: openvino.Model
    inputs: tuple[str, ...]
    _compiled: dict[Precision, openvino.CompiledModel] = field(default_factory=dict)

    def compiled(self, precision: Precision) -> openvino.CompiledModel:
        """Ready to run in that precision; the same each time, for every backend that needs it.

        Raises: BackendRefused when this model or this machine cannot.
        """
        if precision not in self._compiled:
            try:
                graph = with_int8_weights(self.model) if precision == "int8" else self.model
                self._compiled[precision] = openvino.Core().compile_model(graph, "CPU", _settings(precision))
            except RuntimeError as exc:
                raise BackendRefused(f"{_NAMES[precision]} cannot run this model: {_first_line(exc)}") from exc
        return self._compiled[precision]


class OpenVinoBackend:
    """A converted model with a few requests in turn; one caller at a time, the others wait.

    No request gets a callback in Python, so neither does an `AsyncInferQueue` serve: the thread that ran it drops it
    last, for which it needs the interpreter's lock, and whoever drops the compiled model meanwhile holds that lock and
    waits for the thread, for ever.

    In int8, batches with a text of fewer than SHORT tokens are read in float32, so that both are held in memory.
    """

    def __init__(
        self, model: SentenceTransformer, *, precision: Precision = "f32", converted: Converted | None = None
    ) -> None:
        """Converts the model unless that was done already, compiles and tries it.

        Raises: BackendRefused when it cannot be converted, or gives other vectors than torch.
        """
        converted = convert(model) if converted is None else converted
        self._model = model
        self._precision = precision
        self._converted = converted
        self._lock = threading.Lock()
        self._check()

    @property
    def name(self) -> BackendName:
        """Which backend it is."""
        return _NAMES[self._precision]

    @property
    def batch_size(self) -> int:
        """Texts a batch."""
        return BATCH

    def embed(self, batches: Iterable[Sequence[str]], *, role: Role, sink: Callable[[int, Vectors], None]) -> None:
        """Vectors of the batches, as they are finished; see `Backend`."""
        with self._lock:
            idle: dict[Precision, list[openvino.InferRequest]] = {}
            running: deque[tuple[int, Precision, openvino.InferRequest]] = deque()
            prompt = _prompt(self._model, role)

            def deliver() -> None:
                number, precision, request = running.popleft()
                request.wait()
                idle[precision].append(request)
                sink(number, _result(request))

            try:
                for number, batch in enumerate(batches):
                    features = self._model.preprocess(list(batch), prompt=prompt, task=role)
                    precision = self._precision_for(features["attention_mask"])
                    if precision not in idle:
                        idle[precision] = _requests(self._converted.compiled(precision))
                    while not idle[precision]:
                        deliver()
                    request = idle[precision].pop()
                    request.start_async({name: features[name].numpy() for name in self._converted.inputs})
                    running.append((number, precision, request))
                while running:
                    deliver()
            finally:
                for _, _, request in running:
                    with contextlib.suppress(RuntimeError):  # the reason to stop is the one to tell
                        request.wait()

    def _precision_for(self, mask: Tensor) -> Precision:
        """What a batch is read in; mask: (texts, tokens), 1 where there is one."""
        return "f32" if self._precision == "int8" and int(mask.sum(dim=1).min()) < SHORT else self._precision

    def _check(self) -> None:
        ours, theirs = (_all(backend) for backend in (self, TorchBackend(self._model)))
        worst = float((ours * theirs).sum(axis=1).min())
        if not worst >= SAMPLE_PARITY:
            raise BackendRefused(
                f"{self.name} gives other vectors than torch: cosine {worst:.5f}, at least {SAMPLE_PARITY} needed"
            )


def _all(backend: OpenVinoBackend | TorchBackend) -> Vectors:
    found: dict[int, Vectors] = {}
    # Padded batches and texts alone, passages and short texts: a traced shape that was kept as a constant shows in one
    # of them, and a batch with a short text is not read in int8.
    batches = (_PASSAGES, *([passage] for passage in _PASSAGES), _TRIED_ON, _TRIED_ON[-2:-1])
    backend.embed(batches, role="document", sink=found.__setitem__)
    return np.concatenate([found[number] for number in sorted(found)])


class _Whole(nn.Module):
    """Every module of the model and the normalisation, with tensors in and out."""

    def __init__(self, model: SentenceTransformer, inputs: Sequence[str]) -> None:
        super().__init__()
        self._steps = nn.ModuleList(model.children())
        self._inputs = tuple(inputs)

    def forward(self, *tensors: Tensor) -> Tensor:
        features: dict[str, Tensor] = dict(zip(self._inputs, tensors, strict=True))
        for step in self._steps:
            features = step(features)
        return nn.functional.normalize(features["sentence_embedding"], p=2, dim=1)


def convert(model: SentenceTransformer) -> Converted:
    """The model as OpenVINO has it, in float32; seconds.

    Raises: BackendRefused when it cannot be converted.
    """
    kind = type(model[0]).__name__
    if not isinstance(model[0], Transformer) or any(isinstance(part, Router) for part in model.modules()):
        raise BackendRefused(f"openvino runs plain transformer encoders only; this model begins with {kind}")
    if model.device.type != "cpu":
        raise BackendRefused(f"openvino runs on the CPU; this model is on {model.device.type}")
    example = model.preprocess(list(_TRIED_ON[:3]), task="document")
    tensors = {name: value for name, value in example.items() if isinstance(value, Tensor)}
    if not {"input_ids", "attention_mask"} <= tensors.keys() <= set(_INPUTS):
        raise BackendRefused(f"openvino gets {', '.join(_INPUTS)}; this model takes {', '.join(tensors)}")
    if model.truncate_dim is not None:
        raise BackendRefused("openvino gives whole vectors; this model cuts its own")
    inputs = tuple(name for name in _INPUTS if name in tensors)
    traced = logging.getLogger("openvino")
    level = traced.level
    traced.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), quiet_transformers(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer warns of every shape that it reads
            converted = openvino.convert_model(
                _Whole(model.eval(), inputs), example_input=tuple(tensors[name] for name in inputs)
            )
        for place, name in zip(converted.inputs, inputs, strict=True):
            place.get_tensor().set_names({name})
        return Converted(converted, inputs)
    except Exception as exc:  # the converter raises whatever its thirty front-end passes raise
        raise BackendRefused(f"openvino cannot convert this model ({kind}): {_first_line(exc)}") from exc
    finally:
        traced.setLevel(level)


def _settings(precision: Precision) -> dict[str, str | int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if precision == "int8" else 0,
        "INFERENCE_NUM_THREADS": len(affinity(0)) if affinity is not None else (os.cpu_count() or 1),
    }


def _prompt(model: SentenceTransformer, role: Role) -> str | None:
    """What sentence-transformers' encode_query or encode_document puts before a text."""
    names = ("query",) if role == "query" else ("document", "passage", "corpus")
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return None if name is None else model.prompts[name]


def _requests(compiled: openvino.CompiledModel) -> list[openvino.InferRequest]:
    """As many as run at a time, and one that waits for the first to end."""
    return [compiled.create_infer_request() for _ in range(compiled.get_property(_AT_A_TIME) + 1)]


def _result(request: openvino.InferRequest) -> Vectors:
    return np.array(request.get_output_tensor(0).data, dtype=np.float32)


def _first_line(exc: Exception) -> str:
    return next((line.strip() for line in str(exc).splitlines() if line.strip()), type(exc).__name__)[:200]
