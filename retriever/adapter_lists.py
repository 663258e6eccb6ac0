"""Labelled lists as rows of cached vectors, for training a query adapter: who is labelled, spared, put aside. No torch.

Which grades are positive or negative is `training_lists`' matter; what the numbers are used for, `adapter_training`'s.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retriever.training_lists import IRRELEVANT_BELOW
from retriever.types import AdapterSettings, GradedList, LabelledPassage, TrainingStage
from retriever.unseen_slice import split_unseen

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VectorList:
    """One query and its labels as rows of vectors.

    row: of the query. passages: rows of the labelled passages, (n,); grades and weights beside them, (n,) float32.
    spared: rows of passages that are neither labelled here nor ever a negative: known positives left out of the
    labels, and positives of queries that ask the same or share a positive with this one.
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
    """One stage: its lists that can be trained on, and how."""

    name: str
    lists: tuple[VectorList, ...]
    epochs: int
    learning_rate: float
    loss: str


@dataclass(frozen=True, slots=True)
class PreparedStages:
    """All stages made ready; why the other lists cannot be trained on (reason -> lists), and how many labels were left
    out because their passage has no vector or because a stage takes one positive of a list.

    judged: query id -> all labels of the query in the last stage that has it, to rank by.
    """

    stages: tuple[PreparedStage, ...]
    judged: Mapping[str, VectorList]
    skipped: Mapping[str, int]
    cut_passages: int


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
    skipped: Counter[str] = Counter()
    cut = 0
    prepared = []
    judged: dict[str, VectorList] = {}

    def as_rows(graded: GradedList, kept: Sequence[LabelledPassage], left_out: set[str]) -> VectorList:
        return VectorList(
            query_id=graded.query_id,
            row=query_rows[graded.query_id],
            passages=np.array([passage_rows[passage.passage_id] for passage in kept], dtype=np.int64),
            grades=np.array([passage.grade for passage in kept], dtype=np.float32),
            weights=np.array([passage.weight for passage in kept], dtype=np.float32),
            spared=np.array(sorted(passage_rows[name] for name in left_out), dtype=np.int64),
        )

    for stage in stages:
        lists = []
        for graded in stage.lists:
            _check(graded, settings)
            known = [passage for passage in graded.passages if passage.passage_id in passage_rows]
            reason = _reason_to_skip(graded, known, query_rows=query_rows, settings=settings)
            if reason:
                skipped[reason] += 1
                continue
            kept = _one_positive(known, settings) if stage.one_positive else known
            cut += len(graded.passages) - len(kept)
            left_out = {passage.passage_id for passage in known} - {passage.passage_id for passage in kept}
            judged[graded.query_id] = as_rows(graded, known, set())
            lists.append(as_rows(graded, kept, left_out))
        prepared.append(
            PreparedStage(
                name=stage.name,
                lists=tuple(_spare_related(lists, settings.relevant_from)),
                epochs=settings.epochs if stage.epochs is None else stage.epochs,
                learning_rate=settings.learning_rate if stage.learning_rate is None else stage.learning_rate,
                loss=settings.loss if stage.loss is None else stage.loss,
            )
        )
    return PreparedStages(stages=tuple(prepared), judged=judged, skipped=dict(skipped), cut_passages=cut)


@dataclass(frozen=True, slots=True)
class Aside:
    """Lists put aside to choose by; query_ids lets every stage leave them out.

    unseen: none of their relevant passages is trained on. seen: their relevant passages are trained on by other lists.
    cold: rows of relevant passages whose labels every list trained on must drop, because the lists put aside as unseen
    share them with the rest; their own other positives are dropped too.
    """

    unseen: tuple[VectorList, ...]
    seen: tuple[VectorList, ...]
    cold: frozenset[int]

    @property
    def query_ids(self) -> frozenset[str]:
        """Of all lists put aside."""
        return frozenset(entry.query_id for entry in (*self.unseen, *self.seen))


