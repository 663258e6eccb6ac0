"""Opening a model version to search with it: its encoder, its adapter, and the index that it searches.

Everything that encodes a query comes through here, so that an adapter is never forgotten and never applied twice.
Models, their folders and building indexes are in `indexing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.indexing import (
    Progress,
    corpus_hash,
    describe_missing_index,
    encoder_model,
    ensure_index_of_now,
    find_index,
    model_path,
)
from db.enums import ModelKind
from db.models import ModelVersion
from retriever.types import Hit

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from retriever.dense_index import DenseIndex
    from retriever.encoder import Encoder

_KEPT = 3

__all__ = ["Retriever", "encoder_model", "open_encoder", "open_index", "open_retriever", "open_together"]


@dataclass(frozen=True, slots=True)
class Retriever:
    """A model version ready to search: `encoder` and the complete `index` of the corpus as it was when opened.

    state: the hash of that corpus.
    """

    encoder: Encoder
    index: DenseIndex
    state: str

    def search(self, texts: Sequence[str], k: int, *, exact: bool = False) -> list[list[Hit]]:
        """For each query the k best passages, best first, scores are cosines.

        exact: compare with every passage whatever the index, so that what an approximate one misses decides nothing.

        Raises: ValueError for k below 1.
        """
        return self.index.search(self.encoder.encode_queries(texts), k, exact=exact)


def open_encoder(workspace: Workspace, model: ModelVersion) -> Encoder:
    """The encoder of a model version, with its adapter where it is one; a few stay loaded.

    Raises:
        ModelNotFound, ModelCorrupt: a folder is missing or damaged.
    """
    with workspace.sessions.read() as session:
        encoder = encoder_model(session, model)
    adapter = model_path(workspace, model) if model.kind is ModelKind.ADAPTER else None
    return _encoder(model_path(workspace, encoder), workspace.settings.max_length, adapter)


def open_index(workspace: Workspace, model: ModelVersion, *, state: str | None = None) -> DenseIndex | None:
    """The index that a model version searches, complete over the corpus as it is now (or over `state`), or None.

    Raises:
        NothingToDo: there is no passage yet.
        IndexMismatch: its files are damaged.
    """
    state = corpus_hash(workspace) if state is None else state
    with workspace.sessions.read() as session:
        row = find_index(workspace, session, model, state=state)
    return None if row is None else _index(workspace.settings.workspace / row.path)


def open_retriever(
    workspace: Workspace,
    model: ModelVersion,
    *,
    build: bool = False,
    progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> Retriever:
    """A model version ready to search the corpus as it is now; `build` makes the index where it is not complete.

    Raises:
        NothingToDo: there is no passage yet, or no index and `build` was not asked for.
        ModelNotFound, ModelCorrupt, IndexMismatch: a folder is missing or damaged.
        EncodingCancelled: `should_cancel` said so.
    """
    if build:
        found = ensure_index_of_now(workspace, model, progress=progress, should_cancel=should_cancel)
        return Retriever(open_encoder(workspace, model), _index(found.path), found.state)
    state = corpus_hash(workspace)
    index = open_index(workspace, model, state=state)
    if index is None:
        raise NothingToDo(
            f"model {model.id} has no index over the corpus as it is now",
            user_message=describe_missing_index(workspace, model, state=state),
        )
    return Retriever(open_encoder(workspace, model), index, state)


def open_together(
    workspace: Workspace,
    models: Sequence[ModelVersion],
    *,
    progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> list[Retriever]:
    """Model versions to be compared, ready to search one and the same state of the corpus; indexes are made.

    An import while one is encoded makes it begin again: passages that only one of them could find would decide.

    Raises: as `open_retriever` with `build`.
    """
    while True:
        opened = [
            open_retriever(workspace, model, build=True, progress=progress, should_cancel=should_cancel)
            for model in models
        ]
        if len({retriever.state for retriever in opened}) <= 1:
            return opened


@lru_cache(maxsize=_KEPT)
def _model(path: Path, max_length: int) -> SentenceTransformer:
    from retriever.encoder import load_sentence_transformer

    return load_sentence_transformer(path, max_length=max_length)


@lru_cache(maxsize=_KEPT)
def _encoder(path: Path, max_length: int, adapter: Path | None) -> Encoder:
    from retriever.adapter import QueryAdapter
    from retriever.encoder import Encoder

    # An adapter and its encoder share the loaded model: what changes queries is small.
    return Encoder(_model(path, max_length), adapter=None if adapter is None else QueryAdapter.load(adapter))


@lru_cache(maxsize=_KEPT)
def _index(path: Path) -> DenseIndex:
    from retriever.dense_index import DenseIndex

    return DenseIndex.open(path)
