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
from app.errors import NothingToDo
from app.services.index_queries import train_questions
from app.services.passage_vectors import CorpusChanged, encode_passages
from db.enums import ModelKind, ModelStage, PromotionCause
from db.models import IndexVersion, LiveModel, ModelVersion, Promotion
from db.queries import registry

Progress = Callable[[int, int], None]
BM25 = "bm25"


def dense_system(model: ModelVersion) -> str:
    """The name under which a model's rankings are kept."""
    return f"dense:{model.hash[:12]}"


def encoder_model(session: Session, model: ModelVersion) -> ModelVersion:
    """The full model whose passage vectors a version searches: itself, or its encoder for an adapter."""
    if model.encoder_id is None:
        return model
    return registry.get_model_or_raise(session, model.encoder_id)


def index_system(session: Session, model: ModelVersion) -> str:
    """The name of the index that a model searches: its own, or its encoder's for an adapter.

    Rankings are kept under `dense_system(model)`: an adapter ranks the same vectors differently.
    """
    return dense_system(encoder_model(session, model))


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


def corpus_hash(workspace: Workspace) -> str:
    """The hash of the corpus as it is now.

    Raises:
        NothingToDo: there is no passage yet.
    """
    with workspace.sessions.read() as session:
        value, n = registry.hash_corpus(session)
    if n == 0:
        raise NothingToDo("there are no passages yet", user_message="Import passages first: relabel import PATH")
    return value


def ensure_bm25_index(workspace: Workspace) -> Path:
    """The folder of the BM25 index over the corpus as it is now, built if need be."""
    from retriever.bm25 import BM25Index
    from retriever.types import Passage

    def build(folder: Path) -> _Built:
        with workspace.sessions.read() as session:
            passages = (Passage(*row) for row in registry.stream_passages(session))
            return _Built(BM25Index.build(folder, passages).n, BM25)

    return _ensure_index(workspace, system=BM25, model_id=None, build=build)


def ensure_dense_index(
    workspace: Workspace,
    model: ModelVersion,
    *,
    progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Path:
    """The folder of the vector index that the model searches over the corpus as it is now, built if need be.

    An adapter searches its encoder's.

    Raises:
        EncodingCancelled: `should_cancel` said so; the index is not there, the vectors made so far are kept.
    """
    from retriever.dense_index import DenseIndex
    from retriever.encoder import Encoder

    with workspace.sessions.read() as session:
        model = encoder_model(session, model)

    def load() -> Encoder:
        return Encoder.load(model_path(workspace, model), max_length=workspace.settings.max_length)

    def build(folder: Path) -> _Built:
        passages = encode_passages(workspace, model, load=load, progress=progress, should_cancel=should_cancel)
        kind = None if workspace.settings.index_kind == "auto" else workspace.settings.index_kind
        index = DenseIndex.build(
            folder,
            passages.ids,
            passages.chunks(),
            model.dim,
            source=model.hash,
            kind=kind,
            queries=lambda: train_questions(workspace, load),
        )
        return _Built(index.n, index.kind, index.recall)

    return _ensure_index(workspace, system=dense_system(model), model_id=model.id, build=build)


@dataclass(frozen=True, slots=True)
class _Built:
    """What is recorded of an index: passages, kind, and recall@10 against exact search, None where it is exact."""

    n: int
    kind: str
    recall: float | None = None


def _ensure_index(workspace: Workspace, *, system: str, model_id: int | None, build: Callable[[Path], _Built]) -> Path:
    from retriever.model_store import commit_directory

    while True:
        state = corpus_hash(workspace)
        with workspace.sessions.read() as session:
            known = registry.get_index(session, system=system, corpus_hash=state)
        if known is not None and (workspace.settings.workspace / known.path).is_dir():
            return workspace.settings.workspace / known.path
        staging = Path(tempfile.mkdtemp(prefix=".index-", dir=workspace.settings.indexes))
        try:
            built = build(staging)
            if corpus_hash(workspace) != state:
                continue  # an import came in between: nobody knows which passages the index holds
            _, path = commit_directory(staging, workspace.settings.indexes)
        except CorpusChanged:
            continue
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        with workspace.sessions.begin() as session:
            row = registry.get_index(session, system=system, corpus_hash=state)
            if row is None:
                row = IndexVersion(
                    system=system, corpus_hash=state, model_version_id=model_id, created_at=workspace.now()
                )
                session.add(row)
            # A row whose folder was lost gets the new folder: the same passages need not give the same bytes.
            row.path, row.n_passages = str(path.relative_to(workspace.settings.workspace)), built.n
            row.kind, row.recall = built.kind, built.recall
        return path
