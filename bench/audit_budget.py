"""Audit budget: how much of the full human judging does a fifth of it give, with GPT-4's labels for the rest?

trecdl, both directions: the pairs of one year are audited, nDCG@10 by people is measured on the queries of the other.
GPT-4's grades are the real ones (UMBRELA prompt, 0 to 3, no confidence); an audit answers with the grade of the human
judgements. Of the year trained on, people's grades are read of audited pairs only, for the labels, the calibrator and
the order alike; of the other year never, before measuring.

ours: audits in the order of their value, ordered anew at every share; the LLM's labels first, as soft targets
calibrated on the audits so far, people's last. Each other arm changes one thing: `union` trains on both at once,
`random` audits in random order, `hard` takes GPT-4's grades as they are; `plain` changes all three. At 0 % there is
nothing to calibrate on and GPT-4's grades train as they are in every arm; at 100 % people's grades alone train. A soft
target is a positive only from a calibrated 80 %, so where no proposal is that sure the first stage is empty.

The curve is that of the query adapter in the form that moves every query (`low_rank`), with every change kept. The
product's default adapter (`shipped`) leaves queries unlike its training queries as they are, and drops a change that
does not help an unseen slice of its labels: where it changes nothing, a fifth of the audits equals all of them and says
nothing. It and the full model, which orders each query's 100 best of the shipped model anew, are measured at the end
points. Whether people's labels of all pairs beat zero-shot at all is a line of its own. Intervals resample queries;
seeds are averaged before. Trainings are kept in the temporary folder, so that an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol, TypeVar

from annotator.intervals import Interval
from bench.audit_retraining import (
    YEARS,
    Setting,
    Year,
    adapter_settings,
    full_settings,
    load_setting,
    with_adapter,
    with_full_model,
    zero_shot,
)
from bench.audited_labels import SCALE, Arm, Campaign, run_campaign, training_stages, wrong_labels
from bench.paired_directions import interval, mean, mean_of_seeds
from bench.result import Json, Result
from retriever.slices import seen_queries
from retriever.types import AdapterSettings, TrainingStage

OURS = Arm("ours", by_value=True, curriculum=True, soft=True)
CURVES = (
    Arm("union", by_value=True, curriculum=False, soft=True),
    Arm("random", by_value=False, curriculum=True, soft=True),
)
OTHERS = (
    *CURVES,
    Arm("hard", by_value=True, curriculum=True, soft=False),
    Arm("plain", by_value=False, curriculum=False, soft=False),
)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
ENDS = (0.0, 0.2, 1.0)
ASKED = 0.2
WITHIN = 0.005
ADAPTER_SEEDS, FULL_SEEDS = 5, 1
QUICK_QUERIES, QUICK_PAIRS = 14, 30
TARGET = (
    "nDCG@10 on the other year's queries, mean of both directions: with 20 % of the pairs audited at most .005 below "
    "all of them audited, for the query adapter and (full run) the product's default adapter and the full model; and "
    "all audited is better than no training (95 % interval, query adapter), without which the first says nothing"
)


S = TypeVar("S", contravariant=True)


class Train(Protocol[S]):
    """One speed: query id → measure on a year after training on the stages."""

    def __call__(
        self, setting: Setting, stages: Sequence[TrainingStage], year: Year, *, settings: S
    ) -> dict[str, float]: ...


@dataclass(slots=True)
class Curves:
    """What was measured at one speed: (arm, share) → direction → one run a seed, each query id → value."""

    runs: dict[tuple[str, float], dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    wrong: dict[tuple[str, float], list[float]] = field(default_factory=dict)
    """(arm, share) → share of pairs whose label is on the wrong side, GPT-4's as it is where nobody audited."""

    def add(self, *, arm: str, share: float, direction: str, values: dict[str, float]) -> None:
        """Keeps one run."""
        self.runs.setdefault((arm, share), {}).setdefault(direction, []).append(values)

    def at(self, arm: str, share: float) -> dict[str, dict[str, float]]:
        """Direction → query id → mean over the seeds."""
        return {name: mean_of_seeds(runs) for name, runs in self.runs[arm, share].items()}


