"""Hybrid search of a workspace: fitting how cosines and BM25 are mixed, keeping it, and searching with it.

A mix is fitted on human judgements of questions that the model was not trained on: those of calibrate, and those of
train that are in no label set of the model or of what it was built on. Held-out questions are never touched here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.indexing import ensure_bm25_index
from app.services.retrievers import Retriever, open_retriever
from db.models import ModelVersion
from db.models.retraining import HybridMix
from db.queries import hybrid as hybrid_queries
from db.queries import registry
from db.queries.training import label_sets_of

if TYPE_CHECKING:
    from retriever.bm25 import BM25Index
    from retriever.hybrid import HybridRetriever, LinearMix

RETRIEVERS = ("dense", "hybrid")
"""How a question can be searched: by meaning alone, or by meaning and words."""

_KEPT = 2


@dataclass(frozen=True, slots=True)
class HybridView:
    """A model's mix: weights, or None where ranks are fused; mean nDCG@10 on questions not trained on, cross-fitted.

    `figures`: "dense", "bm25", "rrf" and, where a mix was fitted, "linear" -> value in [0, 1].
    """

    model: str
    criterion: Criterion
    dense_weight: float | None
    bm25_weight: float | None
    figures: Mapping[str, float]
    n_queries: int
    n_judgements: int
    fewest_queries: int
    created_at: datetime


def fit(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> HybridView:
    """Fits the live model's mix on what people judged and it was not trained on, and keeps it; searches use it then.

    On what a model was trained on it looks better than it is, and BM25 would get too little weight.

    Raises:
        NothingToDo: no model is live or indexed, or no such question has a passage that people judged relevant.
    """
    from retriever.hybrid import DEPTH, fit_mix

    with workspace.sessions.read() as session:
        model = registry.get_live(session)
        trained_on = [] if model is None else label_sets_of(session, [model.id])
        rows = hybrid_queries.list_mix_judgements(session, criterion=criterion, trained_on=trained_on)
    if model is None:
        raise NothingToDo("no model is live", user_message="The passages are not indexed yet. Run: relabel pool")
    relevant_from = workspace.settings.relevant_from
    qrels: dict[str, dict[str, int]] = {}
    texts: dict[str, str] = {}
    for query_id, text, passage_id, grade in rows:
        qrels.setdefault(query_id, {})[passage_id] = grade
        texts[query_id] = text
    if not any(grade >= relevant_from for judged in qrels.values() for grade in judged.values()):
        raise NothingToDo(
            f"no question beside those model {model.id} was trained on has a passage graded {relevant_from} or more",
            user_message="Nothing to fit on: people judged no passage relevant to a calibrate question, nor to a train "
            "question that the live model was not trained on. Until then ranks are fused. Review calibrate questions.",
        )
    dense = open_retriever(workspace, model)
    asked = list(texts.values())
    report = fit_mix(
        dict(zip(texts, dense.search(asked, DEPTH), strict=True)),
        dict(zip(texts, _lexical(workspace, state=dense.state).search(asked, DEPTH), strict=True)),
        qrels,
        relevant_from=relevant_from,
    )
    with workspace.sessions.begin() as session:
        row = HybridMix(
            model_version_id=model.id,
            criterion=criterion,
            weights={} if report.mix is None else {"dense": report.mix.dense, "bm25": report.mix.bm25},
            figures=dict(report.figures),
            n_queries=report.n_queries,
            n_judgements=report.n_judgements,
            created_at=workspace.now(),
        )
        session.add(row)
        session.flush()
        return _view(row, model)


def get_fitted(workspace: Workspace, *, criterion: Criterion = Criterion.RELEVANCE) -> HybridView | None:
    """The live model's mix as it was last fitted, or None."""
    with workspace.sessions.read() as session:
        model = registry.get_live(session)
        row = None if model is None else hybrid_queries.get_mix(session, model_id=model.id, criterion=criterion)
        return None if model is None or row is None else _view(row, model)


def mix_of(workspace: Workspace, model: ModelVersion, *, criterion: Criterion) -> LinearMix | None:
    """The weights last fitted for a model; None where ranks are fused."""
    from retriever.hybrid import LinearMix

    with workspace.sessions.read() as session:
        row = hybrid_queries.get_mix(session, model_id=model.id, criterion=criterion)
        weights = {} if row is None else dict(row.weights)
    return LinearMix(dense=float(weights["dense"]), bm25=float(weights["bm25"])) if weights else None


def open_hybrid(
    workspace: Workspace, model: ModelVersion, dense: Retriever, *, criterion: Criterion
) -> HybridRetriever:
    """A model's dense search and BM25 over the same corpus as one; the index of BM25 is built where it is missing."""
    from retriever.hybrid import HybridRetriever

    mix = mix_of(workspace, model, criterion=criterion)
    return HybridRetriever(dense.search, _lexical(workspace, state=dense.state).search, mix)


def describe_mix(mix: LinearMix | None) -> str:
    """How two rankings became one, in words."""
    return "ranks fused (RRF)" if mix is None else f"{mix.dense:.2f} meaning + {mix.bm25:.2f} words"


def _lexical(workspace: Workspace, *, state: str) -> BM25Index:
    return _bm25(ensure_bm25_index(workspace, state=state))


@lru_cache(maxsize=_KEPT)
def _bm25(path: Path) -> BM25Index:
    from retriever.bm25 import BM25Index

    return BM25Index.open(path)


def _view(row: HybridMix, model: ModelVersion) -> HybridView:
    from retriever.hybrid import FEWEST_QUERIES

    return HybridView(
        model=model.name,
        criterion=row.criterion,
        dense_weight=row.weights.get("dense"),
        bm25_weight=row.weights.get("bm25"),
        figures=dict(row.figures),
        n_queries=row.n_queries,
        n_judgements=row.n_judgements,
        fewest_queries=FEWEST_QUERIES,
        created_at=row.created_at,
    )
