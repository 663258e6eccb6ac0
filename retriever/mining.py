"""Hard negatives for graded lists, mined from what the present retriever finds. Training on them lives in `training`.

An unlabelled passage that a retriever ranks high is often a positive nobody has judged, so only those count that score
below the query's weakest known positive by a margin, and how many nobody judged is always reported.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retriever.training_lists import is_negative, passage_names, text_key
from retriever.types import GradedList, Hit, LabelledPassage

_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class MinedLists:
    """Lists with the mined negatives behind their own passages, and what became of the hits.

    added: passages added over all lists. unlabelled: how many of them nobody judged for the query; the rest were graded
    0 in another of its lists. too_near: unlabelled hits left out because they score above the margin. without_limit:
    lists left as they were because no score of a positive is known.
    """

    lists: tuple[GradedList, ...]
    added: int
    unlabelled: int
    too_near: int
    without_limit: int


def mine_negatives(
    lists: Sequence[GradedList],
    *,
    hits: Mapping[str, Sequence[Hit]],
    texts: Mapping[str, str],
    per_query: int,
    relevant_from: float,
    margin: float = 0.05,
    weight: float = 1.0,
    positive_scores: Mapping[tuple[str, str], float] | None = None,
    known: Sequence[GradedList] = (),
    fill_to: int | None = None,
) -> MinedLists:
    """Each list with its per_query best hits, graded 0, that lie below its weakest positive s by more than margin·|s|.

    fill_to: no list gets more than it needs to have so many passages, one that has them none; None is no such limit.

    hits: for a query id, what the present retriever finds, best first, scores as cosines. texts: passage id -> text;
    hits without one are left out. weight: of a passage that nobody judged, above 0; one graded 0 elsewhere keeps its
    own. positive_scores: (query id, passage id) -> cosine of the same retriever, for positives that are not among the
    hits (`score_positives`). known: further lists, say of other stages, whose labels count but which are not added to.

    A hit with a label of any list of the query is never mined, except one graded 0 there. Two texts that differ in
    white space or case only are one passage. The weakest positive is the one that scores lowest of all whose score is
    known; if one is not known, it scores at most as much as the last hit, and that is taken.
    Raises: ValueError for per_query below 1, a margin outside [0, 1) or a weight not above 0.
    Source: relative_margin of sentence-transformers' mine_hard_negatives; measured against the weakest positive instead
    of the row's one, our choice.
    """
    if per_query < 1:
        raise ValueError(f"per_query is {per_query}; it must be 1 or more")
    if not 0 <= margin < 1:
        raise ValueError(f"margin is {margin}; it must be in [0, 1)")
    if not weight > 0:
        raise ValueError(f"weight is {weight}; it must be above 0")
    labels = _labels([*lists, *known])
    counts: Counter[str] = Counter()
    mined: list[GradedList] = []
    for graded in lists:
        room = per_query if fill_to is None else min(per_query, fill_to - len(graded.passages))
        if room < 1:
            mined.append(graded)
            continue
        found = hits.get(graded.query_id, ())
        weakest = _weakest(graded, labels, found, relevant_from=relevant_from, scores=positive_scores or {})
        if weakest is None:
            counts["without_limit"] += 1
            mined.append(graded)
            continue
        limit = weakest - margin * abs(weakest)
        own = labels[text_key(graded.query)]
        taken = set(passage_names(graded.passages))
        added: list[LabelledPassage] = []
        for hit in found:
            if len(added) == room:
                break
            text = texts.get(hit.passage_id)
            names = None if text is None else passage_names([LabelledPassage(hit.passage_id, text, 0)])
            if text is None or names is None or not taken.isdisjoint(names):
                continue
            judged = [own[name] for name in names if name in own]
            if judged and not all(is_negative(label) for label in judged):
                continue
            if not judged and hit.score >= limit:
                counts["too_near"] += 1
                continue
            taken |= names
            counts["unlabelled"] += not judged
            added.append(
                replace(judged[0], passage_id=hit.passage_id, text=text)
                if judged
                else LabelledPassage(hit.passage_id, text, 0, weight=weight)
            )
        counts["added"] += len(added)
        mined.append(replace(graded, passages=(*graded.passages, *added)))
    return MinedLists(
        lists=tuple(mined),
        added=counts["added"],
        unlabelled=counts["unlabelled"],
        too_near=counts["too_near"],
        without_limit=counts["without_limit"],
    )


def exact_hits(
    query_vectors: Mapping[str, NDArray[np.float32]],
    *,
    passage_ids: Sequence[str],
    passage_vectors: NDArray[np.float32],
    depth: int,
) -> dict[str, list[Hit]]:
    """The depth best passages of each query by dot product, equal scores by position; for vectors without an index.

    query_vectors: query id -> (dim,) float32, L2-normalised. passage_vectors: (n, dim) float32, L2-normalised, may be a
    memory map; it is read in blocks. Raises: ValueError for a depth below 1 or ids that do not match the vectors.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}; it must be 1 or more")
    if len(passage_ids) != len(passage_vectors):
        raise ValueError(f"there are {len(passage_ids)} passage ids and {len(passage_vectors)} vectors: must be equal")
    if not query_vectors:
        return {}
    queries = np.stack(list(query_vectors.values()))
    scores = np.empty((len(queries), 0), dtype=np.float32)
    positions = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(passage_vectors), _BLOCK):
        block = queries @ np.asarray(passage_vectors[start : start + _BLOCK]).T
        scores = np.concatenate([scores, block], axis=1)
        at = np.arange(start, start + block.shape[1])
        positions = np.concatenate([positions, np.broadcast_to(at, block.shape)], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]  # earlier blocks stand first
        scores = np.take_along_axis(scores, best, axis=1)
        positions = np.take_along_axis(positions, best, axis=1)
    return {
        query_id: [
            Hit(passage_id=passage_ids[at], rank=rank, score=float(score))
            for rank, (at, score) in enumerate(zip(row, values, strict=True), start=1)
        ]
        for query_id, row, values in zip(query_vectors, positions, scores, strict=True)
    }


