"""Parts of the held-out queries that are looked at apart, by what people understand of a query; measures are not here.

"seen" and "unseen" (methods, section 7) are always made and the gate judges by the latter. The other families describe:
where a model gained and where it lost. Their bounds are our choice.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

SEEN, UNSEEN = "seen", "unseen"
SMALLEST = 10
"""Queries from which a slice's figures say something; with fewer only their number and mean are shown (our choice)."""


@dataclass(frozen=True, slots=True)
class SliceFamily:
    """One way to part the queries. names: in the order shown. about: what the parts mean, for people."""

    title: str
    names: tuple[str, ...]
    about: str


_SHORT, _MEDIUM, _LONG = "1 to 4 words", "5 to 9 words", "10 words or more"
_ONE, _SOME, _MANY = "1 relevant passage", "2 to 4 relevant passages", "5 relevant passages or more"
_NEVER, _FEW, _OFTEN = "0 training labels", "1 to 4 training labels", "5 training labels or more"

FAMILIES = (
    SliceFamily(
        "Seen in training",
        (SEEN, UNSEEN),
        "Seen: a passage that answers the query was also trained on as the answer to another query.",
    ),
    SliceFamily("Length of the query", (_SHORT, _MEDIUM, _LONG), "Words are what spaces separate."),
    SliceFamily("Relevant passages", (_ONE, _SOME, _MANY), "How many passages people judged relevant to the query."),
    SliceFamily(
        "Training labels",
        (_NEVER, _FEW, _OFTEN),
        "How many labels of any grade the training had on the query's relevant passages, for whatever query.",
    ),
)


def family_of(slice_name: str) -> SliceFamily | None:
    """The family a slice belongs to; None for one of another version."""
    return next((family for family in FAMILIES if slice_name in family.names), None)


def by_length(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """Query ids by the number of words of their texts; an empty text is among the shortest."""
    return _parted({query_id: len(text.split()) for query_id, text in texts.items()}, (_SHORT, _MEDIUM, _LONG), (5, 10))


def by_relevant(qrels: Mapping[str, Mapping[str, int]], *, relevant_from: int) -> dict[str, set[str]]:
    """Query ids by how many passages were judged relevant; queries without one count in no measure and are left out."""
    return _parted(
        {query_id: n for query_id, judged in qrels.items() if (n := len(_relevant(judged, relevant_from)))},
        (_ONE, _SOME, _MANY),
        (2, 5),
    )


def by_training_labels(
    qrels: Mapping[str, Mapping[str, int]], n_labels: Mapping[str, int], *, relevant_from: int
) -> dict[str, set[str]]:
    """Query ids by how many training labels their relevant passages have. n_labels: passage id -> labels trained on."""
    return _parted(
        {
            query_id: sum(n_labels.get(passage, 0) for passage in relevant)
            for query_id, judged in qrels.items()
            if (relevant := _relevant(judged, relevant_from))
        },
        (_NEVER, _FEW, _OFTEN),
        (1, 5),
    )


def seen_queries(
    qrels: Mapping[str, Mapping[str, int]], trained_positives: Collection[str], *, relevant_from: int
) -> set[str]:
    """The queries of which any relevant passage was trained on as a positive. Source: methods, section 7."""
    return {
        query_id
        for query_id, judged in qrels.items()
        if any(passage in trained_positives for passage in _relevant(judged, relevant_from))
    }


def _relevant(judged: Mapping[str, int], relevant_from: int) -> list[str]:
    return [passage for passage, grade in judged.items() if grade >= relevant_from]


def _parted(counts: Mapping[str, int], names: tuple[str, str, str], starts: tuple[int, int]) -> dict[str, set[str]]:
    """Ids by whether their count is below the first start, below the second, or neither; empty parts are left out."""
    parts: dict[str, set[str]] = {}
    for query_id, count in counts.items():
        parts.setdefault(names[sum(count >= start for start in starts)], set()).add(query_id)
    return {name: parts[name] for name in names if name in parts}
