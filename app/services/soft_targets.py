"""Proposals that nobody accepted, as calibrated soft targets: trainable, with little weight, and never certain.

A proposal enters only if its judge is calibrated for that kind of confidence. All of it is our choice.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from annotator.types import Criterion, Scale
from app.bootstrap import Workspace
from app.services.label_weights import PROPOSED_WEIGHT, how_sure, weight_by
from db.enums import LabelSource
from db.queries.training import CuratedLabel, Proposal, list_open_proposals

SURE_FROM = 0.8
"""A proposal is a positive or a negative only when its calibrated side is at least this sure; between it is weak."""

_WEAK_FROM = 0.5  # below it, training takes a grade for a negative
_BELOW_RELEVANT = 0.01


def list_soft_targets(workspace: Workspace, session: Session, *, criterion: Criterion) -> list[CuratedLabel]:
    """The proposals that may train, each with its expected grade and weight; none when the settings say so."""
    if not workspace.settings.train_on_proposed:
        return []
    proposals = list_open_proposals(session, criterion=criterion)
    labels = [
        _label(proposal, p, workspace.scale)
        for proposal, p in how_sure(workspace, session, proposals, criterion=criterion)
    ]
    return sorted(labels, key=lambda label: (label.query_key, label.passage_key))


def _label(proposal: Proposal, p: float, scale: Scale) -> CuratedLabel:
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
    return weight_by(PROPOSED_WEIGHT, max(p_relevant, 1.0 - p_relevant))
