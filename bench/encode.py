"""Encoding passages at least 2.5 times as fast as plain sentence-transformers, with the same rankings?

Passages of trecdl are encoded in blocks by four in turn: our encoder with the backend that its own measurement chooses,
the same with int8, which is never chosen by itself, `SentenceTransformer.encode` as it comes, and that under bf16
autocast. A full run also ranks scifact's passages by each of ours and by plain vectors, without training, for one set
of query vectors, and compares nDCG@10.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.kept_runs import source_hash
from bench.public_data import by_query, read_passages, read_qrels, read_queries
from bench.result import Json, Result
from bench.retrieval_pools import base_model, cached_vectors

if TYPE_CHECKING:
    from retriever.encoder import Encoder
    from retriever.encoding.measuring import BackendFigure

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]

MAX_LENGTH = 256
RATIO = 2.5
PARITY = 0.999
EFFECT = 0.002
SEED = 20261121
TARGET = (
    f"at least {RATIO:g} times the passages/s of plain SentenceTransformer.encode, every cosine at least {PARITY}, "
    f"nDCG@10 on scifact changed by at most {EFFECT:g} (full run)"
)


def run(quick: bool) -> Result:
    """What was measured; full: 2,000 passages in 8 blocks and scifact, quick: 240 in 2 blocks."""
    return (
        measure(n=240, n_blocks=2, sample=32, rank=False)
        if quick
        else measure(n=2_000, n_blocks=8, sample=128, rank=True)
    )


def measure(*, n: int, n_blocks: int, sample: int, rank: bool) -> Result:
    """What was measured on n passages in blocks; sample: passages the backend is chosen on; rank: scifact too."""
    texts = list(read_passages("trecdl").values())
    random.Random(SEED).shuffle(texts)
    ours, ours_int8, plain, measured = _encoders(texts[n : n + sample])
    ways: dict[str, Encode] = {
        "ours": ours.encode,
        "ours_int8": ours_int8.encode,
        "plain": plain,
        "plain_bf16": _under_autocast(plain),
    }
    seconds, least = _in_turns(ways, texts[:n], n_blocks=n_blocks)
    speeds = {name: n / sum(taken) for name, taken in seconds.items()}
    ratios = [slow / fast for slow, fast in zip(seconds["plain"], seconds["ours"], strict=True)]
    to_bf16 = [slow / fast for slow, fast in zip(seconds["plain_bf16"], seconds["ours"], strict=True)]
    of_int8 = [slow / fast for slow, fast in zip(seconds["plain"], seconds["ours_int8"], strict=True)]
    figures: dict[str, Json] = {
        "passages": n,
        "backend": ours.backend,
        "measured": {figure.backend: figure.texts_per_second for figure in measured},
        "passages_a_second": speeds,
        "ratio_to_plain": speeds["ours"] / speeds["plain"],
        "ratio_to_plain_by_block": ratios,
        "ratio_to_plain_median": statistics.median(ratios),
        "ratio_to_plain_bf16": speeds["ours"] / speeds["plain_bf16"],
        "ratio_to_plain_bf16_by_block": to_bf16,
        "ratio_of_int8_to_plain_by_block": of_int8,
        "ratio_of_int8_to_plain_median": statistics.median(of_int8),
        "least_cosine_to_plain": least,
    }
    lines = [
        f"{n:,} passages of trecdl in {n_blocks} blocks, {MAX_LENGTH} tokens at most; chosen: {ours.backend}",
        *(f"{name:<11}{speed:8.1f} passages/s" for name, speed in speeds.items()),
        f"ours/plain {speeds['ours'] / speeds['plain']:.2f} (blocks {min(ratios):.2f} to {max(ratios):.2f}), "
        f"ours/plain bf16 {speeds['ours'] / speeds['plain_bf16']:.2f} ({min(to_bf16):.2f} to {max(to_bf16):.2f})",
        f"by hand, not chosen: int8/plain {statistics.median(of_int8):.2f} ({min(of_int8):.2f} to {max(of_int8):.2f})",
        "least cosine to plain " + ", ".join(f"{name} {least[name]:.5f}" for name in ways if name != "plain"),
    ]
    holds = speeds["ours"] / speeds["plain"] >= RATIO and least["ours"] >= PARITY
    if rank:
        scores = _scifact({name: ways[name] for name in ("plain", "ours", "ours_int8")}, backend=ours.backend)
        effects = {name: score - scores["plain"] for name, score in scores.items() if name != "plain"}
        figures |= {"scifact_ndcg@10": scores, "scifact_effect": effects}
        lines.append(
            f"scifact nDCG@10 {scores['plain']:.4f} plain; "
            + ", ".join(f"{name} {effect:+.4f}" for name, effect in effects.items())
        )
        holds = holds and abs(effects["ours"]) <= EFFECT
    return Result(name="encode", holds=holds, target=TARGET, figures=figures, lines=tuple(lines))


def _encoders(sample: Sequence[str]) -> tuple[Encoder, Encoder, Encode, Sequence[BackendFigure]]:
    """Ours with the backend it chooses on the sample, ours in int8, and plain sentence-transformers: a model each."""
    from retriever.encoder import Encoder, load_sentence_transformer

    ours, ours_int8 = (Encoder.load(base_model(), max_length=MAX_LENGTH, device="cpu") for _ in range(2))
    measured = ours.use_fastest(sample)
    if not ours_int8.use("openvino-int8"):
        raise RuntimeError(f"int8 cannot run the default encoder: {ours_int8.refusal}")
    model = load_sentence_transformer(base_model(), max_length=MAX_LENGTH, device="cpu")

    def plain(texts: Sequence[str]) -> Vectors:
        return np.asarray(model.encode(list(texts), normalize_embeddings=True), dtype=np.float32)

    return ours, ours_int8, plain, measured.figures


def _under_autocast(plain: Encode) -> Encode:
    import torch

    def encode(texts: Sequence[str]) -> Vectors:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return plain(texts)

    return encode


def _in_turns(
    ways: dict[str, Encode], texts: Sequence[str], *, n_blocks: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each way by block, and its least cosine to the plain vectors; the order changes block by block."""
    for encode in ways.values():
        encode(texts[:8])  # what a first call sets up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    least = dict.fromkeys(ways, 1.0)
    names = list(ways)
    for number in range(n_blocks):
        block = texts[number::n_blocks]
        made = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            begun = time.perf_counter()
            made[name] = ways[name](block)
            seconds[name].append(time.perf_counter() - begun)
        for name in names:
            least[name] = min(least[name], float((made[name] * made["plain"]).sum(axis=1).min()))
    return seconds, least


def _scifact(ways: dict[str, Encode], *, backend: str) -> dict[str, float]:
    """nDCG@10 on scifact's test queries, zero-shot, by each way's passage vectors: numerics, nothing is tuned.

    All rank for the plain vectors of the queries: in the product a query is always encoded in float32.
    """
    from retriever.evaluation import evaluate
    from retriever.mining import exact_hits

    qrels = by_query(read_qrels("scifact", "test"))
    passages = read_passages("scifact")
    queries = {query_id: text for query_id, text in read_queries("scifact").items() if query_id in qrels}
    asked = dict(zip(queries, ways["plain"](list(queries.values())), strict=True))
    scores = {}
    for name, encode in ways.items():
        version = f"bench encode, {name} {'' if name == 'plain' else backend + source_hash()}"
        stored = cached_vectors(list(passages.values()), make=encode, max_length=MAX_LENGTH, version=version)
        run = exact_hits(asked, passage_ids=list(passages), passage_vectors=stored, depth=100)
        scores[name] = evaluate(run, qrels, relevant_from=1).measures["nDCG@10"]
    return scores
