"""The audit queue: how long it is and why, and building it anew."""

from __future__ import annotations

from typing import Annotated

import typer

from app.terminal import print_json, print_table, say
from app.verbs.shared import AsJson, Where, WhichCriterion, criterion_of, opened

_WORDS = {
    "near-threshold": "at the border between relevant and not relevant",
    "high-rank": "near the top of a question's results",
    "disagreement": "judges disagree",
    "false-negative": "search finds it, yet it counts as not relevant or was never judged",
    "unreadable": "the judge's reply could not be read",
    "suspect-human": "sure judges contradict a person: a second one is asked",
    "people-only": "the question is judged by people only",
    "drawn": "drawn at random",
    "other": "the judge is not sure",
}


def queue(
    action: Annotated[str, typer.Argument(help="show, or rebuild to put it in order anew.")] = "show",
    where: Where = None,
    criterion: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Show how many pairs wait for people, by cause, or build the audit queue anew while they go on.

    Example: relabel queue rebuild
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid
        from app.services import queue_order

        chosen = criterion_of(criterion)
        if action not in ("show", "rebuild"):
            raise InputInvalid(f"relabel queue {action} is not known; choose show or rebuild")
        if action == "rebuild":
            queue_order.rebuild(workspace, criterion=chosen)
        view = queue_order.get_queue(workspace, criterion=chosen)
        if as_json:
            print_json(view)
            return
        if not view.version:
            say("There is no queue yet. Label first. [relabel label]")
            return
        rows = [[one.cause, f"{one.pairs:,}", _WORDS[one.cause]] for one in view.causes]
        print_table(["cause", "pairs", "means"], rows, title=f"{view.pairs:,} pairs wait (version {view.version})")
        if view.behind:
            say("Its order is behind; the worker builds it anew, or: relabel queue rebuild")
