"""How long a query adapter is trained and how much of its change is kept, by lists put aside; training is elsewhere."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from retriever.adapter import Transform
from retriever.adapter_fit import Corpus, ndcg
from retriever.adapter_lists import Aside, VectorList

STRENGTHS = (1.0, 0.75, 0.5, 0.25)
"""Parts of the learned change that are tried, largest first; our choice."""

FEWEST_SEEN = 10
"""With fewer seen lists put aside, the lists trained on stand in for them; our choice."""

PATIENCE = 8
"""Epochs after the best one of a stage in which no better one came, and the stage ends; our choice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was chosen: epochs of each stage, the part of the change that is kept (0 for none), and the figures why."""

    epochs: tuple[int, ...]
    strength: float
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Point:
    """Mean nDCG@10 of the two slices put aside at one epoch and strength."""

    seen: float
    unseen: float
    strength: float


def choose_plan(
    transform: Transform,
    stages: Sequence[Callable[[], Iterator[float]]],
    aside: Aside,
    corpus: Corpus,
    *,
    trained: Sequence[VectorList],
) -> Plan:
    """The epochs of each stage, and the strength, that are best on seen without being below the live model on unseen.

    Of an epoch the greatest strength that is not below on unseen counts: the best of several on few lists is often
    luck.
    stages: each call trains the transform through one stage in place and yields after each epoch; a stage starts from
    the epoch chosen before it. Measured by the mean nDCG@10 of the lists put aside. Where no point is better than the
    live model, nothing is kept. trained: lists that stand in for seen ones where too few could be put aside.
    """
    name, seen = ("seen", aside.seen) if len(aside.seen) >= FEWEST_SEEN else ("trained", trained)
    live = _Point(_mean(None, seen, corpus), _mean(None, aside.unseen, corpus), 0.0)
    best = live
    chosen: list[int] = []
    for stage in stages:
        state, epochs, waited = _copy(transform), 0, 0
        for epoch, _ in enumerate(stage(), start=1):
            points = (_at(transform, strength, seen, aside.unseen, corpus) for strength in STRENGTHS)
            found = next((point for point in points if point.unseen >= live.unseen), live)
            waited += 1
            if found.seen > best.seen:
                best, state, epochs, waited = found, _copy(transform), epoch, 0
            if epochs and waited >= PATIENCE:
                break
        transform.load_state_dict(state)
        chosen.append(epochs)
    figures = {
        "queries": float(len(aside.unseen)),
        "nDCG@10": best.unseen,
        "nDCG@10 live": live.unseen,
        f"{name} queries": float(len(seen)),
        f"{name} nDCG@10": best.seen,
        f"{name} nDCG@10 live": live.seen,
    }
    return Plan(epochs=tuple(chosen), strength=best.strength, figures=figures)


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
