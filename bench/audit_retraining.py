"""Trains on the stages of an audit campaign, at either speed, and measures on the other year's queries.

nDCG@10 by people's grades. The adapter searches the whole corpus; the full model orders each query's best `RERANKED`
of the shipped model anew, so that only these are encoded. Both are stated beside the shipped model on the same terms.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.config import settings_from
from bench.audited_labels import SCALE, Campaign
from bench.kept_runs import kept, stages_hash
from bench.public_data import read_passages, read_qrels, read_queries, read_suggestions
from bench.retrieval_pools import ModelVersion, Vectors, base_model, encode
from retriever.evaluation import evaluate
from retriever.types import AdapterSettings, Hit, TrainingSettings, TrainingStage

LLM = "gpt-4/umbrela"
SHIPPED = "all-MiniLM-L6-v2"
MAX_LENGTH = 256
RERANKED = 100
YEARS = ("dl19", "dl20")
MEASURE = "nDCG@10"
_ON_SCALE: dict[str, Any] = {"relevant_from": SCALE.relevant_from, "max_grade": SCALE.max_grade}


@dataclass(frozen=True, slots=True)
class Year:
    """One year's queries with people's judgements, to audit or to measure on. qrels: query → passage → grade."""

    name: str
    campaign: Campaign
    qrels: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Setting:
    """All that is searched and asked: passages by id, the shipped model's vectors of them and of the queries."""

    passages: Mapping[str, str]
    vectors: ModelVersion
    years: Mapping[str, Year]

    @property
    def hash(self) -> str:
        """Of the passages searched and the judgements measured by."""
        judged = {
            name: {query: dict(found) for query, found in year.qrels.items()} for name, year in self.years.items()
        }
        return hashlib.sha256(json.dumps([sorted(self.passages), judged]).encode()).hexdigest()


def load_setting(*, n_queries: int | None = None, n_pairs: int | None = None) -> Setting:
    """trecdl with GPT-4's grades; the first n_queries of a year and n_pairs drawn of each, None for all."""
    texts, queries = read_passages("trecdl"), read_queries("trecdl")
    said = {(row.query_id, row.passage_id): row.grade for row in read_suggestions("trecdl") if row.judge == LLM}
    qrels = {year: _sampled(read_qrels("trecdl", year), n_queries, n_pairs) for year in YEARS}
    wanted = {passage for judged in qrels.values() for _, passage in judged}
    passages = {passage: text for passage, text in texts.items() if n_pairs is None or passage in wanted}
    # Every query text is encoded, so that quick and full runs share the vectors.
    vectors = encode(base_model(), passages=passages, queries=queries, max_length=MAX_LENGTH, version=SHIPPED)
    position = {passage: at for at, passage in enumerate(passages)}
    years = {name: _year(name, judged, said, passages, queries, position, vectors) for name, judged in qrels.items()}
    return Setting(passages, vectors, years)


def zero_shot(setting: Setting, year: Year) -> dict[str, float]:
    """The shipped model's measure of each query of a year."""
    return _measured(setting, year, {query: setting.vectors.queries[query] for query in year.qrels})


def with_adapter(
    setting: Setting, stages: Sequence[TrainingStage], year: Year, *, settings: AdapterSettings
) -> dict[str, float]:
    """Query id → measure on a year of a query adapter trained on the stages."""
    return kept(
        ["adapter", repr(settings), stages_hash(stages), setting.hash, year.name],
        lambda: _train_adapter(setting, stages, year, settings=settings),
    )


def _train_adapter(
    setting: Setting, stages: Sequence[TrainingStage], year: Year, *, settings: AdapterSettings
) -> dict[str, float]:
    from retriever.adapter import QueryAdapter
    from retriever.adapter_training import train_adapter

    trained_on = {entry.query_id for stage in stages for entry in stage.lists}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "adapter"
        train_adapter(
            stages=stages,
            query_vectors={query: setting.vectors.queries[query] for query in sorted(trained_on)},
            passage_ids=list(setting.passages),
            passage_vectors=setting.vectors.passages,
            settings=settings,
            output=output,
        )
        adapter = QueryAdapter.load(output)
    moved = adapter.apply(np.stack([setting.vectors.queries[query] for query in year.qrels]))
    return _measured(setting, year, dict(zip(year.qrels, moved, strict=True)))


def with_full_model(
    setting: Setting, stages: Sequence[TrainingStage], year: Year, *, settings: TrainingSettings
) -> dict[str, float]:
    """Query id → measure on a year of the encoder fine-tuned on the stages, which reorders each query's best."""
    return kept(
        ["full", repr(settings), stages_hash(stages), setting.hash, year.name],
        lambda: _train_full_model(setting, stages, year, settings=settings),
    )


