"""Models and indexes of a workspace: recorded once by content hash, built aside, complete before anything uses them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.services.corpus_states import corpus_hash, keep_corpus_hash
from app.services.index_queries import train_questions
from app.services.passage_vectors import CorpusChanged, encode_passages
from db.enums import ModelKind, ModelStage, PromotionCause
from db.models import IndexVersion, LiveModel, ModelVersion, Promotion
from db.queries import registry
from retriever.encoding.backend import BACKENDS, BY_HAND, PRECISIONS, Precision, precision_of

Progress = Callable[[int, int], None]
BM25 = "bm25"
UNNAMED_LENGTH = 256
"""Tokens that were read of a passage where an index's name does not say it: the setting's default, ever since."""

__all__ = [
    "BM25",
    "FinishedIndex",
    "Progress",
    "corpus_hash",
    "dense_system",
    "describe_missing_index",
    "encoder_model",
    "ensure_bm25_index",
    "ensure_dense_index",
    "ensure_index_of_now",
    "ensure_live_model",
    "find_index",
    "index_name",
    "index_names",
    "model_path",
    "register_model",
]


def dense_system(model: ModelVersion) -> str:
    """The name under which a model's rankings are kept."""
    return f"dense:{model.hash[:12]}"


def encoder_model(session: Session, model: ModelVersion) -> ModelVersion:
    """The full model whose passage vectors a version searches: itself, or its encoder for an adapter."""
    if model.encoder_id is None:
        return model
    return registry.get_model_or_raise(session, model.encoder_id)


def index_name(encoder: ModelVersion, *, max_length: int, precision: Precision) -> str:
    """The name of an index of a full model's vectors: "dense:0123456789ab", "dense:0123456789ab@128+bf16".

    It says how many tokens of a passage were read, unless UNNAMED_LENGTH, and whether in bf16 or int8: a query is read
    at the length that is set now, and vectors of another length must never answer it.
    """
    length = "" if max_length == UNNAMED_LENGTH else f"@{max_length}"
    return dense_system(encoder) + length + ("" if precision == "f32" else f"+{precision}")


def index_precision(index: IndexVersion) -> str:
    """How exact the vectors of an index are, in words."""
    return index.system.partition("+")[2] or "float32"


def index_names(workspace: Workspace, session: Session, model: ModelVersion) -> tuple[str, ...]:
    """The names of the indexes that a model may search with the settings as they are, the most exact first.

    They are its own, or its encoder's for an adapter. Vectors less exact than a backend that is asked for do not do.
    Rankings are kept under `dense_system(model)` instead: an adapter ranks the same vectors differently.
    """
    encoder = encoder_model(session, model)
    precisions = PRECISIONS[: PRECISIONS.index(_least_exact(workspace)) + 1]
    return tuple(
        index_name(encoder, max_length=workspace.settings.max_length, precision=precision) for precision in precisions
    )


def find_index(workspace: Workspace, session: Session, model: ModelVersion, *, state: str) -> IndexVersion | None:
    """The finished index that a model version searches over that state of the corpus, its folder there, or None."""
    return _find(workspace, session, index_names(workspace, session, model), state=state)


def describe_missing_index(workspace: Workspace, model: ModelVersion, *, state: str) -> str:
    """Why a model has nothing to search over that state of the corpus, and what to do, in words."""
    with workspace.sessions.read() as session:
        other = registry.list_indexes(session, model_id=encoder_model(session, model).id, corpus_hash=state)
    if not other:
        return "The passages are not indexed yet. Run: relabel pool"
    system = other[0].system
    length = system.partition("@")[2].partition("+")[0] or str(UNNAMED_LENGTH)
    precision = index_precision(other[0])
    how = f" in {precision}" if precision != "float32" and length == str(workspace.settings.max_length) else ""
    asked = _least_exact(workspace)
    asked_in_words = "float32" if asked == "f32" else asked
    auto = workspace.settings.encoder_backend == "auto"
    setting = "encoder_backend is auto, which goes down to" if auto else "encoder_backend asks for"
    wanted = f"{setting} {asked_in_words}" if how else f"max_length is {workspace.settings.max_length}"
    return (
        f"The passages were encoded at {length} tokens{how}, and {wanted} now: they have to be encoded anew. "
        "Run: relabel pool"
    )


