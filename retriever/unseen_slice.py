"""Part of the labelled lists put aside so that nothing relevant to them is trained on; what it is used for is not here.

A model fine-tuned on labels may rise on queries whose passages it was trained on and fall on all others. Whoever stops
or weakens a training by looking at such an unseen slice needs lists that share no relevant passage with the rest.
"""

import random
from collections.abc import Sequence

from retriever.training_lists import passage_names, text_key
from retriever.types import GradedList


def split_unseen(
    lists: Sequence[GradedList], *, share: float, seed: int, relevant_from: float
) -> tuple[list[GradedList], list[GradedList]]:
    """(trained on, put aside), both in the order given; no relevant passage, by id or text, occurs in both.

    Lists hang together when they ask the same or share a passage graded relevant_from or more; what hangs together
    stays together. Of all unions of such groups, one whose size is nearest to share of the lists is put aside (the
    smaller of two equally near), groups of every size as evenly as that allows, drawn by the seed. Lists without a
    relevant passage say nothing of a ranking and are never put aside unless their query's other lists are. Where
    everything hangs together nothing is put aside.
    Raises: ValueError for a share outside [0, 0.5] or a relevant_from that is not above 0. Source: our choice.
    """
    if not 0 <= share <= 0.5:
        raise ValueError(f"share is {share}; it must be in [0, 0.5]")
    if not relevant_from > 0:
        raise ValueError(f"relevant_from is {relevant_from}; it must be above 0")
    by_size: dict[int, list[list[int]]] = {}
    for group in _groups(lists, relevant_from):
        by_size.setdefault(len(group), []).append(group)
    target = share * len(lists)
    draw = random.Random(seed)
    aside: set[int] = set()
    for size, count in _counts({size: len(groups) for size, groups in by_size.items()}, target=target, share=share):
        for group in draw.sample(by_size[size], count):
            aside.update(group)
    return (
        [graded for at, graded in enumerate(lists) if at not in aside],
        [graded for at, graded in enumerate(lists) if at in aside],
    )


def _groups(lists: Sequence[GradedList], relevant_from: float) -> list[list[int]]:
    """Positions of the lists that hang together; only groups with a relevant passage, in the order of their first."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    heads = [f"query:{text_key(graded.query)}" for graded in lists]
    relevant: set[str] = set()
    for head, graded in zip(heads, lists, strict=True):
        root(head)
        for name in passage_names([passage for passage in graded.passages if passage.grade >= relevant_from]):
            relevant.add(head)
            parent[root(name)] = root(head)
    roots_with_relevant = {root(head) for head in relevant}
    groups: dict[str, list[int]] = {}
    for at, head in enumerate(heads):
        if root(head) in roots_with_relevant:
            groups.setdefault(root(head), []).append(at)
    return list(groups.values())


def _counts(available: dict[int, int], *, target: float, share: float) -> list[tuple[int, int]]:
    """How many groups of each size to take so that their sizes add up to the sum nearest to target.

    Bit s of an integer says whether the sum s can be reached; one integer per size, so the way there can be read back.
    """
    sizes = sorted(available)
    most = int(2 * target) + 1  # beyond it, taking nothing is nearer
    reachable = [1]
    for size in sizes:
        sums = reachable[-1]
        for _ in range(min(available[size], most // size)):
            sums |= (sums << size) & ((1 << (most + 1)) - 1)
        reachable.append(sums)
    rest = min(
        (total for total in range(most + 1) if reachable[-1] >> total & 1), key=lambda total: abs(total - target)
    )
    taken: list[tuple[int, int]] = []
    for size, before in zip(reversed(sizes), reversed(reachable[:-1]), strict=True):
        possible = [
            count for count in range(min(available[size], rest // size) + 1) if before >> (rest - count * size) & 1
        ]
        count = min(possible, key=lambda count: abs(count - share * available[size]))
        taken.append((size, count))
        rest -= count * size
    return taken
