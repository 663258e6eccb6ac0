"""Which labels a training uses, on which side, and which passages of a batch may stand as negatives. No torch here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retriever.types import GradedList, LabelledPassage, TrainingSettings

IRRELEVANT_BELOW = 0.5
"""A grade below this is a negative: grade 0, or an expected grade that rounds to it. Our choice."""

TWO_SIDED_LOSSES = frozenset({"sum_marginal", "infonce", "rand1", "joint", "lse_pair"})
"""The losses that know positives and negatives only; the others compare any two grades."""


@dataclass(frozen=True, slots=True)
class TrainingList:
    """One list made ready.

    kept: what is trained on. positives: all known positives of the query, as ids and texts, also those not kept and
    those of other stages. spared: known positives and weak labels of any stage, which are never in-batch negatives.
    """

    query: str
    key: str
    kept: tuple[LabelledPassage, ...]
    positives: frozenset[str]
    spared: frozenset[str]


@dataclass(frozen=True, slots=True)
class PreparedLists:
    """All lists that can be trained on, why the others cannot (reason -> lists), and how many passages were cut."""

    lists: tuple[TrainingList, ...]
    skipped: Mapping[str, int]
    cut_passages: int


@dataclass(frozen=True, slots=True)
class BatchTargets:
    """What the loss must know of one batch, row by query, column by distinct passage text.

    labelled[q][p]: the query's own label counts. in_batch[q][p]: another query's passage, not known to be good for this
    one: a negative if its score allows. grades and weights: of the labels, 0 and 1 elsewhere.
    """

    queries: list[str]
    passages: list[str]
    grades: list[list[float]]
    weights: list[list[float]]
    labelled: list[list[bool]]
    in_batch: list[list[bool]]


def is_positive(passage: LabelledPassage, settings: TrainingSettings) -> bool:
    """Whether the grade reaches relevant_from."""
    return passage.grade >= settings.relevant_from


def is_negative(passage: LabelledPassage) -> bool:
    """Whether the grade is 0, or an expected grade that rounds to 0; grades between are weak, on neither side."""
    return passage.grade < IRRELEVANT_BELOW


def known_labels(stages: Sequence[Sequence[GradedList]]) -> dict[str, dict[str, LabelledPassage]]:
    """What is known of each query over all stages: `text_key` of the query -> passage id -> its label.

    A later stage overrides an earlier one pair by pair; of several labels of one pair in one stage the highest holds,
    so that queries which ask the same are one.
    """
    known: dict[str, dict[str, LabelledPassage]] = {}
    for lists in stages:
        own: dict[str, dict[str, LabelledPassage]] = {}
        for graded in lists:
            labels = own.setdefault(text_key(graded.query), {})
            for passage in graded.passages:
                before = labels.get(passage.passage_id)
                if before is None or passage.grade > before.grade:
                    labels[passage.passage_id] = passage
        for key, labels in own.items():
            known.setdefault(key, {}).update(labels)
    return known


def prepare_lists(
    lists: Sequence[GradedList],
    settings: TrainingSettings,
    *,
    one_positive: bool = False,
    known: Mapping[str, Mapping[str, LabelledPassage]] | None = None,
) -> PreparedLists:
    """The lists that the loss can learn from, cut to list_size; the rest is counted by reason.

    The losses of TWO_SIDED_LOSSES need a positive and a negative, the others two different grades. A list with a
    positive and nothing below it stays when in-batch negatives are on and another list is there to give some.
    Cutting keeps half the room for positives, surest first, and fills with passages of the other side in the order
    given: negatives, or for the losses that compare grades whatever is graded lower. Without a positive whatever is
    graded above the list's lowest takes its place.
    one_positive keeps of a list's positives only the highest, of these the surest, of these the first; the others are
    neither trained on nor ever negatives, and do not count as cut.
    known: of `known_labels`, what other stages know of the queries; the lists' own labels count beside it.
    Raises: ValueError for a passage twice in a list or a grade above max_grade.
    """
    skipped: Counter[str] = Counter()
    prepared: list[TrainingList] = []
    cut = 0
    for graded in lists:
        _check(graded, settings)
        passages = _with_one_positive(graded.passages, settings) if one_positive else graded.passages
        kept = _cut(passages, settings)
        reason = _reason_to_skip(graded, kept, settings)
        if reason:
            skipped[reason] += 1
            continue
        cut += len(passages) - len(kept)
        key = text_key(graded.query)
        labels = [*graded.passages, *((known or {}).get(key) or {}).values()]
        positives = [passage for passage in labels if is_positive(passage, settings)]
        spared = [passage for passage in labels if not is_negative(passage)]
        prepared.append(
            TrainingList(
                query=graded.query,
                key=key,
                kept=kept,
                positives=passage_names(positives),
                spared=passage_names(spared),
            )
        )
    if len({entry.key for entry in prepared}) < 2:  # nobody to borrow a negative from
        alone = [entry for entry in prepared if not _teaches_alone(entry.kept, settings)]
        if alone:
            skipped[_nothing_below(settings)] += len(alone)
            prepared = [entry for entry in prepared if entry not in alone]
    return PreparedLists(lists=tuple(prepared), skipped=dict(skipped), cut_passages=cut)


def batch_targets(batch: Sequence[TrainingList], settings: TrainingSettings) -> BatchTargets:
    """The targets of one batch. Equal texts share a column, so nothing is encoded twice.

    A passage is kept out of a query's negatives when it is the query's own positive or weak label (same id or same
    text, of any stage), or a positive of a query that asks the same or shares a known positive with it.
    """
    columns: dict[str, int] = {}
    texts: list[str] = []
    names: list[set[str]] = []
    for entry in batch:
        for passage in entry.kept:
            key = text_key(passage.text)
            if key not in columns:
                columns[key] = len(texts)
                texts.append(passage.text)
                names.append(set())
            names[columns[key]].update(passage_names([passage]))
    targets = BatchTargets(
        queries=[entry.query for entry in batch],
        passages=texts,
        grades=[[0.0] * len(texts) for _ in batch],
        weights=[[1.0] * len(texts) for _ in batch],
        labelled=[[False] * len(texts) for _ in batch],
        in_batch=[[False] * len(texts) for _ in batch],
    )
    for row, entry in enumerate(batch):
        for passage in entry.kept:
            column = columns[text_key(passage.text)]
            # One text under two ids: the higher grade holds, so that a positive is never a negative too.
            if not targets.labelled[row][column] or passage.grade > targets.grades[row][column]:
                targets.labelled[row][column] = True
                targets.grades[row][column] = passage.grade
                targets.weights[row][column] = passage.weight
        if settings.in_batch_negatives:
            spared = entry.spared.union(*(other.positives for other in batch if _related(entry, other)))
            for column, column_names in enumerate(names):
                targets.in_batch[row][column] = not targets.labelled[row][column] and spared.isdisjoint(column_names)
    return targets


def batch_positions(keys: Sequence[str], order: Sequence[int], *, batch_size: int) -> list[list[int]]:
    """Positions in batches of nearly equal size, at most batch_size, none with one key twice; order shuffles them.

    The number of batches depends on keys and batch_size only.
    """
    n_batches = max(-(-len(keys) // batch_size), max(Counter(keys).values(), default=0))
    groups: dict[str, list[int]] = {}
    for position in order:
        groups.setdefault(keys[position], []).append(position)
    batches: list[list[int]] = [[] for _ in range(n_batches)]
    # Equal keys stand side by side and are dealt like cards: no batch can get two of them.
    for turn, position in enumerate(position for group in groups.values() for position in group):
        batches[turn % n_batches].append(position)
    return batches


def _check(graded: GradedList, settings: TrainingSettings) -> None:
    counts = Counter(passage.passage_id for passage in graded.passages)
    for passage in graded.passages:
        if counts[passage.passage_id] > 1:
            raise ValueError(f"query {graded.query_id!r} lists passage {passage.passage_id!r} more than once")
        if passage.grade > settings.max_grade:
            raise ValueError(
                f"query {graded.query_id!r}, passage {passage.passage_id!r}: grade {passage.grade} is above "
                f"max_grade {settings.max_grade}"
            )


def _reason_to_skip(graded: GradedList, kept: Sequence[LabelledPassage], settings: TrainingSettings) -> str | None:
    if not graded.passages:
        return "empty list"
    if not graded.query.strip():
        return "empty query"
    has_positive = any(is_positive(passage, settings) for passage in kept)
    if settings.loss in TWO_SIDED_LOSSES and not has_positive:
        return "no positive"
    if _teaches_alone(kept, settings) or (settings.in_batch_negatives and has_positive):
        return None
    return _nothing_below(settings)


def _teaches_alone(kept: Sequence[LabelledPassage], settings: TrainingSettings) -> bool:
    if settings.loss in TWO_SIDED_LOSSES:
        return any(is_positive(passage, settings) for passage in kept) and any(is_negative(each) for each in kept)
    return len({passage.grade for passage in kept}) > 1


def _nothing_below(settings: TrainingSettings) -> str:
    return "no negative" if settings.loss in TWO_SIDED_LOSSES else "all grades equal"


def _with_one_positive(
    passages: tuple[LabelledPassage, ...], settings: TrainingSettings
) -> tuple[LabelledPassage, ...]:
    positives = [passage for passage in passages if is_positive(passage, settings)]
    best = max(positives, key=lambda passage: (passage.grade, passage.weight), default=None)
    return tuple(passage for passage in passages if passage is best or not is_positive(passage, settings))


def _cut(passages: tuple[LabelledPassage, ...], settings: TrainingSettings) -> tuple[LabelledPassage, ...]:
    if len(passages) <= settings.list_size:
        return passages
    upper, lower = _two_sides(passages, settings)
    surest = sorted(upper, key=lambda at: (-passages[at].weight, at))
    room = max(settings.list_size - len(lower), settings.list_size // 2)
    kept = surest[:room]
    kept += lower[: settings.list_size - len(kept)]
    return tuple(passages[at] for at in sorted(kept))


def _two_sides(passages: Sequence[LabelledPassage], settings: TrainingSettings) -> tuple[list[int], list[int]]:
    """Positions of what is to be lifted and of what it is compared with."""
    positions = range(len(passages))
    upper = [at for at in positions if is_positive(passages[at], settings)]
    if settings.loss in TWO_SIDED_LOSSES:
        return upper, [at for at in positions if is_negative(passages[at])]
    lowest = min(passage.grade for passage in passages)
    upper = upper or [at for at in positions if passages[at].grade > lowest]
    return upper, [at for at in positions if at not in set(upper)]


def _related(entry: TrainingList, other: TrainingList) -> bool:
    return entry.key == other.key or not entry.positives.isdisjoint(other.positives)


def passage_names(passages: Sequence[LabelledPassage]) -> frozenset[str]:
    """The ids and the texts (by `text_key`) of the passages, each marked as what it is: two that share one are one."""
    return frozenset(
        name for passage in passages for name in (f"id:{passage.passage_id}", f"text:{text_key(passage.text)}")
    )


def text_key(text: str) -> str:
    """What two texts that differ in white space and case only have in common."""
    return " ".join(text.split()).casefold()
