"""Several rankings of one query made into one."""

from collections.abc import Mapping, Sequence

from retriever.types import FusedHit, Hit, SystemHit


def reciprocal_rank_fusion(
    rankings: Mapping[str, Sequence[Hit]],
    *,
    k: int = 60,
    depth: int | None = None,
    weights: Mapping[str, float] | None = None,
) -> list[FusedHit]:
    """The passages of all systems, best first, at most depth of them; equal scores are ordered by passage id.

    score(d) = Σ over systems that retrieved d of weight / (k + rank), rank counting from 1; a missing weight is 1.
    Source: Cormack, Clarke & Büttcher, SIGIR 2009; the weights are our choice.
    Raises: ValueError for k below 0, depth below 1, a negative weight or a passage twice in one ranking.
    """
    if k < 0:
        raise ValueError(f"k is {k}; it must be 0 or more")
    if depth is not None and depth < 1:
        raise ValueError(f"depth is {depth}; it must be 1 or more")
    weighted = {system: (weights or {}).get(system, 1.0) for system in rankings}
    if any(weight < 0 for weight in weighted.values()):
        raise ValueError(f"weights are {weighted}; none may be negative")
    found: dict[str, list[SystemHit]] = {}
    for system in sorted(rankings):
        for hit in rankings[system]:
            hits = found.setdefault(hit.passage_id, [])
            if hits and hits[-1].system == system:
                raise ValueError(f"{system} ranks passage {hit.passage_id!r} twice")
            hits.append(SystemHit(system=system, rank=hit.rank, score=hit.score))
    scores = {
        passage_id: sum(weighted[hit.system] / (k + hit.rank) for hit in hits) for passage_id, hits in found.items()
    }
    ordered = sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))[:depth]
    return [
        FusedHit(passage_id=passage_id, rank=rank, score=scores[passage_id], hits=tuple(found[passage_id]))
        for rank, passage_id in enumerate(ordered, start=1)
    ]
