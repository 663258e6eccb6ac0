"""Proposals that nobody accepted, as calibrated soft targets: trainable, with little weight, and never certain.

A proposal enters only if its judge is calibrated for that kind of confidence. All of it is our choice.
"""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy.orm import Session

from annotator.types import Criterion, Scale
from app.bootstrap import Workspace
from app.services.calibrating import load_calibrator
from app.services.judged import judged_inputs
from db.enums import LabelSource
from db.queries.calibrating import list_calibrators
from db.queries.training import CuratedLabel, OpenProposal, list_open_proposals

SURE_FROM = 0.8
"""A proposal is a positive or a negative only when its calibrated side is at least this sure; between it is weak."""

PROPOSED_WEIGHT = 0.25
"""What a proposal of certain calibrated confidence weighs beside a person's grade (1); at p = ½ it weighs next to 0."""

LEAST_WEIGHT = 0.01
_WEAK_FROM = 0.5  # below it, training takes a grade for a negative
_BELOW_RELEVANT = 0.01


def list_soft_targets(workspace: Workspace, session: Session, *, criterion: Criterion) -> list[CuratedLabel]:
    """The proposals that may train, each with its expected grade and weight; none when the settings say so."""
    if not workspace.settings.train_on_proposed:
        return []
    calibrators = {
        (stored.judge_id, stored.confidence_kind): load_calibrator(stored)
        for stored in list_calibrators(session, criterion=criterion, scale=workspace.scale)
    }
    if not calibrators:
        return []
    scale = workspace.scale
    by_calibrator: dict[tuple[int, object], list[OpenProposal]] = defaultdict(list)
    for proposal in list_open_proposals(session, criterion=criterion):
        by_calibrator[proposal.judge_id, proposal.row.kind].append(proposal)
    labels = []
    for (judge_id, kind), calibrator in calibrators.items():
        proposals = by_calibrator[judge_id, kind]
        inputs = judged_inputs(session, [proposal.row for proposal in proposals])
        for proposal, p in zip(proposals, calibrator.p_relevant(inputs), strict=True):
            labels.append(_label(proposal, float(p), scale))
    return sorted(labels, key=lambda label: (label.query_key, label.passage_key))


def _label(proposal: OpenProposal, p: float, scale: Scale) -> CuratedLabel:
    return CuratedLabel(
        pair_id=proposal.row.pair_id,
        query_id=proposal.row.query_id,
        query_key=proposal.query_key,
        passage_key=proposal.passage_key,
        grade=soft_grade(proposal.row.grade, p, scale),
        source=LabelSource.PROPOSED,
        suggestion_id=proposal.row.suggestion_id,
        decision_id=None,
        review_id=None,
        weight=soft_weight(p),
    )


def soft_grade(grade: int, p_relevant: float, scale: Scale) -> float:
    """The grade to be expected of a proposal of `grade` that is relevant with probability `p_relevant`.

    Formula: E = p·r + (1 − p)·i, with r = grade and i = 0 where the proposed side is relevant, r = relevant_from and
    i = grade where it is not. Where the calibrated probability is at least `SURE_FROM` on the proposed side, E is kept
    on that side; everywhere else it is kept between the sides, where training takes it for neither a positive nor a
    negative: one in doubt, or whose judge the calibrator contradicts, is never a certain example. Our choice.
    """
    proposed = scale.is_relevant(grade)
    relevant, irrelevant = (grade, 0) if proposed else (scale.relevant_from, grade)
    expected = p_relevant * relevant + (1.0 - p_relevant) * irrelevant
    if proposed and p_relevant >= SURE_FROM:
        return max(float(scale.relevant_from), expected)
    top = scale.relevant_from - _BELOW_RELEVANT
    if not proposed and p_relevant <= 1.0 - SURE_FROM:
        return min(expected, top)
    return min(max(expected, _WEAK_FROM), top)


def soft_weight(p_relevant: float) -> float:
    """`PROPOSED_WEIGHT` · |2p − 1|, at least `LEAST_WEIGHT`: the less is known, the less it counts. Our choice."""
    return max(LEAST_WEIGHT, PROPOSED_WEIGHT * abs(2.0 * p_relevant - 1.0))
