"""Labelled lists as rows of cached vectors, for training a query adapter: who is labelled, spared, put aside. No torch.

Which grades are positive or negative is `training_lists`' matter; what the numbers are used for, `adapter_training`'s.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from retriever.training_lists import is_negative, known_labels, text_key
from retriever.types import AdapterSettings, GradedList, LabelledPassage, TrainingStage
from retriever.unseen_slice import split_unseen

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VectorList:
    """One query and its labels as rows of vectors.

    row: of the query. passages: rows of the labelled passages, (n,); grades and weights beside them, (n,) float32.
    spared: rows of passages that are neither labelled here nor ever a negative: what any stage grades positive or weak
    for this query or one that asks the same, and the positives of queries that share a positive with it.
    """

    query_id: str
    row: int
    passages: Rows
    grades: NDArray[np.float32]
    weights: NDArray[np.float32]
    spared: Rows

    def positives(self, relevant_from: float) -> Rows:
        """Rows of the passages graded relevant_from or more."""
        return self.passages[self.grades >= relevant_from]


@dataclass(frozen=True, slots=True)
class PreparedStage:
    """One stage: its lists that can be trained on, and how; why the others cannot (reason -> lists), and how many
    labels were left out because their passage has no vector or because the stage takes one positive of a list."""

    name: str
    lists: tuple[VectorList, ...]
    epochs: int
    learning_rate: float
    loss: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    cut_passages: int = 0


@dataclass(frozen=True, slots=True)
class PreparedStages:
    """All stages made ready, and what they say of a query together.

    judged: query id -> its labels in all stages, a later stage overriding an earlier one pair by pair, to rank by; only
    queries with a positive among them. relevant: query id -> rows that any stage grades relevant for it, with all rows
    that have the same text; of every query with a list that can be trained on. asked: query id -> what it asks, equal
    for queries that ask the same.
    """

    stages: tuple[PreparedStage, ...]
    judged: Mapping[str, VectorList]
    relevant: Mapping[str, frozenset[int]]
    asked: Mapping[str, str]

    @property
    def skipped(self) -> dict[str, int]:
        """Over all stages."""
        return dict(sum((Counter(stage.skipped) for stage in self.stages), Counter()))

    @property
    def cut_passages(self) -> int:
        """Over all stages."""
        return sum(stage.cut_passages for stage in self.stages)


def prepare_stages(
    stages: Sequence[TrainingStage],
    *,
    query_rows: Mapping[str, int],
    passage_rows: Mapping[str, int],
    settings: AdapterSettings,
) -> PreparedStages:
    """The stages as rows of vectors.

    Raises: ValueError for a passage twice in a list or a grade above max_grade.
    """
    knowledge = _Knowledge(stages, passage_rows, relevant_from=settings.relevant_from)
    prepared = []
    merged: dict[str, dict[str, LabelledPassage]] = {}
    relevant: dict[str, frozenset[int]] = {}
    asked: dict[str, str] = {}

    def as_rows(query_id: str, kept: Sequence[LabelledPassage], left_out: Iterable[LabelledPassage] = ()) -> VectorList:
        passages = np.array([passage_rows[passage.passage_id] for passage in kept], dtype=np.int64)
        spared = knowledge.spared(asked[query_id]) | {passage_rows[passage.passage_id] for passage in left_out}
        return VectorList(
            query_id=query_id,
            row=query_rows[query_id],
            passages=passages,
            grades=np.array([passage.grade for passage in kept], dtype=np.float32),
            weights=np.array([passage.weight for passage in kept], dtype=np.float32),
            spared=np.array(sorted(spared.difference(passages.tolist())), dtype=np.int64),
        )

    for stage in stages:
        lists = []
        skipped: Counter[str] = Counter()
        cut = 0
        for graded in stage.lists:
            _check(graded, settings)
            asked.setdefault(graded.query_id, text_key(graded.query))
            known = [passage for passage in graded.passages if passage.passage_id in passage_rows]
            if graded.query_id in query_rows:
                merged.setdefault(graded.query_id, {}).update({passage.passage_id: passage for passage in known})
            reason = _reason_to_skip(graded, known, query_rows=query_rows, settings=settings)
            if reason:
                skipped[reason] += 1
                continue
            kept = _one_positive(known, settings) if stage.one_positive else known
            cut += len(graded.passages) - len(kept)
            trained = {passage.passage_id for passage in kept}
            left_out = [passage for passage in known if passage.passage_id not in trained]
            lists.append(as_rows(graded.query_id, kept, left_out))
            positives = [passage for passage in known if passage.grade >= settings.relevant_from]
            relevant[graded.query_id] = relevant.get(graded.query_id, frozenset()) | knowledge.rows(positives)
        prepared.append(
            PreparedStage(
                name=stage.name,
                lists=tuple(lists),
                epochs=settings.epochs if stage.epochs is None else stage.epochs,
                learning_rate=settings.learning_rate if stage.learning_rate is None else stage.learning_rate,
                loss=settings.loss if stage.loss is None else stage.loss,
                skipped=dict(skipped),
                cut_passages=cut,
            )
        )
    judged = {query_id: as_rows(query_id, list(merged[query_id].values())) for query_id in relevant}
    return PreparedStages(
        stages=tuple(prepared),
        judged={query_id: entry for query_id, entry in judged.items() if len(entry.positives(settings.relevant_from))},
        relevant=relevant,
        asked={query_id: asked[query_id] for query_id in relevant},
    )


class _Knowledge:
    """What all stages together know of each query, as rows of passages; rows of one text are one passage."""

    def __init__(
        self, stages: Sequence[TrainingStage], passage_rows: Mapping[str, int], *, relevant_from: float
    ) -> None:
        self._passage_rows = passage_rows
        self._of_text: dict[str, set[int]] = {}
        for passage in (passage for stage in stages for graded in stage.lists for passage in graded.passages):
            if passage.passage_id in passage_rows:
                self._of_text.setdefault(text_key(passage.text), set()).add(passage_rows[passage.passage_id])
        self._good: dict[str, frozenset[int]] = {}
        self._positives: dict[str, frozenset[int]] = {}
        self._holders: dict[int, list[str]] = {}
        for asked, labels in known_labels([stage.lists for stage in stages]).items():
            self._good[asked] = self.rows([label for label in labels.values() if not is_negative(label)])
            self._positives[asked] = self.rows([label for label in labels.values() if label.grade >= relevant_from])
            for row in self._positives[asked]:
                self._holders.setdefault(row, []).append(asked)

    def rows(self, passages: Iterable[LabelledPassage]) -> frozenset[int]:
        """The rows of these passages and of those with the same texts."""
        known = (passage for passage in passages if passage.passage_id in self._passage_rows)
        return frozenset(row for passage in known for row in self._of_text[text_key(passage.text)])

    def spared(self, asked: str) -> frozenset[int]:
        """The rows that are no negatives of a query."""
        related = {other for row in self._positives[asked] for other in self._holders[row]}
        return self._good[asked].union(*(self._positives[other] for other in related))


@dataclass(frozen=True, slots=True)
class Aside:
    """Lists put aside to choose by; query_ids, at least theirs, lets every stage leave them out.

    unseen: none of the passages that any stage calls relevant for them is trained on in any. seen: their relevant
    passages are trained on by other lists. cold: rows of relevant passages whose labels every list trained on must
    drop, because the lists put aside as unseen share them with the rest; their own other positives are dropped too.
    """

    unseen: tuple[VectorList, ...]
    seen: tuple[VectorList, ...]
    cold: frozenset[int]
    query_ids: frozenset[str]


def put_aside(
    stages: Sequence[TrainingStage], prepared: PreparedStages, *, seen_share: float, settings: AdapterSettings
) -> Aside:
    """An unseen and a seen slice of the lists, as settings.unseen_share, seen_share and the seed say.

    The lists that a query has in several stages are on one side, and so is whoever shares a relevant passage with any
    of them. Where the lists hang together so closely that `split_unseen` finds less than half of what it should,
    queries whose positives are shared least are put aside, and the labels of their positives are dropped from the rest
    ("cold" passages). Our choice.
    """
    draw = np.random.default_rng(settings.seed)
    _, apart = split_unseen(
        [entry for stage in stages for entry in stage.lists if entry.query_id in prepared.relevant],
        share=settings.unseen_share,
        seed=settings.seed,
        relevant_from=settings.relevant_from,
    )
    outside = frozenset(entry.query_id for entry in apart)
    wanted = settings.unseen_share * len(prepared.judged)
    cold: frozenset[int] = frozenset()
    if sum(query_id in outside for query_id in prepared.judged) < wanted / 2:
        outside, cold = _cold_slice(prepared, wanted=int(wanted), draw=draw)
    rest = [drop_labels(entry, cold) for query_id, entry in prepared.judged.items() if query_id not in outside]
    rest = [entry for entry in rest if len(entry.positives(settings.relevant_from))]
    seen = _seen_slice(rest, seen_share, draw, settings)
    return Aside(
        unseen=tuple(entry for query_id, entry in prepared.judged.items() if query_id in outside),
        seen=tuple(seen),
        cold=cold,
        query_ids=outside.union(entry.query_id for entry in seen),
    )


def without(lists: Sequence[VectorList], aside: Aside, *, relevant_from: float) -> list[VectorList]:
    """The lists to train on when these are put aside."""
    left = [drop_labels(entry, aside.cold) for entry in lists if entry.query_id not in aside.query_ids]
    return [entry for entry in left if len(entry.positives(relevant_from))]


def drop_labels(entry: VectorList, rows: frozenset[int]) -> VectorList:
    """The list without its labels of these passages, which are spared instead."""
    dropped = np.array([row in rows for row in entry.passages.tolist()], dtype=np.bool_)
    if not dropped.any():
        return entry
    return replace(
        entry,
        passages=entry.passages[~dropped],
        grades=entry.grades[~dropped],
        weights=entry.weights[~dropped],
        spared=np.union1d(entry.spared, entry.passages[dropped]),
    )


def _cold_slice(
    prepared: PreparedStages, *, wanted: int, draw: np.random.Generator
) -> tuple[frozenset[str], frozenset[int]]:
    """Queries whose relevant passages, of any stage, are shared least, with at least wanted judged, and those passages.

    Queries that ask the same are one. They are drawn while those that would be left without a positive stay below half
    of the rest.
    """
    members: dict[str, list[str]] = {}
    for query_id, asked in prepared.asked.items():
        members.setdefault(asked, []).append(query_id)
    groups = list(members.values())
    judged = [sum(query_id in prepared.judged for query_id in group) for group in groups]
    relevant = [frozenset().union(*(prepared.relevant[query_id] for query_id in group)) for group in groups]
    holders: dict[int, list[int]] = {}
    for at, rows in enumerate(relevant):
        for row in rows:
            holders.setdefault(row, []).append(at)
    order = draw.permutation(len(groups)).tolist()
    order.sort(key=lambda at: sum(len(holders[row]) - 1 for row in relevant[at]))
    left = [len(rows) for rows in relevant]
    chosen: list[int] = []
    cold: set[int] = set()
    found = lost = 0
    for at in order:
        if found >= wanted:
            break
        fresh = relevant[at] - cold
        trial = Counter(other for row in fresh for other in holders[row] if other != at)
        newly = sum(0 < left[other] <= count for other, count in trial.items())
        if not judged[at] or lost + newly > (len(groups) - len(chosen) - 1) / 2:
            continue
        for other, count in trial.items():
            left[other] -= count
        left[at] = 0
        lost += newly
        found += judged[at]
        chosen.append(at)
        cold |= fresh
    return frozenset(query_id for at in chosen for query_id in groups[at]), frozenset(cold)


def _seen_slice(
    lists: Sequence[VectorList], share: float, draw: np.random.Generator, settings: AdapterSettings
) -> list[VectorList]:
    """A share of the lists, drawn so that every positive of theirs stays a positive of a list that is left."""
    holders = Counter(row for entry in lists for row in entry.positives(settings.relevant_from).tolist())
    chosen: list[int] = []
    for at in draw.permutation(len(lists)).tolist():
        if len(chosen) >= int(share * len(lists)):
            break
        rows = lists[at].positives(settings.relevant_from).tolist()
        if all(holders[row] > 1 for row in rows):
            holders.subtract(rows)
            chosen.append(at)
    return [lists[at] for at in sorted(chosen)]


def _check(graded: GradedList, settings: AdapterSettings) -> None:
    counts = Counter(passage.passage_id for passage in graded.passages)
    for passage in graded.passages:
        if counts[passage.passage_id] > 1:
            raise ValueError(f"query {graded.query_id!r} lists passage {passage.passage_id!r} more than once")
        if passage.grade > settings.max_grade:
            raise ValueError(
                f"query {graded.query_id!r}, passage {passage.passage_id!r}: grade {passage.grade} is above "
                f"max_grade {settings.max_grade}"
            )


def _reason_to_skip(
    graded: GradedList,
    known: Sequence[LabelledPassage],
    *,
    query_rows: Mapping[str, int],
    settings: AdapterSettings,
) -> str | None:
    if not graded.passages:
        return "empty list"
    if graded.query_id not in query_rows:
        return "query without a vector"
    if not any(passage.grade >= settings.relevant_from for passage in known):
        return "no positive"
    negatives = any(is_negative(passage) for passage in known)
    return "no negative" if not negatives and settings.corpus_negatives == 0 else None


def _one_positive(passages: Sequence[LabelledPassage], settings: AdapterSettings) -> list[LabelledPassage]:
    """The passages with only the highest, then surest, then first of the positives."""
    positives = [passage for passage in passages if passage.grade >= settings.relevant_from]
    best = max(positives, key=lambda passage: (passage.grade, passage.weight))
    return [passage for passage in passages if passage is best or passage not in positives]
