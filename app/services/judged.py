"""Stored suggestions as a calibrator sees them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from annotator.calibration_features import JudgedInput
from annotator.types import RetrievalSignals
from app.services.dense_systems import list_dense_systems, speaking_system
from app.services.indexing import BM25
from db.queries.calibrating import JudgedRow
from db.queries.candidates import best_scores, list_hits


def judged_inputs(session: Session, rows: Sequence[JudgedRow]) -> list[JudgedInput]:
    """One input a row, in the same order, with the retrieval signals as they are now."""
    hits: dict[int, dict[str, tuple[int, float]]] = {}
    for hit in list_hits(session, [row.pair_id for row in rows]):
        hits.setdefault(hit.pair_id, {})[hit.system] = (hit.rank, hit.score)
    best = best_scores(session, sorted({row.query_id for row in rows}))
    systems = list_dense_systems(session)
    return [
        JudgedInput(
            grade=row.grade,
            confidence=row.confidence,
            distribution=row.distribution,
            votes=_votes(row),
            signals=_signals(row, hits.get(row.pair_id, {}), best.get(row.query_id, {}), systems),
            kind=row.kind,
        )
        for row in rows
    ]


def _votes(row: JudgedRow) -> tuple[int | None, ...]:
    """The grades of an ensemble's members, as its suggestions keep them in their context; of other judges, none."""
    members = (row.context or {}).get("members")
    if not isinstance(members, list):
        return ()
    return tuple(member.get("grade") for member in members if isinstance(member, dict))


def _signals(
    row: JudgedRow, hits: dict[str, tuple[int, float]], best: dict[str, float], systems: Sequence[str]
) -> RetrievalSignals:
    dense = speaking_system(hits, systems)
    dense_rank, dense_score = hits[dense] if dense is not None else (None, None)
    bm25_rank, bm25_score = hits.get(BM25, (None, None))
    return RetrievalSignals(
        dense_score=dense_score,
        dense_rank=dense_rank,
        bm25_score=bm25_score,
        bm25_rank=bm25_rank,
        fused_rank=row.rank,
        pool_size=row.pool_size,
        best_bm25_score=best.get(BM25),
    )
