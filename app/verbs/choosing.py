"""Choosing the judge whose proposals the pairs go by."""

from __future__ import annotations

from typing import Annotated

import typer

from app.terminal import print_json, say
from app.verbs.shared import AsJson, Where, WhichCriterion, criterion_of, opened


def use(
    judge: Annotated[str, typer.Argument(help="Its name or number; `relabel compare` lists them.")],
    where: Where = None,
    criterion: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Let the pairs go by this judge: its proposals become the current ones and are decided on; nothing is asked anew.

    Certificates of the judge that gives way are suspended for it.

    Example: relabel use gpt-4o-mini/pointwise
    """
    with opened(where) as workspace:
        from app.services import calibrating, choosing

        chosen = criterion_of(criterion)
        judge_id = calibrating.find_judge(workspace, judge, criterion=chosen)
        report = choosing.use_judge(workspace, judge_id=judge_id, criterion=chosen)
        if as_json:
            print_json(report)
        else:
            say(
                f"{report.changed:,} pairs go by {report.judge} now: {report.accepted:,} accepted (uncertified), "
                f"{report.rejected:,} rejected; {report.waiting:,} wait"
            )
