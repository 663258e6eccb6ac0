"""Searching the corpus with the live model and, beside it, the newest candidate."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import InputInvalid, NothingToDo
from app.services.hybrid import RETRIEVERS, describe_mix, mix_of, open_hybrid
from app.services.indexing import corpus_hash, describe_missing_index
from app.services.retrievers import Retriever, open_encoder, open_index
from app.services.views import SearchHit, SearchResult
from db.models import ModelVersion, Passage
from db.queries import registry
from retriever.types import Hit


def search(
    workspace: Workspace,
    *,
    question: str,
    k: int = 10,
    retriever: str = "dense",
    criterion: Criterion = Criterion.RELEVANCE,
) -> SearchResult:
    """The k best passages of the live model and of the newest candidate whose index is complete.

    `retriever` is one of RETRIEVERS; a hybrid search mixes each model's ranking with BM25's as was last fitted for
    that model and criterion, and fuses ranks where nothing was fitted.

    Raises:
        InputInvalid: the question is empty, k is below 1, or there is no such retriever.
        NothingToDo: no index is complete yet.
    """
    if not question.strip():
        raise InputInvalid("type a question to search for")
    if k < 1:
        raise InputInvalid(f"k is {k}; it must be 1 or more")
    if retriever not in RETRIEVERS:
        raise InputInvalid(f"the retriever is {retriever!r}; choose {' or '.join(RETRIEVERS)}")
    state = corpus_hash(workspace)
    hybrid = criterion if retriever == "hybrid" else None
    with workspace.sessions.read() as session:
        live = registry.get_live(session)
        candidate = registry.latest_candidate(session)
    live_hits = None if live is None else _rank(workspace, live, question=question, k=k, state=state, hybrid=hybrid)
    if live is None or live_hits is None:
        raise NothingToDo(
            "the live model has no index over the corpus as it is now",
            user_message=(
                "The passages are not indexed yet. Run: relabel pool"
                if live is None
                else describe_missing_index(workspace, live, state=state)
            ),
        )
    other_hits = (
        None if candidate is None else _rank(workspace, candidate, question=question, k=k, state=state, hybrid=hybrid)
    )
    shown = None if candidate is None or other_hits is None else candidate.name
    return SearchResult(
        question=question,
        live_model=live.name,
        live=_views(workspace, live_hits, other_hits or ()),
        candidate_model=shown,
        candidate=_views(workspace, other_hits or (), live_hits),
        retriever=retriever,
        mixed="" if hybrid is None else describe_mix(mix_of(workspace, live, criterion=hybrid)),
    )


def _rank(
    workspace: Workspace, model: ModelVersion, *, question: str, k: int, state: str, hybrid: Criterion | None
) -> list[Hit] | None:
    index = open_index(workspace, model, state=state)
    if index is None:
        return None
    dense = Retriever(open_encoder(workspace, model), index, state)
    if hybrid is None:
        return dense.search([question], k)[0]
    return open_hybrid(workspace, model, dense, criterion=hybrid).search([question], k)[0]


def _views(workspace: Workspace, hits: Sequence[Hit], others: Sequence[Hit]) -> tuple[SearchHit, ...]:
    ranks = {hit.passage_id: hit.rank for hit in others}
    with workspace.sessions.read() as session:
        rows = session.execute(
            sa.select(Passage.external_id, Passage.title, Passage.text).where(
                Passage.external_id.in_([hit.passage_id for hit in hits])
            )
        )
        texts = {row.external_id: (row.title, row.text) for row in rows}
    return tuple(
        SearchHit(
            passage_id=hit.passage_id,
            title=texts[hit.passage_id][0],
            text=texts[hit.passage_id][1],
            rank=hit.rank,
            score=hit.score,
            other_rank=ranks.get(hit.passage_id),
        )
        for hit in hits
        if hit.passage_id in texts
    )
