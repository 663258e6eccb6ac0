"""Labelled queries to train on and judged queries to measure on, from the public sets, as the retrain benches use them.

Which figures are test figures is said by the name of a set; splitting the training side is here too, so that a recipe
can be chosen before a test split is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.public_data import by_query, read_passages, read_qrels, read_queries
from bench.retrieval_pools import base_model, encode
from bench.self_label_sets import SHIPPED
from retriever.types import GradedList, LabelledPassage
from retriever.unseen_slice import split_unseen

MAX_LENGTH = 256
SPLIT_SEED = 20
TRECDL_SETS = ("dl19_dl20", "dl20_dl19")
TEST_SETS = ("scifact", "scifact_disjoint", "msrd", "msrd_disjoint", *TRECDL_SETS)
MSRD_LABELLED_QUERIES = 2000
MSRD_TEST_QUERIES = 1000
UNSEEN_SHARE = 0.2
SEEN_SHARE = 0.2

Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class RetrainingSet:
    """Labels, and what is judged by people to measure the result on.

    texts: of all passages, in the order of `vectors` (n, dim) float32, the shipped model's. searched: ids of those that
    a query searches. query_vectors: the shipped model's, of labelled and judged queries. lists: the labels. judged:
    query id → passage id → grade. disjoint: no relevant passage of a judged query is relevant to a labelled one.
    """

    name: str
    texts: Mapping[str, str]
    vectors: NDArray[np.float32]
    searched: tuple[str, ...]
    queries: Mapping[str, str]
    query_vectors: Mapping[str, NDArray[np.float32]]
    lists: tuple[GradedList, ...]
    judged: Qrels
    relevant_from: int
    max_grade: int
    disjoint: bool

    @property
    def trained_positives(self) -> frozenset[str]:
        """Ids of the passages that some label calls relevant."""
        return frozenset(
            passage.passage_id
            for graded in self.lists
            for passage in graded.passages
            if passage.grade >= self.relevant_from
        )

    def seen(self) -> frozenset[str]:
        """The judged queries with a relevant passage that was trained on."""
        positives = self.trained_positives
        return frozenset(
            query_id
            for query_id, judged in self.judged.items()
            if any(grade >= self.relevant_from and passage in positives for passage, grade in judged.items())
        )


def test_set(name: str) -> RetrainingSet:
    """A set measured on a test split: scifact, scifact_disjoint, msrd, msrd_disjoint, dl19_dl20 or dl20_dl19.

    Raises: PublicDataMissing; ValueError for another name.
    """
    if name in ("scifact", "scifact_disjoint"):
        ending = name.removeprefix("scifact")
        return _open("scifact", name, labels=f"train{ending}", judgements=f"test{ending}", relevant_from=1, max_grade=1)
    if name in ("msrd", "msrd_disjoint"):
        ending = name.removeprefix("msrd")
        return _open("msrd", name, labels=f"train{ending}", judgements=f"test{ending}", relevant_from=1, max_grade=1)
    if name in TRECDL_SETS:
        before, after = name.split("_")
        return _open("trecdl", name, labels=before, judgements=after, relevant_from=2, max_grade=3)
    raise ValueError(f"there is no set {name!r}")


def training_side(chosen: RetrainingSet, *, seed: int = SPLIT_SEED) -> RetrainingSet:
    """The labels of a set split once more, its test judgements left out: an unseen slice and a random part are judged.

    So a recipe can be chosen on queries of both kinds, seen and unseen, without opening a test split.
    """
    rest, unseen = split_unseen(chosen.lists, share=UNSEEN_SHARE, seed=seed, relevant_from=chosen.relevant_from)
    drawn = np.random.default_rng(seed).permutation(len(rest))[: round(SEEN_SHARE * len(rest))]
    aside = {int(at) for at in drawn}
    measured = [*unseen, *(rest[at] for at in sorted(aside))]
    judged = {graded.query_id: _grades(graded) for graded in measured}
    lists = tuple(graded for at, graded in enumerate(rest) if at not in aside)
    searched = chosen.searched
    if chosen.name in TRECDL_SETS:
        searched = _judged_passages(chosen.texts, {graded.query_id: _grades(graded) for graded in chosen.lists})
    return replace(chosen, name=f"{chosen.name} (training side)", lists=lists, judged=judged, searched=searched)


def _grades(graded: GradedList) -> dict[str, int]:
    return {passage.passage_id: round(passage.grade) for passage in graded.passages}


def _judged_passages(texts: Mapping[str, str], judged: Qrels) -> tuple[str, ...]:
    """One year's pool: nobody judged the other year's passages for these queries."""
    own = {passage for grades in judged.values() for passage in grades}
    return tuple(passage for passage in texts if passage in own)


def _open(data: str, name: str, *, labels: str, judgements: str, relevant_from: int, max_grade: int) -> RetrainingSet:
    texts, queries = read_passages(data), read_queries(data)
    labelled = _answered(read_qrels(data, labels), relevant_from=relevant_from)
    if data == "msrd":  # a query may train in one pair of splits and be judged in the other, where recipes are chosen
        both = {query for split in ("test", "test_disjoint") for query, _ in read_qrels(data, split)}
        labelled = {query: grades for query, grades in labelled.items() if query not in both}
    judged = _answered(read_qrels(data, judgements), relevant_from=relevant_from)
    if data == "msrd":
        judged = {query: judged[query] for query in _drawn(judged, MSRD_TEST_QUERIES)}
        labelled = {query: labelled[query] for query in _drawn(labelled, MSRD_LABELLED_QUERIES)}
    vectors = encode(base_model(), passages=texts, queries=queries, max_length=MAX_LENGTH, version=SHIPPED)
    asked = [*labelled, *judged]
    return RetrainingSet(
        name=name,
        texts=texts,
        vectors=vectors.passages,
        searched=_judged_passages(texts, judged) if data == "trecdl" else tuple(texts),
        queries={query: queries[query] for query in asked},
        query_vectors={query: vectors.queries[query] for query in asked},
        lists=tuple(
            GradedList(
                query_id=query,
                query=queries[query],
                passages=tuple(LabelledPassage(passage, texts[passage], grade) for passage, grade in grades.items()),
            )
            for query, grades in labelled.items()
        ),
        judged=judged,
        relevant_from=relevant_from,
        max_grade=max_grade,
        disjoint=name.endswith("_disjoint"),
    )


def _answered(qrels: Mapping[tuple[str, str], int], *, relevant_from: int) -> dict[str, dict[str, int]]:
    """The queries with a relevant passage: without one there is nothing to learn or to measure."""
    return {query: own for query, own in by_query(qrels).items() if max(own.values()) >= relevant_from}


def _drawn(queries: Mapping[str, object], n: int) -> Sequence[str]:
    return [str(query) for query in np.random.default_rng(SPLIT_SEED).permutation(sorted(queries))[:n]]
