"""Judging the judges: compare them and their prompts on the same blind reviews."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import print_json, print_table, say, tell
from app.verbs.shared import AsJson, Where, WhichCriterion, criterion_of, is_pooled, opened, option_of, say_next

if TYPE_CHECKING:
    from app.bootstrap import Workspace
    from app.services.judge_views import IntervalView, JudgeComparison


def compare(
    where: Where = None,
    split: Annotated[str, typer.Option(help="Questions whose blind reviews count: calibrate or train.")] = "calibrate",
    judge: Annotated[
        list[int] | None, typer.Option(help="Only this judge, by its number; may be repeated \\[default: all].")
    ] = None,
    about: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Compare judges and prompts on the same blind reviews: accuracy by class, agreement, calibration, price.

    Only pairs that every compared judge labelled count. Brackets hold 95 % intervals, drawn by question.

    Example: relabel compare --json
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid
        from app.services.comparing import compare_judges
        from db.enums import Split

        try:
            chosen = Split(split)
        except ValueError as exc:
            raise InputInvalid(f"--split is {split!r}; choose calibrate or train") from exc
        criterion = criterion_of(about)
        found = compare_judges(workspace, criterion=criterion, split=chosen, judge_ids=judge or None)
        if as_json:
            print_json(found)
        else:
            _show(found)
            _say_next(workspace, found)


def _say_next(workspace: Workspace, found: JudgeComparison) -> None:
    """A comparison with judges is followed by choosing one; without, by what it lacks."""
    also = option_of(found.criterion)
    if len(found.judges) == 1:
        say(f"Next: fit the judge's calibrator. [relabel calibrate --judge {found.judges[0].id}{also}]")
    elif found.judges:
        say(
            "Next: let the pairs go by the judge you choose [relabel use NUMBER] and fit its calibrator. "
            f"[relabel calibrate --judge NUMBER{also}]"
        )
    elif found.n_reviews:
        say(f"Next: have a judge propose for the {found.split} questions. [relabel label]")
    elif is_pooled(workspace):
        say(f"Next: grade candidates of {found.split} questions blind, on the Review screen. [relabel serve]")
    else:
        say_next(workspace, found.criterion)


def _show(found: JudgeComparison) -> None:
    tell(f"{found.n_reviews:,} pairs of {found.split} questions graded blind, {found.n_relevant:,} of them relevant")
    if found.judges:
        tell(
            f"Compared on {found.n_readable:,} pairs of {found.n_questions:,} questions; left out: "
            f"{found.n_left_out:,} not labelled by all, {found.n_common - found.n_readable:,} unreadable for one"
        )
        print_table(
            [
                "",
                "judge",
                "prompt",
                "right",
                "relevant right",
                "irrelevant right",
                "kappa",
                "unreadable",
                "$ per 1,000",
            ],
            [
                [
                    str(one.id),
                    one.judge.name,
                    one.judge.prompt_version[:8],
                    _share(one.accuracy),
                    _share(one.relevant.precision),
                    _share(one.irrelevant.precision),
                    _number(one.kappa),
                    f"{one.n_unreadable:,} of {one.n_answered:,}",
                    "unknown" if one.usd_per_1000 is None else f"{one.usd_per_1000:.2f}",
                ]
                for one in found.judges
            ],
        )
        print_table(
            ["", "judge", "confidence", "pairs", "ECE raw", "ECE calibrated", "AUROC raw", "AUROC calibrated", ""],
            [
                [
                    str(one.id),
                    one.judge.name,
                    "none" if one.confidence_kind is None else str(one.confidence_kind),
                    f"{one.n_confidence:,}",
                    _number(one.raw.ece if one.raw else None),
                    _number(one.calibrated.ece if one.calibrated else None),
                    _number(one.raw.auroc if one.raw else None),
                    _number(one.calibrated.auroc if one.calibrated else None),
                    one.calibration_note,
                ]
                for one in found.judges
            ],
        )
    else:
        tell("Nothing to compare: no pair that people graded blind has a readable proposal.")
    for other in found.others:
        tell(f"Not compared: {other.id} {other.judge.name}, labelled {other.n_labelled:,} of the pairs")


def _share(interval: IntervalView | None) -> str:
    if interval is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.0%}"
    return f"{interval.value:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _number(interval: IntervalView | None) -> str:
    if interval is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.2f}"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
