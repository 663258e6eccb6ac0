"""What a training run says of itself in sentences: what it trained on, what it left out, what its checks found.

The report is `retriever.types.TrainingReport` as `training_run.report` stores it; runs from before a figure was there
say nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.config import Speed

ON_TOP_REPORT = "adapter"
"""Where a run's report holds that of the adapter on top of its encoder."""


def warn(report: Mapping[str, Any]) -> str:
    """What people must know of a finished training before anything else; empty for one that went as it should."""
    unseen = report.get("unseen") or {}
    n = int(unseen.get("queries", 0))
    if report.get("keep", 1.0) == 0:
        if "queries new to live" in unseen:
            return (
                f"It changes nothing of the encoder: on the {n} questions put aside, no change that was learned was "
                "better than the live adapter. What it leaves is the encoder without an adapter."
            )
        return f"It changes nothing: on the {n} questions put aside, no change that was learned was better than none."
    if unseen.get("below_base"):
        return (
            f"It may do harm: on the {n} questions put aside, every part of the change that was tried is below the "
            f"model it started from: nDCG@10 {_change(unseen['base'], unseen['chosen'])}. "
            "The part that loses least is kept."
        )
    return ""


def remarks_on(report: Mapping[str, Any], *, speed: Speed, message: str = "") -> tuple[str, ...]:
    """All that a run trained on, left out and checked, without what the message says already.

    Nothing is left out without a word.
    """
    if speed is not Speed.FULL_ADAPTER:
        return _remarks(report, speed=speed, message=message)
    encoder = _remarks(report, speed=Speed.FULL, message=message)
    on_top = report.get(ON_TOP_REPORT)
    if on_top is None:
        return encoder
    if on_top.get("keep") == 0:
        n = int((on_top.get("unseen") or {}).get("queries", 0))
        said: tuple[str, ...] = (
            f"No adapter is on top: on the {n} questions put aside, none that was tried was better than none.",
        )
    else:
        said = (
            "Of the adapter on top, whose questions put aside the encoder below was trained on:",
            *_remarks(on_top, speed=Speed.ADAPTER, message=message),
        )
    return (*encoder, *said)


def _remarks(report: Mapping[str, Any], *, speed: Speed, message: str) -> tuple[str, ...]:
    warning = warn(report)
    said = [warning] if warning and warning not in message else []
    if report.get("stages"):
        said.append(f"Trained in this order: {', '.join(report['stages'])}.")
    if report.get("left_out_stages"):
        said.append(f"Left out, for they hold no relevant label: {', '.join(report['left_out_stages'])}.")
    dropped = [stage["name"] for stage in report.get("by_stage") or () if not stage["steps"] and stage["n_queries"]]
    if dropped and report.get("keep", 1.0) > 0:
        said.append(f"Tried and not kept, for no pass over them was better than none: {', '.join(dropped)}.")
    return (*said, *_left_out(report, speed), *_checked(report))


def _left_out(report: Mapping[str, Any], speed: Speed) -> Sequence[str]:
    said = []
    skipped = report.get("skipped_lists") or {}
    if skipped:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in skipped.items())
        said.append(f"Questions that could not be trained on ({reasons}).")
    cut, mined = report.get("cut_passages", 0), report.get("mined_negatives")
    if cut:
        why = "their passages are not in the index" if speed is Speed.ADAPTER else "list_size takes no more"
        what = "labels and mined negatives" if mined else "label" if cut == 1 else "labels"
        said.append(f"{cut:,} {what} {'was' if what == 'label' else 'were'} not trained on: {why}.")
    if mined is not None:
        said.append(f"{mined['mined']:,} hard negatives were mined, {mined['unlabelled']:,} of them judged by nobody.")
    return said


def _checked(report: Mapping[str, Any]) -> Sequence[str]:
    """What the questions put aside said, and how much of the change is kept for it."""
    unseen, keep = report.get("unseen") or {}, report.get("keep", 1.0)
    said = []
    n = int(unseen.get("queries", 0))
    if "queries" in unseen and not n:
        said.append(
            "No question could be put aside to check on: "
            "whether questions about other passages are harmed is not known."
        )
    if n and "nDCG@10 before" in unseen:
        said.append(
            f"Checked on {n:,} questions put aside with all their relevant passages: "
            f"nDCG@10 {_change(unseen['nDCG@10 before'], unseen['nDCG@10'])}."
        )
    for name, what in (
        ("seen", "put aside whose relevant passages were trained on"),
        ("trained", "trained on, for too few could be put aside"),
    ):
        if f"{name} nDCG@10 before" in unseen:
            change = _change(unseen[f"{name} nDCG@10 before"], unseen[f"{name} nDCG@10"])
            said.append(f"On {int(unseen[f'{name} queries']):,} questions {what}: nDCG@10 {change}.")
    if "queries new to live" in unseen:
        new = int(unseen["queries new to live"])
        said.append(
            "The model before is the live adapter where the passages were new to it, "
            f"{new:,} of the {n:,} questions, and the encoder alone elsewhere."
        )
    if "chosen" in unseen and not unseen.get("below_base"):
        said.append(
            f"Checked on {n:,} questions put aside with all their relevant passages: "
            f"nDCG@10 {_change(unseen['base'], unseen['chosen'])}."
        )
    if 0 < keep < 1:
        why = "as the questions put aside say" if n else "for nothing was put aside to check it on"
        said.append(f"{keep:.0%} of what was learned is kept, {why if unseen else 'as the settings say'}.")
    return said


def _change(before: float, now: float) -> str:
    return f"from {before:.3f} to {now:.3f}"
