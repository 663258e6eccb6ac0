"""What is compared in `bench.retrain`: ways to rank the judged queries of a set, most of them after training on labels.

Every training arm gets the same labels and reports how many texts its encoder read while it trained. Measured is the
ranking of the set's searched passages by cosine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from bench.retraining_sets import MAX_LENGTH, RetrainingSet
from bench.retrieval_pools import base_model
from retriever.types import AdapterSettings, GradedList, Hit, LabelledPassage, Passage, TrainingSettings, TrainingStage

DEPTH = 100
MINED_NEGATIVES = 3
"""What the library mines for a row unless told otherwise."""

MINED_PER_LIST = 6
TRAINED_LENGTH = 128
MEASURED_WITH: Literal["openvino"] = "openvino"
Run = Mapping[str, Sequence[Hit]]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a retriever is retrained: the encoder, then a query adapter on the new vectors; None leaves a part out."""

    full: TrainingSettings | None
    adapter: AdapterSettings | None


@dataclass(frozen=True, slots=True)
class Trained:
    """A ranking of the judged queries, how many texts the encoder read in training, and how long that took.

    encoder_alone: the ranking by the trained encoder without the adapter that was trained on top of it.
    """

    run: Run
    encoded: int
    seconds: float
    notes: Mapping[str, float]
    encoder_alone: Run | None = None


def zero_shot(chosen: RetrainingSet) -> Run:
    """The shipped model as it is."""
    return _rank(chosen, _shipped_vectors(chosen), chosen.query_vectors)


def bm25(chosen: RetrainingSet) -> Run:
    """Lexical search."""
    from retriever.bm25 import BM25Index

    with tempfile.TemporaryDirectory() as folder:
        index = BM25Index.build(
            Path(folder), (Passage(passage, "", chosen.texts[passage]) for passage in chosen.searched)
        )
        found = index.search([chosen.queries[query] for query in chosen.judged], DEPTH)
    return dict(zip(chosen.judged, found, strict=True))


def fused(runs: Mapping[str, Run]) -> Run:
    """Reciprocal rank fusion of several runs."""
    from retriever.fusion import reciprocal_rank_fusion

    queries = next(iter(runs.values()))
    return {
        query: [
            Hit(hit.passage_id, hit.rank, hit.score)
            for hit in reciprocal_rank_fusion({name: run[query] for name, run in runs.items()}, depth=DEPTH)
        ]
        for query in queries
    }


def ours(chosen: RetrainingSet, recipe: Recipe, *, seed: int, max_texts: int) -> Trained:
    """The product's training: mined negatives where a list has too few, the encoder, then the query adapter.

    The texts counted are those that the encoder is trained on; for the adapter it encodes each labelled query once.

    max_texts: most texts that the encoder may read in training; the lists are then a seeded part of those there are.
    """
    from retriever.adapter import QueryAdapter
    from retriever.adapter_training import train_adapter
    from retriever.training import train

    started, encoded, notes, encoder_alone = time.monotonic(), 0, dict[str, float](), None
    vectors, queries = _shipped_vectors(chosen), dict(chosen.query_vectors)
    with tempfile.TemporaryDirectory() as scratch:
        if recipe.full is not None:
            settings = replace(recipe.full, seed=seed, relevant_from=chosen.relevant_from, max_grade=chosen.max_grade)
            lists = _within(_with_negatives(chosen, settings), settings, max_texts=max_texts, seed=seed)
            model = Path(scratch) / "model"
            report = train(
                base_model=base_model(),
                stages=[TrainingStage("labels", tuple(lists))],
                settings=settings,
                output=model,
            )
            encoded += settings.passes(len(lists)) * _count_texts(lists, settings)
            notes |= {"keep": report.keep, **{f"encoder {name}": value for name, value in report.unseen.items()}}
            seconds = time.monotonic() - started
            ids = chosen.searched if recipe.adapter is None else _wanted(chosen)
            vectors, queries = _encode_again(chosen, model, ids)
            encoder_alone = _rank(chosen, vectors, queries)
            started = time.monotonic() - seconds
        if recipe.adapter is not None:
            adapter = Path(scratch) / "adapter"
            report = train_adapter(
                stages=[TrainingStage("labels", chosen.lists)],
                query_vectors=queries,
                passage_ids=_wanted(chosen),
                passage_vectors=vectors,
                settings=replace(
                    recipe.adapter, seed=seed, relevant_from=chosen.relevant_from, max_grade=chosen.max_grade
                ),
                output=adapter,
            )
            notes |= {f"adapter {name}": value for name, value in report.unseen.items()}
            moved = QueryAdapter.load(adapter).apply(np.stack([queries[query] for query in chosen.judged]))
            queries.update(zip(chosen.judged, moved, strict=True))
    return Trained(_rank(chosen, vectors, queries), encoded, time.monotonic() - started, notes, encoder_alone)