def score_positives(
    lists: Sequence[GradedList],
    *,
    query_vectors: Mapping[str, NDArray[np.float32]],
    passage_ids: Sequence[str],
    passage_vectors: NDArray[np.float32],
    relevant_from: float,
) -> dict[tuple[str, str], float]:
    """(query id, passage id) -> dot product of every positive whose query and passage have a vector.

    The vectors are those of `exact_hits`.
    """
    position = {passage_id: at for at, passage_id in enumerate(passage_ids)}
    return {
        (graded.query_id, passage.passage_id): float(
            query_vectors[graded.query_id] @ passage_vectors[position[passage.passage_id]]
        )
        for graded in lists
        if graded.query_id in query_vectors
        for passage in graded.passages
        if passage.grade >= relevant_from and passage.passage_id in position
    }


def _labels(lists: Sequence[GradedList]) -> dict[str, dict[str, LabelledPassage]]:
    """For each query text, the label of each passage by id and by text; of several the highest."""
    labels: dict[str, dict[str, LabelledPassage]] = {}
    for graded in lists:
        own = labels.setdefault(text_key(graded.query), {})
        for passage in graded.passages:
            for name in passage_names([passage]):
                if name not in own or passage.grade > own[name].grade:
                    own[name] = passage
    return labels


def _weakest(
    graded: GradedList,
    labels: Mapping[str, Mapping[str, LabelledPassage]],
    hits: Sequence[Hit],
    *,
    relevant_from: float,
    scores: Mapping[tuple[str, str], float],
) -> float | None:
    """The score of the query's weakest positive, None where nothing bounds it."""
    if not hits:
        return None
    found = {hit.passage_id: hit.score for hit in hits}
    own = labels[text_key(graded.query)].values()
    positives = {label.passage_id for label in own if label.grade >= relevant_from}
    known = [
        found.get(passage_id, scores.get((graded.query_id, passage_id), min(found.values())))
        for passage_id in positives
    ]
    return min(known, default=None)
