"""Encoding passages at least 2.5 times as fast as plain sentence-transformers, with the same rankings?

Passages of trecdl are encoded in blocks by three in turn: our encoder with the backend that its own measurement
chooses, `SentenceTransformer.encode` as it comes, and the same under bf16 autocast. A full run also ranks scifact with
our vectors and with plain ones, without training, and compares nDCG@10.
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
    """What was measured; full: 2,000 passages in 8 blocks and scifact, quick: 320 in 2 blocks."""
    return (
        measure(n=320, n_blocks=2, sample=48, rank=False)
        if quick
        else measure(n=2_000, n_blocks=8, sample=128, rank=True)
    )


def measure(*, n: int, n_blocks: int, sample: int, rank: bool) -> Result:
    """What was measured on n passages in blocks; sample: passages the backend is chosen on; rank: scifact too."""
    texts = list(read_passages("trecdl").values())
    random.Random(SEED).shuffle(texts)
    ours, plain, encoder, measured = _encoders(texts[n : n + sample])
    ways: dict[str, Encode] = {"ours": ours, "plain": plain, "plain_bf16": _under_autocast(plain)}
    seconds, least = _in_turns(ways, texts[:n], n_blocks=n_blocks)
    speeds = {name: n / sum(taken) for name, taken in seconds.items()}
    ratios = [slow / fast for slow, fast in zip(seconds["plain"], seconds["ours"], strict=True)]
    to_bf16 = [slow / fast for slow, fast in zip(seconds["plain_bf16"], seconds["ours"], strict=True)]
    figures: dict[str, Json] = {
        "passages": n,
        "backend": encoder.backend,
        "measured": {figure.backend: figure.texts_per_second for figure in measured},
        "passages_a_second": speeds,
        "ratio_to_plain": speeds["ours"] / speeds["plain"],
        "ratio_to_plain_by_block": ratios,
        "ratio_to_plain_median": statistics.median(ratios),
        "ratio_to_plain_bf16": speeds["ours"] / speeds["plain_bf16"],
        "ratio_to_plain_bf16_by_block": to_bf16,
        "least_cosine_to_plain": least,
    }
    lines = [
        f"{n:,} passages of trecdl in {n_blocks} blocks, {MAX_LENGTH} tokens at most; chosen: {encoder.backend}",
        *(f"{name:<11}{speed:8.1f} passages/s" for name, speed in speeds.items()),
        f"ours/plain {speeds['ours'] / speeds['plain']:.2f} (blocks {min(ratios):.2f} to {max(ratios):.2f}), "
        f"ours/plain bf16 {speeds['ours'] / speeds['plain_bf16']:.2f} ({min(to_bf16):.2f} to {max(to_bf16):.2f})",
        f"least cosine to plain {least['ours']:.5f} (plain bf16: {least['plain_bf16']:.5f})",
    ]
    holds = speeds["ours"] / speeds["plain"] >= RATIO and least["ours"] >= PARITY
    if rank:
        scores = _scifact({"ours": ours, "plain": plain}, backend=encoder.backend)
        effect = scores["ours"] - scores["plain"]
        figures |= {"scifact_ndcg@10": scores, "scifact_effect": effect}
        lines.append(f"scifact nDCG@10 {scores['ours']:.4f} ours, {scores['plain']:.4f} plain: {effect:+.4f}")
        holds = holds and abs(effect) <= EFFECT
    return Result(name="encode", holds=holds, target=TARGET, figures=figures, lines=tuple(lines))


def _encoders(sample: Sequence[str]) -> tuple[Encode, Encode, Encoder, Sequence[BackendFigure]]:
    """Ours with the backend it chooses on the sample, and plain sentence-transformers, a model of its own each."""
    from retriever.encoder import Encoder, load_sentence_transformer

    encoder = Encoder.load(base_model(), max_length=MAX_LENGTH, device="cpu")
    measured = encoder.use_fastest(sample)
    model = load_sentence_transformer(base_model(), max_length=MAX_LENGTH, device="cpu")

    def plain(texts: Sequence[str]) -> Vectors:
        return np.asarray(model.encode(list(texts), normalize_embeddings=True), dtype=np.float32)

    return encoder.encode, plain, encoder, measured.figures


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
        for name in names[number % 3 :] + names[: number % 3]:
            begun = time.perf_counter()
            made[name] = ways[name](block)
            seconds[name].append(time.perf_counter() - begun)
        for name in names:
            least[name] = min(least[name], float((made[name] * made["plain"]).sum(axis=1).min()))
    return seconds, least


def _scifact(ways: dict[str, Encode], *, backend: str) -> dict[str, float]:
    """nDCG@10 on scifact's test queries, zero-shot, by each way's vectors: numerics, nothing is tuned."""
    from retriever.evaluation import evaluate
    from retriever.mining import exact_hits

    qrels = by_query(read_qrels("scifact", "test"))
    passages = read_passages("scifact")
    queries = {query_id: text for query_id, text in read_queries("scifact").items() if query_id in qrels}
    ids = list(passages)
    scores = {}
    for name, encode in ways.items():
        version = f"bench encode, {name} {backend + source_hash() if name == 'ours' else ''}"
        stored, asked = (
            cached_vectors(list(texts.values()), make=encode, max_length=MAX_LENGTH, version=version)
            for texts in (passages, queries)
        )
        run = exact_hits(dict(zip(queries, asked, strict=True)), passage_ids=ids, passage_vectors=stored, depth=100)
        scores[name] = evaluate(run, qrels, relevant_from=1).measures["nDCG@10"]
    return scores