def _train_full_model(
    setting: Setting, stages: Sequence[TrainingStage], year: Year, *, settings: TrainingSettings
) -> dict[str, float]:
    from retriever.encoder import Encoder
    from retriever.training import train

    ids = list(setting.passages)
    found = {query: _best(setting, query, RERANKED) for query in year.qrels}
    pool = sorted({at for positions in found.values() for at in positions})
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model"
        train(base_model=base_model(), stages=stages, settings=settings, output=output)
        encoder = Encoder.load(output, max_length=MAX_LENGTH, backend="openvino")
        passages = encoder.encode([setting.passages[ids[at]] for at in pool])
        queries = encoder.encode_queries([year.campaign.queries[query] for query in year.qrels])
    return _reordered(
        year, found, ids, dict(zip(pool, passages, strict=True)), dict(zip(year.qrels, queries, strict=True))
    )


def adapter_settings(seed: int, **changes: Any) -> AdapterSettings:
    """The product's defaults on the scale of the data."""
    return replace(settings_from(Path(), {}).adapter_training(), seed=seed, **_ON_SCALE, **changes)


def full_settings(seed: int) -> TrainingSettings:
    """The product's defaults on the scale of the data."""
    return replace(settings_from(Path(), {}).full_training(), seed=seed, **_ON_SCALE)


def _measured(setting: Setting, year: Year, vectors: Mapping[str, Vectors]) -> dict[str, float]:
    ids = list(setting.passages)
    run = {}
    for query, vector in vectors.items():
        scores = setting.vectors.passages @ vector
        run[query] = _hits(ids, scores, np.argpartition(-scores, 10)[:11])
    return _per_query(run, year)


def _reordered(
    year: Year,
    found: Mapping[str, Sequence[int]],
    ids: Sequence[str],
    passages: Mapping[int, Vectors],
    queries: Mapping[str, Vectors],
) -> dict[str, float]:
    run = {}
    for query, positions in found.items():
        scores = np.stack([passages[at] for at in positions]) @ queries[query]
        run[query] = _hits([ids[at] for at in positions], scores, np.arange(len(positions)))
    return _per_query(run, year)


def _hits(ids: Sequence[str], scores: Vectors, among: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[Hit]:
    order = among[np.lexsort((among, -scores[among]))][:10]
    return [Hit(ids[at], rank, float(scores[at])) for rank, at in enumerate(order.tolist(), start=1)]


def _per_query(run: Mapping[str, Sequence[Hit]], year: Year) -> dict[str, float]:
    found = evaluate(run, year.qrels, relevant_from=SCALE.relevant_from, measures=(MEASURE,))
    return {one.query_id: one.values[MEASURE] for one in found.per_query}


def _best(setting: Setting, query: str, depth: int) -> list[int]:
    scores = setting.vectors.passages @ setting.vectors.queries[query]
    return [int(at) for at in np.argsort(-scores, kind="stable")[:depth]]


def _sampled(
    judged: Mapping[tuple[str, str], int], n_queries: int | None, n_pairs: int | None
) -> dict[tuple[str, str], int]:
    """The first queries that keep a relevant passage, with pairs drawn at random, the same each time."""
    by_query: dict[str, list[str]] = {}
    for query, passage in judged:
        by_query.setdefault(query, []).append(passage)
    kept: dict[tuple[str, str], int] = {}
    draw = np.random.default_rng(0)
    n_kept = 0
    for query, passages in by_query.items():
        some = passages if n_pairs is None else draw.permutation(passages)[:n_pairs].tolist()
        if not any(judged[query, passage] >= SCALE.relevant_from for passage in some):
            continue
        kept.update({(query, passage): judged[query, passage] for passage in some})
        n_kept += 1
        if n_kept == n_queries:
            break
    return kept


def _year(
    name: str,
    judged: Mapping[tuple[str, str], int],
    said: Mapping[tuple[str, str], int],
    passages: Mapping[str, str],
    queries: Mapping[str, str],
    position: Mapping[str, int],
    vectors: ModelVersion,
) -> Year:
    pairs = [pair for pair in judged if pair in said]
    scores = {query: vectors.passages @ vectors.queries[query] for query in {query for query, _ in pairs}}
    ranks = {}
    for query, row in scores.items():
        ranks[query] = np.empty(len(row), dtype=np.int64)
        ranks[query][np.argsort(-row, kind="stable")] = np.arange(1, len(row) + 1)
    qrels: dict[str, dict[str, int]] = {}
    for (query, passage), grade in judged.items():
        qrels.setdefault(query, {})[passage] = grade
    campaign = Campaign(
        query_ids=tuple(query for query, _ in pairs),
        passage_ids=tuple(passage for _, passage in pairs),
        proposed=np.array([said[pair] for pair in pairs], dtype=np.int64),
        human=np.array([judged[pair] for pair in pairs], dtype=np.int64),
        rank=np.array([ranks[query][position[passage]] for query, passage in pairs], dtype=np.int64),
        score=np.array([scores[query][position[passage]] for query, passage in pairs], dtype=np.float64),
        queries=queries,
        passages=passages,
    )
    return Year(name, campaign, qrels)