def run(quick: bool) -> Result:
    """nDCG@10 against the share of pairs audited, ours and others, with the adapter and, in a full run, the model."""
    setting = load_setting(n_queries=QUICK_QUERIES if quick else None, n_pairs=QUICK_PAIRS if quick else None)
    shares, seeds = (ENDS, 1) if quick else (SHARES, ADAPTER_SEEDS)
    adapter = adapter_curves(setting, shares=shares, arms=(OURS, OTHERS[-1]) if quick else (OURS, *OTHERS), seeds=seeds)
    speeds = {"adapter": adapter}
    if not quick:
        speeds["shipped"] = ends(setting, with_adapter, adapter_settings, seeds=ADAPTER_SEEDS)
        speeds["full"] = ends(setting, with_full_model, full_settings, seeds=FULL_SEEDS)
    figures: dict[str, Json] = {
        "seeds": {name: len(next(iter(curves.runs[OURS.name, ASKED].values()))) for name, curves in speeds.items()},
        "years": {name: _described(year, setting) for name, year in setting.years.items()},
        "speeds": {name: _figures(curves) for name, curves in speeds.items()},
    }
    kept = {name: kept_at(curves) for name, curves in speeds.items()}
    lines = [line for name, curves in speeds.items() for line in _lines(name, curves, setting)]
    worth = interval(adapter.at(OURS.name, 1.0), adapter.at("zero-shot", 0.0))
    holds = all(one.value >= -WITHIN for one in kept.values()) and worth.low is not None and worth.low > 0
    return Result("audit_budget", holds, TARGET, figures, tuple(lines))


def adapter_curves(setting: Setting, *, shares: Sequence[float], arms: Sequence[Arm], seeds: int) -> Curves:
    """Ours, union and random at every share, the other arms where the claim is made.

    At 0 and 1 all arms train on the same, so it is measured once, as ours.
    """
    curves = Curves()
    for direction, trained, tested in directions(setting):
        curves.add(arm="zero-shot", share=0.0, direction=direction, values=zero_shot(setting, tested))
        for seed in range(seeds):
            for by_value in (True, False):
                mine = [arm for arm in arms if arm.by_value is by_value]
                inner = [share for share in shares if by_value or 0 < share < 1]
                if not (mine and inner):
                    continue
                for standing in run_campaign(trained.campaign, by_value=by_value, shares=inner, seed=seed):
                    order = (OURS.name if by_value else "random", standing.share)
                    curves.wrong.setdefault(order, []).append(wrong_labels(trained.campaign, standing))
                    for arm in _measured_at(standing.share, mine):
                        stages = training_stages(trained.campaign, arm, standing)
                        values = with_adapter(setting, stages, tested, settings=_every_change(seed))
                        curves.add(arm=arm.name, share=standing.share, direction=direction, values=values)
    return curves


def ends(setting: Setting, train: Train[S], settings: Callable[[int], S], *, seeds: int) -> Curves:
    """Ours at the end points and where the claim is made. train, settings: how, and with which settings by seed."""
    curves = Curves()
    for direction, trained, tested in directions(setting):
        # For the full model too: reordering a model's own best 100 leaves its ten best as they were.
        curves.add(arm="zero-shot", share=0.0, direction=direction, values=zero_shot(setting, tested))
        for seed in range(seeds):
            for standing in run_campaign(trained.campaign, by_value=True, shares=ENDS, seed=seed):
                stages = training_stages(trained.campaign, OURS, standing)
                values = train(setting, stages, tested, settings=settings(seed))
                curves.add(arm=OURS.name, share=standing.share, direction=direction, values=values)
    return curves


def directions(setting: Setting) -> list[tuple[str, Year, Year]]:
    """(name, year trained on, year measured on), both ways."""
    first, second = (setting.years[name] for name in YEARS)
    return [(f"{a.name} to {b.name}", a, b) for a, b in ((first, second), (second, first))]


def kept_at(curves: Curves, share: float = ASKED) -> Interval:
    """Ours at a share minus all audited, paired by query."""
    return interval(curves.at(OURS.name, share), curves.at(OURS.name, 1.0))


def _measured_at(share: float, arms: Sequence[Arm]) -> list[Arm]:
    if share in (0.0, 1.0):
        return [OURS]
    return [arm for arm in arms if share == ASKED or arm in (OURS, *CURVES)]


def _every_change(seed: int) -> AdapterSettings:
    return adapter_settings(seed, kind="low_rank", unseen_share=0.0)


