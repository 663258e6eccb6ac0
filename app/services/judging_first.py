"""Judge these first: what two compared models put in their top 10 and nobody judged, put before the queue.

A comparison rests on judgements; where they are missing it counts passages as unrelated that may not be. Once they are
judged the models are compared again, which is another look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.errors import NotAllowed, NothingToDo
from app.services.indexing import dense_system
from db.models import Evaluation
from db.queries.audits import PEOPLE_ONLY
from db.queries.evaluating import get_evaluation_or_raise, get_per_query
from db.queries.judge_first import TopPair, count_first, put_first
from db.queries.registry import get_model_or_raise
from db.queries.training import count_looks


@dataclass(frozen=True, slots=True)
class JudgeFirstView:
    """unjudged: pairs in the top 10 of either model that nobody had judged when they were compared. asked: those put
    first for this comparison; waiting: those of them still without a grade. next_look: the number that comparing again
    will have.
    """

    unjudged: int
    asked: int
    waiting: int
    next_look: int


def get_judge_first(workspace: Workspace, *, evaluation_id: int) -> JudgeFirstView:
    """How much of a comparison's unjudged top was put first, and how much waits.

    Raises:
        NotFound: there is no such evaluation.
    """
    with workspace.sessions.read() as session:
        row = get_evaluation_or_raise(session, evaluation_id)
        asked, waiting = count_first(session, evaluation_id=evaluation_id)
        return JudgeFirstView(
            unjudged=row.comparison.get("n_to_judge", 0),
            asked=asked,
            waiting=waiting,
            next_look=count_looks(session, split=row.split, criterion=row.criterion) + 1,
        )


def judge_first(workspace: Workspace, *, evaluation_id: int) -> int:
    """Puts what nobody judged in the top 10 of either model before the queue; returns how many pairs wait there now.

    The best ranked come first; which model found a pair is not shown, so that nobody judges for or against one.

    Raises:
        NotFound: there is no such evaluation.
        NothingToDo: every passage in both tops is judged.
        NotAllowed: it was measured on train queries, whose pairs are not judged blind.
    """
    with workspace.sessions.begin() as session:
        row = get_evaluation_or_raise(session, evaluation_id)
        if row.split not in PEOPLE_ONLY:
            raise NotAllowed(
                f"evaluation {row.id} is on the {row.split} split",
                user_message="Only held-out and calibrate questions are judged first: those of the train split are "
                "shown with proposals, and such grades are no measure.",
            )
        systems = _systems(session, row)
        pairs = [
            TopPair(query_key=entry["query_id"], passage_key=passage, hits=_hits(systems, found))
            for entry in get_per_query(session, row.id)
            for passage, *found in entry.get("to_judge", ())
        ]
        put = put_first(session, pairs, evaluation_id=row.id, criterion=row.criterion, now=workspace.now())
        if not put:
            raise NothingToDo(
                f"evaluation {row.id} has no unjudged pair in its tops",
                user_message="Everything in the top 10 of these models is judged.",
            )
        return put


def _systems(session: Session, row: Evaluation) -> list[str]:
    ids = [row.model_version_id] + ([] if row.baseline_model_id is None else [row.baseline_model_id])
    return [dense_system(get_model_or_raise(session, model_id)) for model_id in ids]


def _hits(systems: Sequence[str], found: Sequence[Any]) -> Mapping[str, tuple[int, float]]:
    # In the order stored, the model before the baseline; one that did not find the passage left None.
    return {system: (hit[0], hit[1]) for system, hit in zip(systems, found, strict=False) if hit is not None}