def library_default(chosen: RetrainingSet, *, seed: int, max_texts: int, learning_rate: float, epochs: int) -> Trained:
    """sentence-transformers' own way: MultipleNegativesRankingLoss, one positive a row, negatives that it mines itself.

    max_texts: as many texts as our arm's encoder read; the rows are then a seeded part of those there are.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers
    from sentence_transformers.util import mine_hard_negatives

    from retriever.encoder import load_sentence_transformer
    from retriever.quiet import quiet_transformers

    rows = [
        {"anchor": graded.query, "positive": passage.text}
        for graded in chosen.lists
        for passage in graded.passages
        if passage.grade >= chosen.relevant_from
    ]
    fit = max_texts // ((2 + MINED_NEGATIVES) * epochs)
    rows = [rows[at] for at in sorted(np.random.default_rng(seed).permutation(len(rows))[:fit].tolist())]
    with quiet_transformers(), tempfile.TemporaryDirectory() as scratch:
        model = load_sentence_transformer(base_model(), device="cpu")
        mined = mine_hard_negatives(
            Dataset.from_list(rows),
            _Remembered(chosen),
            corpus=[chosen.texts[passage] for passage in chosen.searched],
            num_negatives=MINED_NEGATIVES,
            relative_margin=0.05,
            output_format="n-tuple",
            verbose=False,
        )
        started = time.monotonic()
        model.max_seq_length = TRAINED_LENGTH
        SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=scratch,
                num_train_epochs=epochs,
                per_device_train_batch_size=16,
                learning_rate=learning_rate,
                warmup_steps=0.1,
                batch_sampler=BatchSamplers.NO_DUPLICATES,
                seed=seed,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=mined,
            loss=MultipleNegativesRankingLoss(model),
        ).train()
        seconds = time.monotonic() - started
        model.max_seq_length = MAX_LENGTH
        model.save(f"{scratch}/model", create_model_card=False)
        vectors, queries = _encode_again(chosen, Path(scratch) / "model", chosen.searched)
    return Trained(
        _rank(chosen, vectors, queries), epochs * len(mined) * (2 + MINED_NEGATIVES), seconds, {"rows": len(mined)}
    )


class _Remembered(SentenceTransformer):
    """The shipped model for mining, giving the vectors that are there: the library would encode all once more."""

    def __init__(self, chosen: RetrainingSet) -> None:
        super().__init__(str(base_model()), device="cpu")
        self._known = {text: chosen.vectors[at] for at, text in enumerate(chosen.texts.values())}
        self._known |= {chosen.queries[query]: vector for query, vector in chosen.query_vectors.items()}

    def encode(self, inputs: Sequence[str], **_: Any) -> Vectors:  # type: ignore[override]
        """The remembered vectors, (n, dim) float32."""
        return np.stack([self._known[text] for text in inputs])


def _with_negatives(chosen: RetrainingSet, settings: TrainingSettings) -> list[GradedList]:
    """The lists, hardest negatives first, with mined ones below the positives by the margin where room is left."""
    from retriever.mining import mine_negatives, score_positives

    ids, vectors = _wanted(chosen), _shipped_vectors(chosen)
    short = [graded for graded in chosen.lists if len(graded.passages) < settings.list_size]
    asked = {graded.query_id: chosen.query_vectors[graded.query_id] for graded in short}
    hits = _rank(chosen, vectors, asked, among=list(asked))
    mined = mine_negatives(
        short,
        hits=hits,
        texts=chosen.texts,
        per_query=MINED_PER_LIST,
        relevant_from=chosen.relevant_from,
        margin=settings.in_batch_margin,
        positive_scores=score_positives(
            short,
            query_vectors=asked,
            passage_ids=ids,
            passage_vectors=vectors,
            relevant_from=chosen.relevant_from,
        ),
    )
    longer = {graded.query_id: graded for graded in mined.lists}
    position = {passage: at for at, passage in enumerate(ids)}
    return [_hardest_first(chosen, longer.get(graded.query_id, graded), vectors, position) for graded in chosen.lists]


def _hardest_first(
    chosen: RetrainingSet, graded: GradedList, vectors: Vectors, position: Mapping[str, int]
) -> GradedList:
    """Positives before the others, each by the shipped model's score, as the product orders a list by rank."""
    query = chosen.query_vectors[graded.query_id]

    def order(passage: LabelledPassage) -> tuple[bool, float]:
        return passage.grade < chosen.relevant_from, -float(query @ vectors[position[passage.passage_id]])

    return replace(graded, passages=tuple(sorted(graded.passages, key=order)))


