"""How much of a training's change is kept: several points between the base and the trained weights, scored on lists put
aside. How the lists are put aside is in `unseen_slice`, how weights are mixed in `learning_weights`."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from retriever.learning_weights import Weights, interpolate, snapshot
from retriever.training_lists import text_key
from retriever.types import GradedList, TrainingSettings

PARTS = (1.0, 0.5, 0.25)
"""What is tried of settings.keep; our choice."""

MOST_QUERIES = 500
OTHERS_PER_PASSAGE = 4
MOST_OTHERS = 1000
"""Bounds of what is encoded for each point tried; our choice. With a tenth of the lists put aside the choice takes, by
the count of passes, about a tenth of the training's time for thousands of lists and half of it for hundreds."""

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class UnseenPool:
    """Queries put aside and the passages they are ranked among. grades: for each query, position of a passage -> grade;
    the rest counts as grade 0."""

    queries: tuple[str, ...]
    passages: tuple[str, ...]
    grades: tuple[Mapping[int, float], ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """The part of the change to keep, its score, and whether that is below the base model's."""

    keep: float
    score: float
    below_base: bool


def keep_best(
    model: SentenceTransformer,
    *,
    base: Weights,
    pool: UnseenPool,
    settings: TrainingSettings,
    poll: Callable[[], None],
) -> tuple[dict[str, float], float]:
    """Leaves the model at the part of its change that is to be kept; returns the figures found and that part.

    base: the changing weights before the training. pool: of `make_pool`; without queries settings.keep is kept. poll:
    called between chunks of texts, so that a caller can stop by raising.
    Figures, all floats: queries and passages of the pool; nDCG@10, in [0, 1], of the "base" model, of each "keep P"
    and of the one "chosen"; "below_base", 1 or 0. Empty when settings.unseen_share is 0, only "queries" 0 when nothing
    could be put aside.
    """
    tuned = snapshot(model, list(base))
    if not pool.queries:
        interpolate(model, base=base, tuned=tuned, keep=settings.keep)
        return ({"queries": 0.0} if settings.unseen_share else {}), settings.keep

    def score(keep: float) -> float:
        interpolate(model, base=base, tuned=tuned, keep=keep)
        queries, passages = (
            _encode(model, texts, bf16=settings.bf16, poll=poll) for texts in (pool.queries, pool.passages)
        )
        return mean_ndcg(queries @ passages.T, pool.grades)

    before = score(0.0)
    scores = {settings.keep * part: score(settings.keep * part) for part in PARTS}
    chosen = choose_keep(scores, base=before)
    interpolate(model, base=base, tuned=tuned, keep=chosen.keep)
    figures = {"queries": float(len(pool.queries)), "passages": float(len(pool.passages)), "base": before}
    figures |= {f"keep {keep:g}": value for keep, value in scores.items()}
    return figures | {"chosen": chosen.score, "below_base": float(chosen.below_base)}, chosen.keep


def make_pool(aside: Sequence[GradedList], trained: Sequence[GradedList], *, seed: int) -> UnseenPool:
    """The put-aside queries over all their passages and some, drawn by the seed, of those trained on.

    Of more than MOST_QUERIES queries a draw is taken. Lists of one query are one; where they grade a passage
    differently the later list holds. The others are at most OTHERS_PER_PASSAGE for each passage put aside and at most
    MOST_OTHERS; no text is in the pool twice.
    """
    draw = random.Random(seed)
    by_query: dict[str, list[GradedList]] = {}
    for graded in aside:
        by_query.setdefault(text_key(graded.query), []).append(graded)
    keys = list(by_query)
    if len(keys) > MOST_QUERIES:
        keys = [keys[at] for at in sorted(draw.sample(range(len(keys)), MOST_QUERIES))]
    columns: dict[str, int] = {}
    texts: list[str] = []
    grades: list[Mapping[int, float]] = []
    for key in keys:
        own: dict[int, float] = {}
        for graded in by_query[key]:
            for passage in graded.passages:
                own[_column(passage.text, columns, texts)] = passage.grade
        grades.append(own)
    others = {text_key(passage.text): passage.text for graded in trained for passage in graded.passages}
    unused = [text for key, text in others.items() if key not in columns]
    for text in draw.sample(unused, min(len(unused), MOST_OTHERS, OTHERS_PER_PASSAGE * len(texts))):
        _column(text, columns, texts)
    return UnseenPool(
        queries=tuple(by_query[key][-1].query for key in keys), passages=tuple(texts), grades=tuple(grades)
    )


def mean_ndcg(scores: NDArray[np.float32], grades: Sequence[Mapping[int, float]]) -> float:
    """nDCG@10 of rankings by score, (n_queries, n_passages), mean over the queries, in [0, 1]; the gain is the grade.

    Equal scores are ordered by position. A query without a grade above 0 counts 0. Source: Järvelin & Kekäläinen 2002
    with gain g and discount log2(rank + 1), as ir_measures' nDCG.
    """
    discounts = 1 / np.log2(np.arange(2, 12))
    values: list[float] = []
    for row, own in zip(scores, grades, strict=True):
        top = np.argsort(-row, kind="stable")[:10]
        gains = np.array([own.get(int(at), 0.0) for at in top])
        ideal = np.sort(np.fromiter(own.values(), dtype=float))[::-1][:10]
        best = float(ideal @ discounts[: len(ideal)])
        values.append(float(gains @ discounts[: len(gains)]) / best if best > 0 else 0.0)
    return float(np.mean(values))


def choose_keep(scores: Mapping[float, float], *, base: float) -> Kept:
    """The best of the points tried (part kept -> score), the largest of equally good ones; if all are below the base
    model's score, still the best, the smallest of equally good ones, and marked. Source: our choice."""
    best = max(scores.values())
    equal = [keep for keep, score in scores.items() if score == best]
    return Kept(keep=max(equal) if best >= base else min(equal), score=best, below_base=best < base)


def _column(text: str, columns: dict[str, int], texts: list[str]) -> int:
    key = text_key(text)
    if key not in columns:
        columns[key] = len(texts)
        texts.append(text)
    return columns[key]


def _encode(
    model: SentenceTransformer, texts: Sequence[str], *, bf16: bool, poll: Callable[[], None]
) -> NDArray[np.float32]:
    vectors: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), _CHUNK):
        poll()
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
            chunk = model.encode(
                list(texts[start : start + _CHUNK]),
                batch_size=64,
                show_progress_bar=False,
                normalize_embeddings=True,
                convert_to_tensor=True,
            )
        vectors.append(chunk.float().cpu().numpy())
    return np.concatenate(vectors)
