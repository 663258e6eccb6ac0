"""Which recipe a retrain uses by default: chosen on training-side splits, no test judgement is opened here.

Every candidate is trained on a part of a set's training labels and measured on the other part, half of which shares
relevant passages with what was trained on (seen) and half of which shares none (unseen). docs/training.md has the
table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from app.config import Speed, settings_from
from bench.result import Json, Result
from bench.retraining_arms import Recipe
from bench.retraining_measure import Arm, Limits, measure_ours, measure_zero_shot, slice_of
from bench.retraining_sets import RetrainingSet, test_set, training_side
from retriever.types import ADAPTER_KINDS

SETS = ("scifact", "msrd")
"""Whose labels are split; the disjoint splits are parts of these. Of trecdl each year is the other's test."""

UNSEEN_MAY_FALL = 0.005
_LONG = {"list_size": 8, "epochs": 2, "batch_queries": 8, "learning_rate": 2e-5}
"""Fewer questions for the same number of texts: eight passages of each instead of four, read twice instead of once."""

TARGET = (
    "of the candidates that nowhere lose more than .005 nDCG@10 on unseen training-side queries, on the mean over the "
    "sets, the product's default gains most over zero-shot on the mean over seen and unseen queries"
)


def default_recipe() -> Recipe:
    """What `relabel train` does when nothing is said."""
    settings = settings_from(Path(), {})
    if settings.speed is Speed.ADAPTER:
        return adapter_recipe()
    if settings.speed is Speed.FULL:
        return full_recipe()
    return Recipe(full=settings.full_training(), adapter=settings.adapter_on_top())


def adapter_recipe(**changes: Any) -> Recipe:
    """What `relabel train --speed adapter` does, with changes."""
    return Recipe(full=None, adapter=settings_from(Path(), {}).adapter_training(**changes))


def full_recipe(**changes: Any) -> Recipe:
    """What `relabel train --speed full` does, with changes."""
    return Recipe(full=settings_from(Path(), {}).full_training(**changes), adapter=None)


def candidates() -> dict[str, Recipe]:
    """Name → recipe; the product's default is among them under the name `default`."""
    return {
        "default": default_recipe(),
        **{f"adapter: {kind}": adapter_recipe(kind=kind) for kind in ADAPTER_KINDS},
        **{
            f"adapter: kernel, {loss}": adapter_recipe(kind="kernel", loss=loss)
            for loss in ("infonce", "lse_pair", "arl2", "list_net", "lambda", "kl")
        },
        "full": full_recipe(),
        "full: the last three layers": full_recipe(trainable_layers=3),
        "full: long lists, twice": full_recipe(**_LONG),
        "full, then adapter, nothing lost on unseen": replace(full_recipe(), adapter=adapter_recipe().adapter),
    }


def run(quick: bool) -> Result:
    """All candidates on all sets; quick: the adapters on the smallest set."""
    names = SETS[:1] if quick else SETS
    recipes = {name: recipe for name, recipe in candidates().items() if not (quick and recipe.full)}
    gains: dict[str, dict[str, dict[str, float]]] = {name: {} for name in recipes}
    for set_name in names:
        chosen = training_side(test_set(set_name))
        before = measure_zero_shot(chosen)
        for name, recipe in recipes.items():
            after = measure_ours(chosen, recipe, seeds=range(1), limits=Limits())
            gains[name][set_name] = _gain(chosen, before=before, after=after)
    figures: dict[str, Json] = {name: {**by_set, **_means(by_set)} for name, by_set in gains.items()}
    allowed = {name for name, by_set in gains.items() if _means(by_set)["unseen"] >= -UNSEEN_MAY_FALL}
    best = max(allowed, key=lambda name: _means(gains[name])["mean"], default="")
    figures["best"] = best
    holds = bool(best) and candidates()[best] == default_recipe()
    return Result(name="recipe", holds=holds, target=TARGET, figures=figures, lines=_table(gains))


def _gain(chosen: RetrainingSet, *, before: Arm, after: Arm) -> dict[str, float]:
    seen = chosen.seen()
    found = {"seconds": after.seconds, "texts": float(after.encoded)}
    for name, inside in (("seen", seen), ("unseen", frozenset(chosen.judged) - seen)):
        queries = slice_of(before, inside)
        if queries:
            found[name] = fmean(after.by_query[query] - before.by_query[query] for query in queries)
            found[f"n_{name}"] = float(len(queries))
    return found


def _means(by_set: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Over the sets: the gain on unseen queries, on seen ones where there are any, and the mean of the two."""
    parts: dict[str, list[float]] = {"seen": [], "unseen": []}
    for gain in by_set.values():
        for name, values in parts.items():
            if name in gain:
                values.append(gain[name])
    means = {name: fmean(values) if values else 0.0 for name, values in parts.items()}
    return {**means, "mean": (means["seen"] + means["unseen"]) / 2}


def _table(gains: Mapping[str, Mapping[str, Mapping[str, float]]]) -> tuple[str, ...]:
    def cells(gain: Mapping[str, float]) -> Sequence[str]:
        return [
            f"{name} {gain[name]:+.4f} (n = {gain[f'n_{name}']:.0f})" for name in ("seen", "unseen") if name in gain
        ]

    return tuple(
        f"{name:<36} {set_name:<10} {', '.join(cells(gain))}, {gain['seconds']:.0f} s"
        for name, by_set in gains.items()
        for set_name, gain in by_set.items()
    )