def _within(lists: Sequence[GradedList], settings: TrainingSettings, *, max_texts: int, seed: int) -> list[GradedList]:
    """A seeded part of the lists, as many as fit; the hardest negatives of a long list first."""
    chosen: list[GradedList] = []
    left = max_texts / settings.passes(len(lists))
    for at in np.random.default_rng(seed).permutation(len(lists)).tolist():
        left -= _count_texts([lists[at]], settings)
        if left < 0:
            break
        chosen.append(lists[at])
    return chosen


def _count_texts(lists: Sequence[GradedList], settings: TrainingSettings) -> int:
    """Texts that the encoder reads in one epoch: the query and the passages that a list keeps."""
    return sum(1 + min(len(graded.passages), settings.list_size) for graded in lists)


def _wanted(chosen: RetrainingSet) -> list[str]:
    """The passages searched, then the labelled ones that are not among them."""
    labelled = {passage.passage_id for graded in chosen.lists for passage in graded.passages}
    return [*chosen.searched, *sorted(labelled.difference(chosen.searched))]


def _shipped_vectors(chosen: RetrainingSet) -> Vectors:
    position = {passage: at for at, passage in enumerate(chosen.texts)}
    return np.ascontiguousarray(chosen.vectors[[position[passage] for passage in _wanted(chosen)]])


def _encode_again(chosen: RetrainingSet, model: Path, ids: Sequence[str]) -> tuple[Vectors, dict[str, Vectors]]:
    """The vectors that a trained model gives these passages and all queries."""
    from retriever.encoder import Encoder

    encoder = Encoder.load(model, max_length=MAX_LENGTH, device="cpu", backend=MEASURED_WITH)
    queries = encoder.encode_queries(list(chosen.queries.values()))
    passages = encoder.encode([chosen.texts[passage] for passage in ids])
    return passages, dict(zip(chosen.queries, queries, strict=True))


def _rank(
    chosen: RetrainingSet,
    vectors: Vectors,
    queries: Mapping[str, Vectors],
    among: Sequence[str] | None = None,
) -> Run:
    """The DEPTH best of the searched passages, whose vectors come first, for each judged query (or those named)."""
    from retriever.mining import exact_hits

    return exact_hits(
        {query: queries[query] for query in (chosen.judged if among is None else among)},
        passage_ids=chosen.searched,
        passage_vectors=vectors[: len(chosen.searched)],
        depth=DEPTH,
    )
