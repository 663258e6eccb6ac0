"""Which passages to ask questions of: spread over sources and documents, always the same for one seed, none twice.

Our choice. Every document gives one passage before any gives its second; which passage, and which documents come first,
follows from a hash of the seed. So each source has its share by its number of documents, and every source that has a
fit passage gives at least one, room permitting. Topical clusters are not used: they would need the whole corpus
encoded.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from db.queries.questions import PassageSpot

MIN_CHARACTERS = 80
"""A shorter passage (a heading, a caption) rarely states anything that can be asked about. Our choice."""

_Key = tuple[int, float]


def choose_passages(
    spots: Iterable[PassageSpot], *, count: int, seed: int, asked_hashes: Collection[str] = ()
) -> list[int]:
    """Ids of at most `count` passages in the order to ask them; texts that are equal are taken once.

    `spots` come with the passages of a document together. Memory grows with `count`, the longest document and the
    number of sources, not with the corpus.
    """
    if count < 1:
        return []
    best: list[tuple[tuple[float, ...], PassageSpot]] = []
    first_of_source: dict[int, tuple[_Key, PassageSpot]] = {}
    # Twice as many, for some may turn out to be copies of each other.
    room = 2 * count + 16
    for key, spot in _ordered(_fit(spots, asked_hashes), seed=seed):
        entry = (tuple(-part for part in (*key, spot.id)), spot)
        if len(best) < room:
            heapq.heappush(best, entry)
        elif entry[0] > best[0][0]:
            heapq.heapreplace(best, entry)
        known = first_of_source.get(spot.source_id)
        if known is None or key < known[0]:
            first_of_source[spot.source_id] = (key, spot)
    ranked = [spot for _, spot in sorted(best, key=lambda entry: entry[0], reverse=True)]
    leaders = [spot for _, spot in sorted(first_of_source.values(), key=lambda entry: entry[0])]
    chosen = _without_copies([*leaders[:count], *ranked])[:count]
    position = {spot.id: place for place, spot in enumerate(ranked)}
    return [spot.id for spot in sorted(chosen, key=lambda spot: position.get(spot.id, len(ranked)))]


def _fit(spots: Iterable[PassageSpot], asked_hashes: Collection[str]) -> Iterator[PassageSpot]:
    return (spot for spot in spots if spot.characters >= MIN_CHARACTERS and spot.text_hash not in asked_hashes)


def _ordered(spots: Iterable[PassageSpot], *, seed: int) -> Iterator[tuple[_Key, PassageSpot]]:
    """Each passage with its place: its turn within its document, then the document's place among all."""
    for (source_id, document), members in groupby(spots, key=lambda spot: (spot.source_id, _document(spot))):
        turns = sorted(members, key=lambda spot: _draw(seed, "passage", spot.external_id))
        for turn, spot in enumerate(turns):
            yield (turn, _draw(seed, f"{turn} {source_id}", document)), spot


def _document(spot: PassageSpot) -> str:
    """What stands before `#` in the passage's id; a passage without it is a document of its own."""
    head, mark, _ = spot.external_id.partition("#")
    return head if mark and head else spot.external_id


def _without_copies(spots: Iterable[PassageSpot]) -> list[PassageSpot]:
    hashes: set[str] = set()
    kept = []
    for spot in spots:
        if spot.text_hash not in hashes:
            hashes.add(spot.text_hash)
            kept.append(spot)
    return kept


def _draw(seed: int, what: str, name: str) -> float:
    """A number in [0, 1) that follows from the seed and the name."""
    return int.from_bytes(hashlib.sha256(f"{seed} {what} {name}".encode("utf-8", "replace")).digest()[:8]) / 2**64