def register_model(
    workspace: Workspace,
    *,
    staging: Path,
    name: str,
    base_id: int | None,
    dim: int,
    stage: ModelStage,
    encoder_id: int | None = None,
    on_record: Callable[[Session, ModelVersion], None] | None = None,
) -> ModelVersion:
    """Moves a finished model folder to its immutable place and records it; the same content is recorded once.

    `encoder_id` makes it an adapter on top of that full model.
    `on_record` writes what must be stored together with the model or not at all.
    """
    from retriever.model_store import commit_directory

    model_hash, path = commit_directory(staging, workspace.settings.models)
    with workspace.sessions.begin() as session:
        known = registry.get_model_by_hash(session, model_hash)
        if known is None:
            known = ModelVersion(
                hash=model_hash,
                name=name,
                path=str(path.relative_to(workspace.settings.workspace)),
                dim=dim,
                stage=stage,
                base_id=base_id,
                kind=ModelKind.FULL if encoder_id is None else ModelKind.ADAPTER,
                encoder_id=encoder_id,
                created_at=workspace.now(),
            )
            try:
                with session.begin_nested():
                    session.add(known)
            except IntegrityError:  # another process recorded the same content a moment ago
                known = registry.get_model_by_hash(session, model_hash)
                if known is None:
                    raise
        if known.stage is ModelStage.RETIRED and stage is ModelStage.CANDIDATE:
            known.stage = ModelStage.CANDIDATE  # trained again to the same weights: it is up for a decision again
        if on_record is not None:
            on_record(session, known)
        return known


def model_path(workspace: Workspace, model: ModelVersion) -> Path:
    """The folder of a model version."""
    return workspace.settings.workspace / model.path


def ensure_live_model(workspace: Workspace) -> ModelVersion:
    """The live model; on a new workspace the configured base model is copied in, recorded and made live.

    Raises:
        ModelNotFound, ModelCorrupt: the configured model cannot be used.
    """
    with workspace.sessions.read() as session:
        live = registry.get_live(session)
    if live is not None:
        return live
    from retriever.encoder import Encoder
    from retriever.model_store import resolve_model

    source = resolve_model(workspace.settings.model)
    with tempfile.TemporaryDirectory(prefix=".base-", dir=workspace.settings.models) as scratch:
        staging = Path(scratch) / "model"
        if isinstance(source, Path):
            shutil.copytree(source, staging)
            dim = Encoder.load(staging).dim
            name = "all-MiniLM-L6-v2" if workspace.settings.model == "default" else source.name
        else:
            encoder = Encoder.load(source)
            encoder.save(staging)
            dim, name = encoder.dim, source
        model = register_model(workspace, staging=staging, name=name, base_id=None, dim=dim, stage=ModelStage.LIVE)
    with workspace.sessions.begin() as session:
        if registry.get_live(session) is None:
            now = workspace.now()
            session.add(LiveModel(id=1, model_version_id=model.id, index_version_id=None, changed_at=now))
            session.add(
                Promotion(
                    model_version_id=model.id,
                    previous_model_id=None,
                    cause=PromotionCause.FIRST,
                    reason="the workspace's base model",
                    created_at=now,
                )
            )
    return model


@dataclass(frozen=True, slots=True)
class FinishedIndex:
    """The folder of a complete index, and the state of the corpus that it covers."""

    path: Path
    state: str


def ensure_bm25_index(workspace: Workspace, *, state: str | None = None) -> Path:
    """The folder of the BM25 index over the corpus as it is now, built if need be.

    state: the corpus's, where the caller has just read it; an index of that state will do.
    """
    from retriever.bm25 import BM25Index
    from retriever.types import Passage

    def build(folder: Path) -> _Built:
        with workspace.sessions.read() as session:
            passages = (Passage(*row) for row in registry.stream_passages(session))
            return _Built(BM25, BM25Index.build(folder, passages).n, BM25)

    def names(session: Session) -> tuple[str, ...]:
        return (BM25,)

    return _ensure_index(workspace, names=names, model_id=None, build=build, state=state).path


