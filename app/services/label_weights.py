"""What a label weighs in training: by whose it is and, where its judge is calibrated, by how sure it is.

A person's grade weighs 1. All of it is our choice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from annotator.types import ConfidenceKind, Criterion
from app.bootstrap import Workspace
from app.services.calibrating import load_calibrator
from app.services.judged import judged_inputs
from db.queries.calibrating import list_calibrators
from db.queries.training import CuratedLabel, Proposal, list_accepted_proposals

CERTIFIED_WEIGHT = 0.8
"""What one accepted under a certificate weighs at most: at most ε of them are wrong."""

ACCEPTED_WEIGHT = 0.5
"""What an uncertified accepted suggestion weighs at most."""

PROPOSED_WEIGHT = 0.25
"""What a proposal that nobody accepted weighs at most."""

LEAST_WEIGHT = 0.01

CERTIFIED_P, ACCEPTED_P = 0.9, 0.75
"""How sure an accepted label is taken to be where no calibrator knows its judge: less than what is known to be sure.

A certified one more so: whatever became of its judge's calibrator, at most ε of its class are wrong.
"""


def weight_by(most: float, p: float) -> float:
    """`most` · (2p − 1), at least `LEAST_WEIGHT`; p: the calibrated probability that the label is on the right side."""
    return max(LEAST_WEIGHT, most * (2.0 * p - 1.0))


def weight_of(label: CuratedLabel) -> float:
    """The weight that a label was given, 1 for a person's, and for any other what it is worth without a calibrator."""
    if label.weight is not None:
        return label.weight
    if label.review_id is not None:
        return 1.0
    return weight_by(_most(label), CERTIFIED_P if label.certified else ACCEPTED_P)


def _most(label: CuratedLabel) -> float:
    return CERTIFIED_WEIGHT if label.certified else ACCEPTED_WEIGHT


def weigh_accepted(
    workspace: Workspace, session: Session, labels: Sequence[CuratedLabel], *, criterion: Criterion
) -> list[CuratedLabel]:
    """The labels, those of calibrated judges that no person audited with a weight by how sure they are.

    Where no calibrator knows the judge, its raw confidence counts for nothing: each judge means something else by it.
    """
    accepted = list_accepted_proposals(session, criterion=criterion)
    relevant = {proposal.row.pair_id: p for proposal, p in how_sure(workspace, session, accepted, criterion=criterion)}
    return [
        label
        if label.review_id is not None or label.pair_id not in relevant
        else replace(label, weight=weight_by(_most(label), _side(workspace, label, relevant[label.pair_id])))
        for label in labels
    ]


def _side(workspace: Workspace, label: CuratedLabel, p_relevant: float) -> float:
    return p_relevant if label.grade >= workspace.scale.relevant_from else 1.0 - p_relevant


def how_sure(
    workspace: Workspace, session: Session, proposals: Sequence[Proposal], *, criterion: Criterion
) -> Iterator[tuple[Proposal, float]]:
    """The proposals of calibrated judges, each with the calibrated probability that it is relevant."""
    stored = {
        (each.judge_id, each.confidence_kind): each
        for each in list_calibrators(session, criterion=criterion, scale=workspace.scale)
    }
    groups: dict[tuple[int, ConfidenceKind | None], list[Proposal]] = defaultdict(list)
    for proposal in proposals if stored else ():
        groups[proposal.judge_id, proposal.row.kind].append(proposal)
    for key, each in stored.items():
        group = groups[key]
        inputs = judged_inputs(session, [proposal.row for proposal in group])
        for proposal, p in zip(group, load_calibrator(each).p_relevant(inputs), strict=True):
            yield proposal, float(p)
