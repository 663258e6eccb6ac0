"""How long a query adapter is trained and how much of its change is kept, by lists put aside; training is elsewhere."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from retriever.adapter import Transform
from retriever.adapter_fit import Corpus, ndcg
from retriever.adapter_lists import Aside, VectorList

STRENGTHS = (1.0, 0.75, 0.5, 0.25)
"""Parts of the learned change that are tried, largest first; our choice."""

FEWEST_SEEN = 10
"""With fewer seen lists put aside, the lists trained on stand in for them; our choice."""

MOST_UNCHECKED = 0.5
"""With no unseen list put aside, nothing says that unseen queries are not harmed: at most so much is kept. Our
choice."""

PATIENCE = 8
"""Epochs after the best one of a stage in which no better one came, and the stage ends; our choice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was chosen: epochs of each stage, the part of the change that is kept (0 for none), and the figures why."""

    epochs: tuple[int, ...]
    strength: float
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Live:
    """The adapter that is live, to be measured against.

    queries: (n_queries, dim) float32, L2-normalised, the corpus' queries as it changes them. trained_on: rows of the
    passages that were relevant in its own training.
    """

    queries: NDArray[np.float32]
    trained_on: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Point:
    """Mean nDCG@10 of the two slices put aside at one epoch and strength."""

    seen: float
    unseen: float
    strength: float

    @property
    def both(self) -> float:
        """The sum of the two: as many questions may come of one kind as of the other."""
        return self.seen + self.unseen


def choose_plan(
    transform: Transform,
    stages: Sequence[Callable[[], Iterator[float]]],
    aside: Aside,
    corpus: Corpus,
    *,
    trained: Sequence[VectorList],
    relevant_from: float,
    tolerance: float = 0.0,
    live: Live | None = None,
) -> Plan:
    """The epochs of each stage, and the strength, that gain most on the mean of seen and unseen lists.

    None counts that is below the model before on unseen by more than the tolerance (nDCG@10).

    The model before is the live adapter on lists whose relevant passages were new to it, and the encoder alone on the
    others: what it was trained on is unseen to the new one only, and nothing new would ever be better there.
    Without an unseen list at most MOST_UNCHECKED is kept.
    stages: each call trains the transform through one stage in place and yields after each epoch; a stage starts from
    the epoch chosen before it. Measured by the mean nDCG@10 of the lists put aside. Where no point is better than the
    model before, nothing is kept. trained: lists that stand in for seen ones where too few could be put aside.

    Figures: "queries" put aside as unseen, their "nDCG@10" and "nDCG@10 before"; the same of those "seen", or "trained"
    where these stand in; with live, "queries new to live", how many of the unseen are compared with it.
    Source: our choice.
    """
    name, seen = ("seen", aside.seen) if len(aside.seen) >= FEWEST_SEEN else ("trained", trained)
    floor = _Point(
        _before(seen, corpus, live, relevant_from), _before(aside.unseen, corpus, live, relevant_from), strength=0.0
    )
    strengths = [strength for strength in STRENGTHS if aside.unseen or strength <= MOST_UNCHECKED]
    best = floor
    chosen: list[int] = []
    for stage in stages:
        state, epochs, waited = _copy(transform), 0, 0
        for epoch, _ in enumerate(stage(), start=1):
            points = [_at(transform, strength, seen, aside.unseen, corpus) for strength in strengths]
            allowed = [point for point in points if point.unseen >= floor.unseen - tolerance]
            found = max(allowed, key=lambda point: point.both, default=floor)
            waited += 1
            if found.both > best.both:
                best, state, epochs, waited = found, _copy(transform), epoch, 0
            if epochs and waited >= PATIENCE:
                break
        transform.load_state_dict(state)
        chosen.append(epochs)
    if not best.strength:
        best = _Point(_mean(None, seen, corpus), _mean(None, aside.unseen, corpus), strength=0.0)
    figures = {
        "queries": float(len(aside.unseen)),
        "nDCG@10": best.unseen,
        "nDCG@10 before": floor.unseen,
        f"{name} queries": float(len(seen)),
        f"{name} nDCG@10": best.seen,
        f"{name} nDCG@10 before": floor.seen,
    }
    if live is not None:
        figures["queries new to live"] = float(sum(_new_to(live, aside.unseen, relevant_from)))
    return Plan(epochs=tuple(chosen), strength=best.strength, figures=figures)


def _before(lists: Sequence[VectorList], corpus: Corpus, live: Live | None, relevant_from: float) -> float:
    if live is None or not lists:
        return _mean(None, lists, corpus)
    new = np.array(_new_to(live, lists, relevant_from), dtype=np.bool_)
    values = np.where(new, ndcg(None, lists, replace(corpus, queries=live.queries)), ndcg(None, lists, corpus))
    return float(values.mean())


def _new_to(live: Live, lists: Sequence[VectorList], relevant_from: float) -> list[bool]:
    return [live.trained_on.isdisjoint(entry.positives(relevant_from).tolist()) for entry in lists]


def _at(
    transform: Transform, strength: float, seen: Sequence[VectorList], unseen: Sequence[VectorList], corpus: Corpus
) -> _Point:
    weaker = copy.deepcopy(transform)
    weaker.scale(strength)
    return _Point(_mean(weaker, seen, corpus), _mean(weaker, unseen, corpus), strength)


def _mean(transform: Transform | None, lists: Sequence[VectorList], corpus: Corpus) -> float:
    return float(ndcg(transform, lists, corpus).mean()) if lists else 0.0


def _copy(transform: Transform) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in transform.state_dict().items()}
