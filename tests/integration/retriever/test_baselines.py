import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from retriever.bm25 import BM25Index
from retriever.evaluation import evaluate
from retriever.fusion import reciprocal_rank_fusion
from retriever.types import Hit, Passage


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def judgements(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8") as stream:
        next(stream)
        for line in stream:
            query_id, passage_id, grade = line.split("\t")
            qrels.setdefault(query_id, {})[passage_id] = int(grade)
    return qrels


@pytest.mark.parametrize(
    ("data_set", "split"), [("scifact", "test"), ("cranfield", "test"), ("trecdl", "dl19"), ("msrd", "test")]
)
def test_bm25_reaches_the_published_baseline(shared_data: Path, tmp_path: Path, data_set: str, split: str) -> None:
    """A lexical search a few points off still looks right and skews every comparison made with it."""
    folder = shared_data / data_set
    queries = {row["_id"]: row["text"] for row in rows(folder / "queries.jsonl")}
    qrels = dict(list(judgements(folder / "qrels" / f"{split}.tsv").items())[: 1000 if data_set == "msrd" else None])
    passages = (Passage(row["_id"], row["title"], row["text"]) for row in rows(folder / "corpus.jsonl"))
    index = BM25Index.build(tmp_path / "index", passages)
    found = index.search([queries[query_id] for query_id in qrels], 100)
    measured = evaluate(dict(zip(qrels, found, strict=True)), qrels, relevant_from=1).measures["nDCG@10"]
    name = "msrd/test, first 1000 queries" if data_set == "msrd" else f"{data_set}/{split}"
    baselines = json.loads((shared_data / "baselines.json").read_text(encoding="utf-8"))["ndcg_at_10"]
    assert measured == pytest.approx(baselines[name]["bm25"], abs=0.001)


def test_fusing_a_ranking_with_itself_keeps_its_order_and_its_score(shared_data: Path, tmp_path: Path) -> None:
    """Fusion that disturbs what all systems agree on would be worse than each of them."""
    folder = shared_data / "cranfield"
    passages = (Passage(row["_id"], row["title"], row["text"]) for row in rows(folder / "corpus.jsonl"))
    index = BM25Index.build(tmp_path / "index", passages)
    for hits in index.search([row["text"] for row in rows(folder / "queries.jsonl")], 100):
        fused = reciprocal_rank_fusion({"one": hits, "two": hits}, depth=100)
        assert [Hit(hit.passage_id, hit.rank, 0) for hit in fused] == [Hit(hit.passage_id, hit.rank, 0) for hit in hits]
