"""Putting one judge's proposals in the place of others': which judge the pairs go by is chosen, never a side effect."""

from __future__ import annotations

from dataclasses import dataclass

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.refusals import refuse_revoked_judge
from app.services.routing import route
from db.models import JudgeRow
from db.queries import labelling as label_queries
from db.queries.states import set_suggestions

_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class UseReport:
    """How many pairs go by the judge from now on, and what was decided about them."""

    judge: str
    changed: int
    accepted: int
    rejected: int
    waiting: int


def use_judge(workspace: Workspace, *, judge_id: int, criterion: Criterion = Criterion.RELEVANCE) -> UseReport:
    """Makes what this judge has proposed already the current proposals, then decides on them; nothing is asked anew.

    A certificate under which another judge's label is accepted is suspended where this judge takes the label's place;
    pairs of an open batch stay as they were frozen. Safe to stop at any moment and to repeat.

    Raises:
        NothingToDo: the judge has proposed nothing for which another judge's proposal is current.
        NotAllowed: the judge is revoked.
    """
    changed, after = 0, 0
    while True:
        with workspace.sessions.begin() as session:
            judge = session.get(JudgeRow, judge_id)
            if judge is not None:
                refuse_revoked_judge(session, judge)
            found = label_queries.list_to_use(
                session, judge_id=judge_id, criterion=criterion, after=after, limit=_CHUNK
            )
            set_suggestions(session, found, criterion=criterion, now=workspace.now())
        if not found:
            break
        changed, after = changed + len(found), found[-1].pair_id
    if judge is None or not changed:
        name = "This judge" if judge is None else judge.name
        raise NothingToDo(
            f"judge {judge_id} has nothing to put in another judge's place",
            user_message=f"{name} has no readable proposal for a pair that goes by another judge.",
        )
    routed = route(workspace, criterion=criterion)
    return UseReport(judge.name, changed, routed.accepted, routed.rejected, routed.waiting)
