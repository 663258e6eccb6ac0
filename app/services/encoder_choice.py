"""Which backend encodes passages here: the setting's, or the one that a short measurement at first use found fastest.

What was measured is kept in `encoder.json` in the workspace, by family of models and machine: a retrained model has
the shape of the model it began as, so it is not measured again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from db.models import ModelVersion
from db.queries.registry import get_model_or_raise
from retriever.encoding.backend import BACKENDS, BY_HAND, BackendName

if TYPE_CHECKING:
    from retriever.encoding.measuring import Measurement

FILE = "encoder.json"
MEASURED_FROM = 500
"""From so many texts on a backend is measured and used; for fewer it costs more than it saves. Our choice."""

SAMPLE = 128


@dataclass(frozen=True, slots=True)
class BackendSpeed:
    """One backend as measured; None where it was refused, and why."""

    backend: str
    texts_per_second: float | None
    least_cosine: float | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """What was chosen for a family of models on this machine, and why.

    `fell_back` counts the models that the backend could not run and torch encoded instead; `reason` is the last one's.
    """

    backend: BackendName
    model: str
    n_texts: int
    measured_at: str
    figures: tuple[BackendSpeed, ...]
    fell_back: int = 0
    reason: str | None = None


def family_of(session: Session, model: ModelVersion) -> ModelVersion:
    """The model that a full model was first trained from, itself for a base model."""
    while model.base_id is not None:
        model = get_model_or_raise(session, model.base_id)
    return model


def get_choice(workspace: Workspace, model: ModelVersion) -> EncoderChoice | None:
    """What was measured for the family of a full model on this machine, or None."""
    with workspace.sessions.read() as session:
        family = family_of(session, model)
    return _read(workspace).get(_key(workspace, family))


def list_choices(workspace: Workspace) -> tuple[EncoderChoice, ...]:
    """Everything measured on this machine, for any model."""
    here = f"@{_machine()[0]}"
    return tuple(choice for key, choice in _read(workspace).items() if key.endswith(here))


def choose_backend(
    workspace: Workspace, model: ModelVersion, *, n_texts: int, measure: Callable[[], Measurement]
) -> BackendName:
    """What encodes a corpus of so many passages with a full model; `measure` is called where nobody knows it yet."""
    if workspace.settings.encoder_backend != "auto":
        return workspace.settings.encoder_backend
    known = get_choice(workspace, model)
    # A choice without figures only counts how often what somebody had asked for could not run.
    if known is not None and known.figures and known.backend not in BY_HAND:
        return known.backend
    if n_texts < MEASURED_FROM:
        return "torch"
    measured = measure()
    with workspace.sessions.read() as session:
        family = family_of(session, model)
    choice = EncoderChoice(
        backend=measured.backend,
        model=family.name,
        n_texts=measured.n_texts,
        measured_at=workspace.now().isoformat(timespec="seconds"),
        figures=tuple(BackendSpeed(**asdict(figure)) for figure in measured.figures),
    )
    _change(workspace, lambda choices: {**choices, _key(workspace, family): choice})
    return choice.backend


def count_fall_back(workspace: Workspace, model: ModelVersion, *, asked: BackendName, reason: str) -> None:
    """Keeps that torch encoded with a full model because the backend asked for could not, and why."""
    with workspace.sessions.read() as session:
        family = family_of(session, model)
    key = _key(workspace, family)

    def count(choices: Mapping[str, EncoderChoice]) -> dict[str, EncoderChoice]:
        old = choices.get(key)
        now = workspace.now().isoformat(timespec="seconds")
        figures = () if old is None else old.figures
        n_texts, at = (0, now) if old is None else (old.n_texts, old.measured_at)
        fell_back = 1 + (0 if old is None else old.fell_back)
        backend = asked if old is None else old.backend
        return dict(choices) | {key: EncoderChoice(backend, family.name, n_texts, at, figures, fell_back, reason)}

    _change(workspace, count)


def _key(workspace: Workspace, family: ModelVersion) -> str:
    return f"{family.hash[:16]}-{family.dim}-{workspace.settings.max_length}@{_machine()[0]}"


@functools.cache
def _machine() -> tuple[str, str]:
    """A short name of this machine and its libraries, and in words: another processor or version is measured anew."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"{name} {installed_version(name)}" for name in ("torch", "openvino")]
    gpu = ["a GPU"] if Path("/proc/driver/nvidia").is_dir() else []
    words = ", ".join([_processor(), f"{cores} cores", *gpu, *versions])
    return hashlib.sha256(words.encode()).hexdigest()[:12], words


def installed_version(package: str) -> str:
    """The version of an installed package, "none" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # an installation may do without OpenVINO
        return "none"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags")))
    # Some machines hide the name: what the processor can do is what counts.
    return hashlib.sha256(" ".join(sorted(set(named))).encode()).hexdigest()[:12]


def _read(workspace: Workspace) -> dict[str, EncoderChoice]:
    """What is in the file; one that cannot be read counts as empty, and is measured and written anew."""
    try:
        stored = json.loads((workspace.settings.workspace / FILE).read_text(encoding="utf-8"))
        choices = {key: _choice(value) for key, value in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {key: choice for key, choice in choices.items() if choice.backend in BACKENDS}


def _choice(stored: Mapping[str, Any]) -> EncoderChoice:
    fields = {name: value for name, value in stored.items() if name != "machine"}
    return EncoderChoice(**{**fields, "figures": tuple(BackendSpeed(**figure) for figure in fields["figures"])})


def _change(workspace: Workspace, change: Callable[[Mapping[str, EncoderChoice]], Mapping[str, EncoderChoice]]) -> None:
    path = workspace.settings.workspace / FILE
    with FileLock(path.with_suffix(".lock")):
        choices = change(_read(workspace))
        machine, words = _machine()
        stored = {
            key: {**asdict(choice), "machine": words if key.endswith(machine) else ""}
            for key, choice in choices.items()
        }
        part = path.with_suffix(".part")
        part.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
