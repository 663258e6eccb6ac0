"""Candidate pools of public queries with what BM25 and one or two model versions say of each pair.

Vectors are kept in the temporary folder by the hash of model and texts, so a second run is quick. Encoding and
searching are the product's own; only the database is left out.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotator.self_labels import LIST_DEPTH, list_signals
from annotator.types import ListSignals, RetrievalSignals
from retriever.types import Hit, Passage

Vectors = NDArray[np.float32]
CACHE = Path(tempfile.gettempdir()) / "relabel-bench-vectors"


@dataclass(frozen=True, slots=True)
class PooledPair:
    """One candidate of a query."""

    query_id: str
    passage_id: str
    signals: RetrievalSignals


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model folder and the vectors it gives: passages in corpus order, queries by id; L2-normalised float32."""

    passages: Vectors
    queries: Mapping[str, Vectors]


def base_model() -> Path:
    """The folder of the model that the product ships with."""
    from retriever.model_store import resolve_model

    found = resolve_model("default")
    if not isinstance(found, Path):
        raise TypeError(f"the default model is {found!r}, not a folder")
    return found


def encode(
    model: Path, *, passages: Mapping[str, str], queries: Mapping[str, str], max_length: int, version: str
) -> ModelVersion:
    """What the model makes of these texts, read from the cache where it has been made before.

    version: names the weights, since a folder's path does not.
    """
    made = [
        _vectors(model, list(texts.values()), max_length=max_length, version=version) for texts in (passages, queries)
    ]
    return ModelVersion(made[0], dict(zip(queries, made[1], strict=True)))


def _vectors(model: Path, texts: Sequence[str], *, max_length: int, version: str) -> Vectors:
    def make(texts: Sequence[str]) -> Vectors:
        from retriever.encoder import Encoder

        return Encoder.load(model, max_length=max_length, device="cpu").encode(texts)

    return cached_vectors(texts, make=make, max_length=max_length, version=version)


def cached_vectors(
    texts: Sequence[str], *, make: Callable[[Sequence[str]], Vectors], max_length: int, version: str
) -> Vectors:
    """The vectors of these texts, made by `make` or read from where they were kept; version: names what makes them."""
    digest = hashlib.sha256(f"{version} {max_length}".encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    kept = CACHE / f"{digest.hexdigest()[:24]}.npy"
    if not kept.is_file():
        vectors = make(texts)
        CACHE.mkdir(parents=True, exist_ok=True)
        half = kept.with_suffix(f".{os.getpid()}.npy")
        np.save(half, vectors)
        half.rename(kept)
    return np.asarray(np.load(kept), dtype=np.float32)


def pool_candidates(
    *,
    passages: Mapping[str, str],
    queries: Mapping[str, str],
    live: ModelVersion,
    before: ModelVersion | None = None,
    among: Mapping[str, Sequence[str]] | None = None,
    depth: int = LIST_DEPTH,
) -> list[PooledPair]:
    """The fused candidates of each query, best first, with their signals.

    before: the model version before the live one, for the agreement of the two. among: the passages that a query
    searches; without it every query searches them all.
    """
    from retriever.bm25 import BM25Index
    from retriever.fusion import reciprocal_rank_fusion

    ids = list(passages)
    position = {passage_id: at for at, passage_id in enumerate(ids)}
    with tempfile.TemporaryDirectory() as folder:
        lexical = BM25Index.build(
            Path(folder), (Passage(passage_id, "", text) for passage_id, text in passages.items())
        )
        found = []
        for query_id, text in queries.items():
            inside = np.arange(len(ids))
            if among is not None:
                inside = np.array([position[passage_id] for passage_id in among[query_id]])
            scores = live.passages @ live.queries[query_id]
            best = _best(scores, inside, depth=LIST_DEPTH)
            allowed = {ids[at] for at in inside.tolist()}
            by_words = [
                hit for hit in lexical.search([text], len(ids) if among else depth)[0] if hit.passage_id in allowed
            ]
            by_words = [Hit(hit.passage_id, rank, hit.score) for rank, hit in enumerate(by_words[:depth], start=1)]
            by_meaning = [Hit(ids[at], rank, float(scores[at])) for rank, at in enumerate(best[:depth], start=1)]
            scores_before = None if before is None else before.passages @ before.queries[query_id]
            best_before = [] if scores_before is None else _best(scores_before, inside, depth=LIST_DEPTH)
            for fused in reciprocal_rank_fusion({"bm25": by_words, "dense": by_meaning}, depth=depth):
                at = position[fused.passage_id]
                hits = {hit.system: hit for hit in fused.hits}
                words, meaning = hits.get("bm25"), hits.get("dense")
                signals = RetrievalSignals(
                    dense_score=float(scores[at]),
                    dense_rank=None if meaning is None else meaning.rank,
                    bm25_score=None if words is None else words.score,
                    bm25_rank=None if words is None else words.rank,
                    fused_rank=fused.rank,
                    pool_size=depth,
                    best_bm25_score=by_words[0].score if by_words else None,
                    listed=_listed(scores, at, best),
                    listed_before=None if scores_before is None else _listed(scores_before, at, best_before),
                )
                found.append(PooledPair(query_id, fused.passage_id, signals))
    return found


def _best(scores: Vectors, inside: NDArray[np.int64], *, depth: int) -> list[int]:
    order = np.lexsort((inside, -scores[inside]))[:depth]
    return [int(at) for at in inside[order]]


def _listed(scores: Vectors, at: int, best: Sequence[int]) -> ListSignals:
    return list_signals(float(scores[at]), [float(scores[other]) for other in best])
