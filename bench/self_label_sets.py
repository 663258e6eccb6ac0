"""The two public sets of `bench self_label` as pools of judged pairs; what is measured on them is not here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.types import Scale
from bench.public_data import read_passages, read_qrels, read_queries, read_suggestions
from bench.retrieval_pools import PooledPair, base_model, encode, pool_candidates

Bools = NDArray[np.bool_]

LLM = "gpt-4/cot"
SHIPPED = "all-MiniLM-L6-v2"
DIRAS_SCALE = Scale(max_grade=2, relevant_from=1)
MSRD_SCALE = Scale(max_grade=1, relevant_from=1)
LEAST_INSIDE = 12
RESERVE = 400
"""Train questions of msrd from which calibration questions are drawn."""


@dataclass(frozen=True, slots=True)
class JudgedPools:
    """One data set: its candidates that people judged, in a fixed order, and what it costs to use them.

    grade: (n,) the human's. llm_wrong: (n,) whether the LLM takes the other side; all False where none was asked.
    in_reserve: (n,) the questions from which those to calibrate on are drawn, the others are the batch; None draws them
    anew from all, and the batch is the rest. n_unjudged: candidates nobody judged, left out.
    """

    name: str
    pairs: tuple[PooledPair, ...]
    grade: NDArray[np.int64]
    scale: Scale
    llm_wrong: Bools
    n_unjudged: int
    in_reserve: Bools | None
    n_fit_questions: int
    n_audits: int

    @property
    def relevant(self) -> Bools:
        """Whether people call each pair relevant."""
        return np.asarray(self.grade >= self.scale.relevant_from, dtype=np.bool_)


def diras_pools(*, own_passages: bool, max_length: int, n_audits: int, n_fit_questions: int) -> JudgedPools:
    """diras; `own_passages` lets a question search its own judged passages only, so that every candidate counts."""
    passages, queries = read_passages("diras"), read_queries("diras")
    qrels = read_qrels("diras", "test")
    live = encode(base_model(), passages=passages, queries=queries, max_length=max_length, version=SHIPPED)
    own = {query: [passage for other, passage in qrels if other == query] for query in queries}
    found = pool_candidates(passages=passages, queries=queries, live=live, among=own if own_passages else None)
    judged = [pair for pair in found if (pair.query_id, pair.passage_id) in qrels]
    said = {(row.query_id, row.passage_id): row.grade > 0 for row in read_suggestions("diras") if row.judge == LLM}
    keys = [(pair.query_id, pair.passage_id) for pair in judged]
    grade = np.array([qrels[key] for key in keys], dtype=np.int64)
    return JudgedPools(
        name="diras-60" if own_passages else "diras",
        pairs=tuple(judged),
        grade=grade,
        scale=DIRAS_SCALE,
        llm_wrong=np.array([said[key] != DIRAS_SCALE.is_relevant(qrels[key]) for key in keys], dtype=np.bool_),
        n_unjudged=len(found) - len(judged),
        in_reserve=None,
        n_fit_questions=n_fit_questions,
        n_audits=n_audits,
    )


def msrd_pools(
    *,
    batch_split: str,
    n_batch_questions: int,
    n_audits: int,
    n_fit_questions: int,
    max_length: int,
    n_films: int | None = None,
) -> JudgedPools:
    """msrd: calibration questions in reserve from the train split, the batch from another.

    n_films: only the films judged most often for train questions, and questions with at least `LEAST_INSIDE` judged
    films among them; None for all.
    """
    queries, train = read_queries("msrd"), read_qrels("msrd", "train")
    batch = read_qrels("msrd", batch_split)
    order = np.random.default_rng(1).permutation(sorted({query for query, _ in train})).tolist()
    others = np.random.default_rng(2).permutation(sorted({query for query, _ in batch})).tolist()
    passages = read_passages("msrd")
    if n_films is not None:
        often = Counter(passage for _, passage in train).most_common(n_films)
        passages = {passage: passages[passage] for passage, _ in often}
        order, others = (_inside(some, passages, qrels) for some, qrels in ((order, train), (others, batch)))
    reserve = order[:RESERVE]
    asked = {query: queries[query] for query in (*reserve, *others[:n_batch_questions])}
    qrels = {key: grade for key, grade in {**train, **batch}.items() if key[0] in asked}
    live = encode(base_model(), passages=passages, queries=asked, max_length=max_length, version=SHIPPED)
    found = pool_candidates(passages=passages, queries=asked, live=live)
    judged = [pair for pair in found if (pair.query_id, pair.passage_id) in qrels]
    kept = set(reserve)
    return JudgedPools(
        name="msrd",
        pairs=tuple(judged),
        grade=np.array([qrels[pair.query_id, pair.passage_id] for pair in judged], dtype=np.int64),
        scale=MSRD_SCALE,
        llm_wrong=np.zeros(len(judged), dtype=np.bool_),
        n_unjudged=len(found) - len(judged),
        in_reserve=np.array([pair.query_id in kept for pair in judged], dtype=np.bool_),
        n_fit_questions=n_fit_questions,
        n_audits=n_audits,
    )


def _inside(questions: Sequence[str], passages: Mapping[str, str], qrels: Mapping[tuple[str, str], int]) -> list[str]:
    """The questions with enough judged films among these, in the same order."""
    judged = Counter(query for query, passage in qrels if passage in passages)
    return [query for query in questions if judged[query] >= LEAST_INSIDE]
