"""Hard negatives for a full training: what the live model finds for a question and nobody judged good, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.indexing import Progress
from app.services.retrievers import open_retriever
from db.queries.registry import get_live
from db.queries.training import passage_texts
from retriever.types import TrainingStage

DEPTH = 100


def mine_stages(
    workspace: Workspace,
    stages: Sequence[TrainingStage],
    *,
    per_query: int,
    fill_to: int | None = None,
    on_progress: Progress | None = None,
    should_cancel: Callable[[], bool] | None = None,
) -> tuple[list[TrainingStage], dict[str, int]]:
    """The stages with so many mined negatives a list, from the live model's index, and the counts for the report.

    fill_to: lists of so many passages or more stay as they are, others get no more than they need to have so many; None
    for all lists alike. Labels of any stage keep a passage from being mined against its question. Counts: `mined`, of
    which `unlabelled` were judged by nobody; `too_near` were left out for scoring too near a positive.

    Raises:
        NothingToDo: no model is live, so nothing can be mined.
    """
    from retriever.mining import mine_negatives, score_positives

    relevant_from = workspace.settings.relevant_from
    with workspace.sessions.read() as session:
        live = get_live(session)
    if live is None:
        raise NothingToDo(
            "no model is live to mine hard negatives with",
            user_message="Hard negatives were asked for (mined_negatives), and no model is live to find them with. "
            "Pool first: relabel pool",
        )
    retriever = open_retriever(workspace, live, build=True, progress=on_progress, should_cancel=should_cancel)
    every = [entry for stage in stages for entry in stage.lists]
    short = [entry for entry in every if fill_to is None or len(entry.passages) < fill_to]
    queries = {entry.query_id: entry.query for entry in short}
    encoded = retriever.encoder.encode_queries(list(queries.values()))
    vectors = dict(zip(queries, encoded, strict=True))
    hits = dict(zip(queries, retriever.index.search(encoded, DEPTH), strict=True))
    with workspace.sessions.read() as session:
        texts = passage_texts(session, {hit.passage_id for found in hits.values() for hit in found})
    scores = score_positives(
        [entry for entry in every if entry.query_id in queries],
        query_vectors=vectors,
        passage_ids=retriever.index.passage_ids,
        passage_vectors=retriever.index.vectors,
        relevant_from=relevant_from,
    )
    mined_stages = []
    counts = {"mined": 0, "unlabelled": 0, "too_near": 0}
    for stage in stages:
        mined = mine_negatives(
            stage.lists,
            hits=hits,
            texts=texts,
            per_query=per_query,
            fill_to=fill_to,
            relevant_from=relevant_from,
            positive_scores=scores,
            known=every,
        )
        mined_stages.append(replace(stage, lists=mined.lists))
        counts["mined"] += mined.added
        counts["unlabelled"] += mined.unlabelled
        counts["too_near"] += mined.too_near
    return mined_stages, counts
