"""Finds queries that ask nearly the same, so that they share a split and none leaks from training into the test.

Our choice: two queries are near-duplicates when they have the same content words, or when both have at least four and
the Jaccard similarity of their sets of content words is 0.8 or more. Content words are the words of the text,
lower-cased and compatibility-normalised, without a short list of function words; order and repeats do not count. Being
too generous costs a little test data; being too strict would let a paraphrase of a training query into the test.

Found by prefix filtering (Bayardo, Ma and Srikant, "Scaling up all pairs similarity search", 2007): under one fixed
order of words, two sets that similar share a word among their first few, so only those are indexed. The order is by
first appearance, latest first, which puts rare words first. Memory: some 300 bytes a query.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from db.enums import Split

JACCARD = 0.8
MIN_WORDS = 4

_WORD = re.compile(r"[^\W_]+")
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been being by can could did do does for from had has have how i if in into is it its me "
        "my of on or our should so than that the their them then there these they this those to us was we were what "
        "when where which who whom whose why will with would you your"
    )
)


def content_words(text: str) -> frozenset[str]:
    """The words that carry the question; all its words when it has only function words."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return frozenset(word for word in words if word not in _FUNCTION_WORDS) or frozenset(words)


def text_key(text: str) -> str:
    """64 hexadecimal digits, equal for queries with the same content words (or, without any word, the same text)."""
    words = content_words(text)
    return sha256((" ".join(sorted(words)) or "\n" + text.strip()).encode()).hexdigest()


class NearDuplicates:
    """The clusters of near-duplicate queries, grown one query at a time; clusters are the caller's numbers.

    Two clusters linked by a query between them form one family: they share a split though they stay two clusters.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._by_key: dict[bytes, int] = {}
        self._postings: dict[int, list[tuple[tuple[int, ...], int]]] = {}
        self._parent: dict[int, int] = {}

    def find(self, text: str) -> set[int]:
        """The clusters that hold a near-duplicate of the text."""
        key = bytes.fromhex(text_key(text))
        found = self._similar(self._ordered(content_words(text)))
        if key in self._by_key:
            found.add(self._by_key[key])
        return found

    def add(self, text: str, cluster: int, *, similar: Iterable[int] = ()) -> None:
        """Puts the query into the cluster and links the cluster with those in `similar` (what `find` returned)."""
        self._parent.setdefault(cluster, cluster)
        for other in similar:
            self._link(cluster, other)
        key = bytes.fromhex(text_key(text))
        if key in self._by_key:
            self._link(cluster, self._by_key[key])
            return
        self._by_key[key] = cluster
        words = self._ordered(content_words(text))
        for word in words[: _prefix(len(words))]:
            self._postings.setdefault(word, []).append((words, cluster))

    def family(self, cluster: int) -> int:
        """The number that stands for all clusters linked with this one."""
        root = cluster
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[cluster] != root:
            self._parent[cluster], cluster = root, self._parent[cluster]
        return root

    def families(self) -> dict[int, list[int]]:
        """Family -> its clusters."""
        members: dict[int, list[int]] = {}
        for cluster in self._parent:
            members.setdefault(self.family(cluster), []).append(cluster)
        return members

    def _link(self, one: int, other: int) -> None:
        self._parent[self.family(other)] = self.family(one)

    def _ordered(self, words: frozenset[str]) -> tuple[int, ...]:
        numbers = (self._numbers.setdefault(word, len(self._numbers)) for word in sorted(words))
        return tuple(sorted(numbers, reverse=True))

    def _similar(self, words: tuple[int, ...]) -> set[int]:
        found: set[int] = set()
        size = len(words)
        if size < MIN_WORDS:
            return found
        own = set(words)
        for word in words[: _prefix(size)]:
            for others, cluster in self._postings.get(word, ()):
                if cluster in found or not JACCARD * size <= len(others) <= size / JACCARD:
                    continue
                shared = len(own.intersection(others))
                if shared >= JACCARD * (size + len(others) - shared):
                    found.add(cluster)
        return found


def _prefix(size: int) -> int:
    """How many of a set's first words must be looked at: n - ceil(0.8 n) + 1; none for sets too small to compare."""
    return 0 if size < MIN_WORDS else size - -(-size * 4 // 5) + 1


STRICTNESS = (Split.HELD_OUT, Split.CALIBRATE, Split.TRAIN)
"""The strictest first: a query that could be in two splits goes to the one that protects more."""


def strictest(splits: Iterable[Split]) -> Split | None:
    """The strictest of these splits, or None of none."""
    return min(splits, key=STRICTNESS.index, default=None)


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Which clusters get which split, and where wishes could not be met.

    torn: families whose members asked for different splits. held: clusters whose present split held against another
    wish. unmendable: families that already lie in two splits.
    """

    assign: dict[Split, list[int]]
    torn: int
    held: int
    unmendable: int


def plan_splits(duplicates: NearDuplicates, *, present: dict[int, Split], wanted: dict[int, set[Split]]) -> SplitPlan:
    """The split of every cluster that has none yet and whose family has one or asks for one.

    present: cluster -> its split. wanted: cluster -> the splits its queries ask for.
    """
    assign: dict[Split, list[int]] = {}
    torn = held = unmendable = 0
    for clusters in duplicates.families().values():
        there = {present[cluster] for cluster in clusters if cluster in present}
        wishes = {split for cluster in clusters for split in wanted.get(cluster, ())}
        torn += len(wishes) > 1
        unmendable += len(there) > 1
        held += sum(
            1 for cluster in clusters if there and wanted.get(cluster, set()) - {present.get(cluster, strictest(there))}
        )
        split = strictest(there) or strictest(wishes)
        if split is not None and (missing := [cluster for cluster in clusters if cluster not in present]):
            assign.setdefault(split, []).extend(missing)
    return SplitPlan(assign, torn, held, unmendable)