def put_aside(
    stages: Sequence[TrainingStage], prepared: PreparedStages, *, seen_share: float, settings: AdapterSettings
) -> Aside:
    """An unseen and a seen slice of the lists, as settings.unseen_share, seen_share and the seed say.

    A query of several stages counts with the labels of the last. Where the lists hang together so closely that
    `split_unseen` finds less than half of what it should, queries whose positives are shared least are put aside, and
    the labels of their positives are dropped from the rest ("cold" passages). Our choice.
    """
    last = prepared.judged
    graded = {entry.query_id: entry for stage in stages for entry in stage.lists if entry.query_id in last}
    draw = np.random.default_rng(settings.seed)
    _, apart = split_unseen(
        list(graded.values()),
        share=settings.unseen_share,
        seed=settings.seed,
        relevant_from=settings.relevant_from,
    )
    unseen = [last[entry.query_id] for entry in apart]
    wanted = settings.unseen_share * len(last)
    cold: frozenset[int] = frozenset()
    if len(unseen) < wanted / 2:
        unseen, cold = _cold_slice(list(last.values()), wanted=int(wanted), draw=draw, settings=settings)
    outside = {entry.query_id for entry in unseen}
    rest = [drop_labels(entry, cold) for entry in last.values() if entry.query_id not in outside]
    rest = [entry for entry in rest if len(entry.positives(settings.relevant_from))]
    return Aside(unseen=tuple(unseen), seen=tuple(_seen_slice(rest, seen_share, draw, settings)), cold=cold)


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
    lists: Sequence[VectorList], *, wanted: int, draw: np.random.Generator, settings: AdapterSettings
) -> tuple[list[VectorList], frozenset[int]]:
    """Lists whose relevant passages are shared least, up to wanted, and those passages.

    Lists are drawn while the lists that would be left without a positive stay below half of the rest.
    """
    shared = Counter(row for entry in lists for row in entry.positives(settings.relevant_from).tolist())
    order = draw.permutation(len(lists)).tolist()
    order.sort(key=lambda at: sum(shared[row] - 1 for row in lists[at].positives(settings.relevant_from).tolist()))
    chosen: list[int] = []
    cold: set[int] = set()
    lost = 0
    holders: dict[int, list[int]] = {}
    left = [len(entry.positives(settings.relevant_from)) for entry in lists]
    for at, entry in enumerate(lists):
        for row in entry.positives(settings.relevant_from).tolist():
            holders.setdefault(row, []).append(at)
    for at in order:
        if len(chosen) >= wanted:
            break
        fresh = [row for row in lists[at].positives(settings.relevant_from).tolist() if row not in cold]
        trial = Counter(other for row in fresh for other in holders[row] if other != at)
        newly = sum(0 < left[other] <= count for other, count in trial.items())
        if lost + newly > (len(lists) - len(chosen) - 1) / 2:
            continue
        for other, count in trial.items():
            left[other] -= count
        left[at] = 0
        lost += newly
        chosen.append(at)
        cold.update(fresh)
    return [lists[at] for at in sorted(chosen)], frozenset(cold)


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


def _spare_related(lists: Sequence[VectorList], relevant_from: float) -> list[VectorList]:
    """The lists, each sparing the positives of the queries that share a positive or the same vector row with it."""
    holders: dict[int, list[int]] = {}
    positives = [entry.positives(relevant_from) for entry in lists]
    for at, rows in enumerate(positives):
        for row in rows.tolist():
            holders.setdefault(row, []).append(at)
    spared = []
    for at, entry in enumerate(lists):
        related = {other for row in positives[at].tolist() for other in holders[row]} - {at}
        more = [positives[other] for other in sorted(related)]
        rows = np.setdiff1d(np.concatenate([entry.spared, *more]), entry.passages)
        spared.append(replace(entry, spared=rows))
    return spared


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
    negatives = any(passage.grade < IRRELEVANT_BELOW for passage in known)
    return "no negative" if not negatives and settings.corpus_negatives == 0 else None


def _one_positive(passages: Sequence[LabelledPassage], settings: AdapterSettings) -> list[LabelledPassage]:
    """The passages with only the highest, then surest, then first of the positives."""
    positives = [passage for passage in passages if passage.grade >= settings.relevant_from]
    best = max(positives, key=lambda passage: (passage.grade, passage.weight))
    return [passage for passage in passages if passage is best or passage not in positives]
