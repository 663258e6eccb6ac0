"""What the live model, the one before it and BM25 say of pairs, each within the list of its query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotator.self_labels import LIST_DEPTH, list_signals
from annotator.types import ListSignals, RetrievalSignals
from app.bootstrap import Workspace
from app.services.indexing import (
    Progress,
    corpus_hash,
    ensure_bm25_index,
    ensure_dense_index,
    ensure_live_model,
)
from app.services.retrievers import open_encoder, open_index
from db.models import ModelVersion
from db.queries.self_labels import PairToScore, get_model_before
from retriever.errors import ModelNotFound

if TYPE_CHECKING:
    from retriever.bm25 import BM25Index
    from retriever.dense_index import DenseIndex
    from retriever.encoder import Encoder


@dataclass(frozen=True, slots=True)
class _Version:
    """One model version with its index; `position` of each passage by its id from outside."""

    encoder: Encoder
    index: DenseIndex
    position: dict[str, int]


class RetrieverSignals:
    """The opened models and indexes of a workspace; `open_signals` makes one."""

    def __init__(
        self,
        *,
        live: _Version,
        before: _Version | None,
        bm25: BM25Index,
        model_hash: str,
        model_before_hash: str | None,
    ) -> None:
        self._live = live
        self._before = before
        self._bm25 = bm25
        self.model_hash = model_hash
        self.model_before_hash = model_before_hash

    def of_pairs(self, pairs: Sequence[PairToScore]) -> dict[int, RetrievalSignals]:
        """Signals by pair id; a pair whose passage the index does not hold is left out.

        The list of a query is what a model ranks first in the whole corpus, `LIST_DEPTH` passages, whatever the pool
        holds: so a pool that grew over several rounds changes nothing.
        """
        texts = {pair.query_id: pair.query for pair in pairs}
        by_query: dict[int, list[PairToScore]] = {query_id: [] for query_id in texts}
        for pair in pairs:
            by_query[pair.query_id].append(pair)
        lexical = self._bm25.search(list(texts.values()), LIST_DEPTH)
        listed = _listed(self._live, texts, by_query)
        listed_before = {} if self._before is None else _listed(self._before, texts, by_query)
        found = {}
        for of_query, hits in zip(by_query.values(), lexical, strict=True):
            by_words = {hit.passage_id: hit for hit in hits}
            for pair in of_query:
                if pair.pair_id not in listed:
                    continue
                hit = by_words.get(pair.passage)
                found[pair.pair_id] = RetrievalSignals(
                    bm25_score=None if hit is None else hit.score,
                    bm25_rank=None if hit is None else hit.rank,
                    best_bm25_score=hits[0].score if hits else None,
                    listed=listed[pair.pair_id],
                    listed_before=listed_before.get(pair.pair_id),
                )
        return found


def open_signals(workspace: Workspace, *, on_index: Progress | None = None) -> RetrieverSignals:
    """The live model and its index, and the model before where it has a complete index of the corpus as it is now.

    Raises:
        NothingToDo: there is no passage yet.
    """
    from retriever.bm25 import BM25Index

    state = corpus_hash(workspace)
    model = ensure_live_model(workspace)
    ensure_dense_index(workspace, model, progress=on_index)
    with workspace.sessions.read() as session:
        before = get_model_before(session, model_id=model.id)
    live = _open(workspace, model, state=state)
    opened_before = None if before is None or before.id == model.id else _open(workspace, before, state=state)
    if live is None:
        return open_signals(workspace, on_index=on_index)  # an import came in between
    return RetrieverSignals(
        live=live,
        before=opened_before,
        bm25=BM25Index.open(ensure_bm25_index(workspace)),
        model_hash=model.hash,
        model_before_hash=None if opened_before is None or before is None else before.hash,
    )


def _open(workspace: Workspace, model: ModelVersion, *, state: str) -> _Version | None:
    """The model and its index of that state of the corpus; None where either is not there."""
    index = open_index(workspace, model, state=state)
    if index is None:
        return None
    try:
        encoder = open_encoder(workspace, model)
    except ModelNotFound:
        return None
    return _Version(encoder, index, {passage_id: at for at, passage_id in enumerate(index.passage_ids)})


def _listed(version: _Version, texts: dict[int, str], by_query: dict[int, list[PairToScore]]) -> dict[int, ListSignals]:
    """Where each pair stands in its query's list, by pair id; nothing where the corpus has no two passages."""
    vectors = version.encoder.encode_queries(list(texts.values()))
    found = {}
    for of_query, vector, hits in zip(
        by_query.values(), vectors, version.index.search(vectors, LIST_DEPTH), strict=True
    ):
        if len(hits) < 2:
            continue
        best = [hit.score for hit in hits]
        inside = {hit.passage_id: hit.score for hit in hits}
        for pair in of_query:
            at = version.position.get(pair.passage)
            if at is None:
                continue
            # The search's own score where there is one: computed twice, it can differ in the last digit, and the rank.
            score = inside.get(pair.passage)
            if score is None:
                score = min(float(version.index.vectors[at] @ vector), best[-1])
            found[pair.pair_id] = list_signals(score, best)
    return found