def _described(year: Year, setting: Setting) -> dict[str, Json]:
    campaign: Campaign = year.campaign
    relevant, proposed = campaign.human >= SCALE.relevant_from, campaign.proposed >= SCALE.relevant_from
    other = next(one for one in setting.years.values() if one.name != year.name)
    positives = {
        passage
        for passage, by_people, by_llm in zip(
            other.campaign.passage_ids,
            other.campaign.human >= SCALE.relevant_from,
            other.campaign.proposed >= SCALE.relevant_from,
            strict=True,
        )
        if by_people or by_llm
    }
    return {
        "queries": len(year.qrels),
        "pairs": campaign.n_pairs,
        "relevant_by_people": float(relevant.mean()),
        "relevant_by_llm": float(proposed.mean()),
        "llm_precision": float((relevant & proposed).sum() / proposed.sum()),
        "seen_queries": len(seen_queries(year.qrels, positives, relevant_from=SCALE.relevant_from)),
    }


def _figures(curves: Curves) -> dict[str, Json]:
    everything = curves.at(OURS.name, 1.0)
    found: dict[str, Json] = {
        "zero_shot": mean(curves.at("zero-shot", 0.0)),
        "llm_only": mean(curves.at(OURS.name, 0.0)),
        "all_audited": mean(everything),
        "all_audited_minus_zero_shot": _bounds(interval(everything, curves.at("zero-shot", 0.0))),
        "all_audited_minus_llm_only": _bounds(interval(everything, curves.at(OURS.name, 0.0))),
        "kept_at_20": _bounds(kept_at(curves)),
    }
    arms: dict[str, dict[str, Json]] = {}
    for arm, share in curves.runs:
        values = curves.at(arm, share)
        arms.setdefault(arm, {})[f"{share:g}"] = {
            "ndcg_at_10": mean(values),
            "by_direction": {name: mean({name: by_query}) for name, by_query in values.items()},
            "minus_all_audited": _bounds(interval(values, everything)),
        }
    found["arms"] = arms
    wrong: dict[str, dict[str, Json]] = {}
    for (order, share), seen in curves.wrong.items():
        wrong.setdefault(order, {})[f"{share:g}"] = fmean(seen)
    found["wrong_labels"] = wrong
    found["ours_minus"] = {
        arm: {f"{share:g}": _bounds(interval(curves.at(OURS.name, share), curves.at(arm, share)))}
        for arm, share in curves.runs
        if arm not in (OURS.name, "zero-shot") and share == ASKED
    }
    return found


def _lines(speed: str, curves: Curves, setting: Setting) -> list[str]:
    shares = sorted({share for arm, share in curves.runs if arm == OURS.name})
    arms = list(dict.fromkeys(arm for arm, _ in curves.runs if arm != "zero-shot"))
    n = sum(len(year.qrels) for year in setting.years.values())
    seeds = len(next(iter(curves.runs[OURS.name, ASKED].values())))
    lines = [
        f"{speed}: nDCG@10 on {n} queries of the other year, {seeds} seed{'s' if seeds > 1 else ''}; zero-shot "
        f"{mean(curves.at('zero-shot', 0.0)):.4f}",
        "audited   " + "".join(f"{share:>8.0%}" for share in shares),
    ]
    for arm in arms:
        # At the ends all arms train on the same labels.
        row = [
            curves.at(OURS.name if share in (0.0, 1.0) else arm, share) if _has(curves, arm, share) else None
            for share in shares
        ]
        lines.append(f"  {arm:<8}" + "".join("       –" if one is None else f"{mean(one):8.4f}" for one in row))
    if ("random", ASKED) in curves.wrong:
        by_value, by_chance = (fmean(curves.wrong[order, ASKED]) for order in (OURS.name, "random"))
        lines.append(f"  labels on the wrong side at 20 %: {by_value:.1%} by value, {by_chance:.1%} at random")
    lines.append(f"  ours at 20 % minus all audited {_text(kept_at(curves))}")
    everything = curves.at(OURS.name, 1.0)
    gain = interval(everything, curves.at("zero-shot", 0.0))
    vacuous = gain.low is not None and gain.low <= 0
    lines.append(
        f"  all audited minus zero-shot {_text(gain)}" + ("; people's labels of all pairs do not help here" * vacuous)
    )
    lines.append(f"  all audited minus GPT-4's labels alone {_text(interval(everything, curves.at(OURS.name, 0.0)))}")
    for arm in arms:
        if arm != OURS.name:
            gain = interval(curves.at(OURS.name, ASKED), curves.at(arm, ASKED))
            lines.append(f"  ours minus {arm} at 20 % {_text(gain)}")
    return lines


def _has(curves: Curves, arm: str, share: float) -> bool:
    return share in (0.0, 1.0) or (arm, share) in curves.runs


def _bounds(one: Interval) -> Mapping[str, Json]:
    return {"mean": one.value, "low": one.low, "high": one.high}


def _text(one: Interval) -> str:
    return f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
