"""Judges side by side: how often they are right, how far they can be believed, what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import streamlit as st

from app.components.badges import KINDS, judge_text
from app.components.intervals import interval_html, interval_text
from app.components.table import show_html_table
from app.components.text import counted, escaped
from app.services.judge_views import ComparedJudge, JudgeComparison
from app.services.views import JudgeView

_BELIEF = (
    ("Judge", ""),
    ("Confidence", ""),
    ("Off by, raw", "ECE, lower is better"),
    ("Off by, calibrated", "ECE"),
    ("Surer when right, raw", "AUROC; 50 % is a coin"),
    ("Surer when right, calibrated", "AUROC"),
)


def by_accuracy(found: JudgeComparison) -> tuple[ComparedJudge, ...]:
    """The compared judges, the one that is right most often first."""
    return tuple(sorted(found.judges, key=lambda one: (one.behind_best is not None, -one.accuracy.value, one.id)))


def names_of(judges: Mapping[int, JudgeView]) -> dict[int, str]:
    """A short name for each judge by its number; the number is in it where two are called the same."""
    short = {number: _short(judge) for number, judge in judges.items()}
    often = Counter(short.values())
    return {number: name if often[name] == 1 else f"{name} (no. {number})" for number, name in short.items()}


def show_verdict(found: JudgeComparison) -> None:
    """Who is right most often, and of whom these reviews cannot tell it apart, in a few sentences."""
    names = names_of({one.id: one.judge for one in found.judges})
    best, *others = by_accuracy(found)
    rivals = [one for one in others if not _clearly_behind(one)]
    lines = []
    if rivals:
        lines.append(
            f"These reviews do not tell it apart from {_listed([names[one.id] for one in rivals])}: "
            "the difference may be chance."
        )
    if n_behind := len(others) - len(rivals):
        lines.append(f"{counted(n_behind, 'judge is', 'judges are')} clearly less often right.")
    priced = [one for one in (best, *rivals) if one.usd_per_1000 is not None]
    if len(priced) > 1:
        cheapest = min(priced, key=lambda one: one.usd_per_1000 or 0.0)
        lines.append(f"Of those, {names[cheapest.id]} is the cheapest: {_price(cheapest)} for 1,000 pairs.")
    rest = f"<span>{' '.join(escaped(line) for line in lines)}</span>" if lines else ""
    words = "is right most often, in" if others else "is right in"
    share = f"{escaped(names[best.id])} {words} {interval_text(best.accuracy)} of the pairs"
    st.html(f'<div class="rl-headline"><strong>{share}</strong>{rest}</div>')


def show_accuracy(found: JudgeComparison) -> None:
    """One row a judge: accuracy, by class, agreement, unreadable replies, price."""
    names = names_of({one.id: one.judge for one in found.judges})
    heads = (
        ("Judge", ""),
        ("Right", "all pairs"),
        ("Right when it says relevant", ""),
        ("Right when it says not", ""),
        ("Finds of the relevant", f"there are {found.judges[0].relevant.n_human:,}"),
        ("Agreement", "quadratic κ"),
        ("Not readable", ""),
        ("1,000 pairs cost", ""),
    )
    rows = [
        [
            _judge_html(one, names[one.id]),
            interval_html(one.accuracy),
            _class_html(interval_html(one.relevant.precision), one.relevant.n_proposed),
            _class_html(interval_html(one.irrelevant.precision), one.irrelevant.n_proposed),
            interval_html(one.relevant.recall),
            interval_html(one.kappa, percent=False),
            "none" if not one.n_unreadable else f"{one.n_unreadable:,} of {one.n_answered:,}",
            escaped(_price(one)),
        ]
        for one in by_accuracy(found)
    ]
    show_html_table(heads, rows, "How often each judge is right")


def show_belief(found: JudgeComparison) -> None:
    """One row a judge: raw and calibrated error of its confidence, and whether it is surer when it is right."""
    names = names_of({one.id: one.judge for one in found.judges})
    rows = []
    for one in by_accuracy(found):
        name = f"<strong>{escaped(names[one.id])}</strong>"
        if one.raw is None:
            rows.append([name, f'<span class="rl-muted">{escaped(one.calibration_note)}</span>', *[""] * 4])
            continue
        kind = escaped(KINDS.get(str(one.confidence_kind), str(one.confidence_kind)))
        pairs = f'<span class="rl-muted">{counted(one.n_confidence, "pair")}</span>'
        cells = [name, f"{kind}<br>{pairs}", interval_html(one.raw.ece, highest=0.3)]
        if one.calibrated is None:
            note = f'<span class="rl-muted">{escaped(one.calibration_note)}</span>'
            rows.append([*cells, note, interval_html(one.raw.auroc, lowest=0.5), ""])
            continue
        floor = f'<span class="rl-muted">perfect: {100 * one.calibrated.ece_if_perfect:.0f} %</span>'
        rows.append(
            [
                *cells,
                interval_html(one.calibrated.ece, highest=0.3) + floor,
                interval_html(one.raw.auroc, lowest=0.5),
                interval_html(one.calibrated.auroc, lowest=0.5),
            ]
        )
    show_html_table(_BELIEF, rows, "How far its confidence can be believed")


def _judge_html(one: ComparedJudge, name: str) -> str:
    if str(one.judge.kind) == "imported":
        origin = "imported"
    else:
        model = "" if one.judge.model in ("", one.judge.name) else f"{one.judge.model}, "
        origin = f"{model}prompt {one.judge.prompt_version[:8]}"
    return f'<strong>{escaped(name)}</strong><br><span class="rl-muted">{escaped(origin)}</span>'


def _class_html(drawn: str, n: int) -> str:
    return f'{drawn}<span class="rl-muted">of {counted(n, "pair")}</span>'


def _price(one: ComparedJudge) -> str:
    if one.usd_per_1000 is None:
        return "unknown"
    return "nothing" if one.usd_per_1000 == 0 else f"${one.usd_per_1000:,.2f}"


def _short(judge: JudgeView) -> str:
    return judge_text(judge).partition(":")[0]


def _clearly_behind(one: ComparedJudge) -> bool:
    return one.behind_best is not None and one.behind_best.high is not None and one.behind_best.high < 0


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