def ensure_dense_index(
    workspace: Workspace,
    model: ModelVersion,
    *,
    progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Path:
    """The folder of `ensure_index_of_now`."""
    return ensure_index_of_now(workspace, model, progress=progress, should_cancel=should_cancel).path


def ensure_index_of_now(
    workspace: Workspace,
    model: ModelVersion,
    *,
    progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> FinishedIndex:
    """The vector index that the model searches over the corpus as it is now, built if need be.

    An adapter searches its encoder's.

    Raises:
        NothingToDo: there is no passage yet.
        EncodingCancelled: `should_cancel` said so; the index is not there, the vectors made so far are kept.
    """
    from retriever.dense_index import DenseIndex
    from retriever.encoder import Encoder

    with workspace.sessions.read() as session:
        model = encoder_model(session, model)

    length = workspace.settings.max_length

    def load() -> Encoder:
        return Encoder.load(model_path(workspace, model), max_length=length)

    def build(folder: Path) -> _Built:
        passages = encode_passages(workspace, model, load=load, progress=progress, should_cancel=should_cancel)
        kind = None if workspace.settings.index_kind == "auto" else workspace.settings.index_kind
        index = DenseIndex.build(
            folder,
            passages.ids,
            passages.chunks(),
            model.dim,
            source=f"{model.hash}@{length}",
            kind=kind,
            queries=lambda: train_questions(workspace, load),
        )
        name = index_name(model, max_length=length, precision=passages.precision)
        return _Built(name, index.n, index.kind, index.recall)

    def names(session: Session) -> tuple[str, ...]:
        return index_names(workspace, session, model)

    return _ensure_index(workspace, names=names, model_id=model.id, build=build)


@dataclass(frozen=True, slots=True)
class _Built:
    """What is recorded of an index; recall: recall@10 against exact search, None where search is exact."""

    system: str
    n: int
    kind: str
    recall: float | None = None


def _ensure_index(
    workspace: Workspace,
    *,
    names: Callable[[Session], tuple[str, ...]],
    model_id: int | None,
    build: Callable[[Path], _Built],
    state: str | None = None,
) -> FinishedIndex:
    from retriever.model_store import commit_directory

    while True:
        state = corpus_hash(workspace) if state is None else state
        with workspace.sessions.read() as session:
            known = _find(workspace, session, names(session), state=state)
        if known is not None:
            return FinishedIndex(workspace.settings.workspace / known.path, state)
        keep_corpus_hash(workspace)
        staging = Path(tempfile.mkdtemp(prefix=".index-", dir=workspace.settings.indexes))
        before, state = state, None
        try:
            built = build(staging)
            if corpus_hash(workspace) != before:
                continue  # an import came in between: nobody knows which passages the index holds
            _, path = commit_directory(staging, workspace.settings.indexes)
        except CorpusChanged:
            continue
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        with workspace.sessions.begin() as session:
            row = registry.get_index(session, system=built.system, corpus_hash=before)
            if row is None:
                row = IndexVersion(
                    system=built.system, corpus_hash=before, model_version_id=model_id, created_at=workspace.now()
                )
                session.add(row)
            # A row whose folder was lost gets the new folder: the same passages need not give the same bytes.
            row.path, row.n_passages = str(path.relative_to(workspace.settings.workspace)), built.n
            row.kind, row.recall = built.kind, built.recall
        return FinishedIndex(path, before)


def _find(workspace: Workspace, session: Session, names: tuple[str, ...], *, state: str) -> IndexVersion | None:
    for name in names:
        row = registry.get_index(session, system=name, corpus_hash=state)
        if row is not None and (workspace.settings.workspace / row.path).is_dir():
            return row
    return None


def _least_exact(workspace: Workspace) -> Precision:
    """The least exact precision that may be searched: that of the backend asked for, or of what may be chosen."""
    backend = workspace.settings.encoder_backend
    possible = [name for name in BACKENDS if name not in BY_HAND] if backend == "auto" else [backend]
    return max((precision_of(name) for name in possible), key=PRECISIONS.index)
