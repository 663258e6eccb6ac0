"""Measured runs kept on disk, so that a bench of many trainings goes on where it was interrupted.

A run is found again under the hash of the retriever's and the benches' source, of the libraries that train, and of
everything that decided it; a change of any measures anew. Nothing here is read by the product.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from retriever.types import TrainingStage

Made = TypeVar("Made", bound=Mapping[str, Any])
KEPT = Path(tempfile.gettempdir()) / "relabel-bench-runs"
_ROOT = Path(__file__).parent.parent
_SOURCES = ("retriever/**/*.py", "bench/*retrain*.py", "bench/audited_labels.py", "annotator/audit_value.py")
_LIBRARIES = ("torch", "sentence-transformers", "transformers", "faiss-cpu", "openvino")


def kept(decided_by: Sequence[str], make: Callable[[], Made], *, folder: Path = KEPT) -> Made:
    """What a run made, now or where an earlier run of the same left it; read back from JSON either way."""
    digest = hashlib.sha256(json.dumps([source_hash(), *decided_by]).encode()).hexdigest()[:24]
    path = folder / f"{digest}.json"
    if not path.is_file():
        made = make()
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(made), encoding="utf-8")
        unfinished.replace(path)
    stored: Made = json.loads(path.read_text(encoding="utf-8"))
    return stored


def stages_hash(stages: Sequence[TrainingStage]) -> str:
    """The hash of everything in the stages that training sees, passage texts by their ids."""
    rows = [
        [stage.name, stage.epochs, stage.learning_rate, stage.loss, stage.one_positive]
        + [
            [entry.query_id, *((one.passage_id, one.grade, one.weight) for one in entry.passages)]
            for entry in stage.lists
        ]
        for stage in stages
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@cache
def source_hash() -> str:
    """The hash of the source that trains and measures, and of the versions of the libraries under it."""
    digest = hashlib.sha256("".join(version(name) for name in _LIBRARIES).encode())
    for pattern in _SOURCES:
        for path in sorted(_ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()
