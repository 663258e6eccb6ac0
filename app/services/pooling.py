"""Putting pairs up for judging: what BM25 and the live model find for each question, fused, ranks and scores kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.corpus_states import keep_corpus_hash
from app.services.indexing import (
    BM25,
    Progress,
    corpus_hash,
    dense_system,
    ensure_bm25_index,
    ensure_live_model,
)
from app.services.near_duplicates import NearDuplicates, strictest
from app.services.retrievers import open_retriever
from db.enums import Split
from db.queries import candidates as pool_queries
from db.queries import corpus as corpus_queries
from retriever.types import Candidate

HELD_OUT_OF_FOUR_FROM = 20
"""From this many unsplit questions on, one in four is held out; fewer all train. Our choice."""

CALIBRATE_OF_EIGHT_FROM = 80
"""From this many on, about one in eight of the others is for calibrating: without such questions no judge can be
calibrated or certified. Our choice."""


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What pooling did: questions searched, candidates new and renewed, questions given a split for want of one."""

    n_queries: int
    new: int
    renewed: int
    assigned: dict[str, int]


def assign_splits(workspace: Workspace) -> dict[str, int]:
    """Gives every question without a split one, near-duplicates together; returns how many clusters got which.

    From 20 unsplit clusters on, one family of near-duplicates in four (by a hash, so always the same) is held out, and
    from 80 on one in eight of the rest calibrates judges; fewer all train. A family with a member in a split joins that
    split, the strictest if there are several.
    """
    assigned: Counter[str] = Counter()
    with workspace.sessions.begin() as session:
        unsplit = set(pool_queries.list_unsplit_clusters(session))
        if not unsplit:
            return {}
        duplicates, present = NearDuplicates(), dict[int, Split]()
        for text, cluster_id, split in corpus_queries.stream_query_texts(session):
            duplicates.add(text, cluster_id, similar=duplicates.find(text))
            if split is not None:
                present[cluster_id] = split
        for family in duplicates.families().values():
            split = strictest(present[cluster_id] for cluster_id in family if cluster_id in present)
            if split is None:
                split = _drawn_split(min(family), n_unsplit=len(unsplit))
            missing = sorted(unsplit.intersection(family))
            corpus_queries.set_splits(session, missing, split)
            assigned[split] += len(missing)
    return dict(+assigned)


def _drawn_split(cluster_id: int, *, n_unsplit: int) -> Split:
    digest = hashlib.sha256(f"split:{cluster_id}".encode()).digest()
    if n_unsplit >= HELD_OUT_OF_FOUR_FROM and int.from_bytes(digest[:4]) % 4 == 0:
        return Split.HELD_OUT
    if n_unsplit >= CALIBRATE_OF_EIGHT_FROM and int.from_bytes(digest[4:8]) % 8 == 0:
        return Split.CALIBRATE
    return Split.TRAIN


def pool(
    workspace: Workspace,
    *,
    depth: int | None = None,
    on_index: Progress | None = None,
    on_query: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> PoolReport:
    """Pools candidates for every train question, and for the others that nobody has judged; safe to repeat.

    Raises:
        NothingToDo: there are no passages or no questions.
    """
    corpus_hash(workspace)  # before anything is decided or copied: without passages there is nothing to pool
    keep_corpus_hash(workspace)
    from retriever.bm25 import BM25Index
    from retriever.pooling import pool as pool_queries_of
    from retriever.types import Hit, Query

    assigned = assign_splits(workspace)
    with workspace.sessions.read() as session:
        rows = pool_queries.list_queries_to_pool(session, list(Split))
    if not rows:
        raise NothingToDo(
            "there are no questions to pool for",
            user_message="Import questions first: relabel import. Or have an LLM write some: relabel questions",
        )
    model = ensure_live_model(workspace)
    bm25 = BM25Index.open(ensure_bm25_index(workspace))
    dense = open_retriever(workspace, model, build=True, progress=on_index, should_cancel=should_cancel)

    def search_bm25(queries: Sequence[Query], k: int) -> list[list[Hit]]:
        return bm25.search([query.text for query in queries], k)

    def search_dense(queries: Sequence[Query], k: int) -> list[list[Hit]]:
        return dense.search([query.text for query in queries], k)

    queries = [Query(id=str(query_id), text=text) for query_id, _, text in rows]
    found = pool_queries_of(
        queries,
        {BM25: search_bm25, dense_system(model): search_dense},
        depth=depth or workspace.settings.pool_depth,
        per_system=workspace.settings.pool_per_system,
        should_cancel=should_cancel,
    )
    new = stored = 0
    for done, (query, pooled) in enumerate(zip(queries, found, strict=True), start=1):
        new += _store(workspace, query_id=int(query.id), pooled=pooled)
        stored += len(pooled)
        if on_query is not None:
            on_query(done, len(queries))
    return PoolReport(n_queries=len(queries), new=new, renewed=stored - new, assigned=assigned)


def _store(workspace: Workspace, *, query_id: int, pooled: Sequence[Candidate]) -> int:
    with workspace.sessions.begin() as session:
        ids = pool_queries.passage_ids(session, [candidate.passage_id for candidate in pooled])
        pairs = pool_queries.ensure_pairs(session, query_id=query_id, passages=list(ids.values()))
        return pool_queries.store_candidates(
            session,
            [
                pool_queries.PooledPair(
                    pair_id=pairs[ids[candidate.passage_id]],
                    rank=candidate.rank,
                    score=candidate.score,
                    hits=tuple((hit.system, hit.rank, hit.score) for hit in candidate.hits),
                )
                for candidate in pooled
            ],
            now=workspace.now(),
        )
