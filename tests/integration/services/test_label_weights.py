"""What a label weighs in training: by whose it is, and by how sure its calibrated judge is of it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from annotator.routing import BareThreshold
from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import label_sets, labels, lineage, revoking, routing
from app.services.label_weights import (
    ACCEPTED_P,
    ACCEPTED_WEIGHT,
    CERTIFIED_WEIGHT,
    LEAST_WEIGHT,
    PROPOSED_WEIGHT,
    weight_by,
)
from builders import add_model, pair_ids
from db.enums import LabelSource, RunStatus
from db.models import LabelSetItem, Suggestion, TrainingRun
from simulated import World, certifiable, labelled, simulated

ABOUT = Criterion.RELEVANCE
EVERYTHING = BareThreshold(threshold_relevant=0.0, threshold_irrelevant=0.0)


def weights(world: World) -> dict[int, tuple[float, float | None]]:
    """By pair: its weight in the next label set, and what its judge said of its own confidence."""
    with world.workspace.sessions.begin() as session:
        made = label_sets.freeze(world.workspace, session, criterion=ABOUT, person="Ada")
        rows = session.execute(
            sa.select(LabelSetItem.pair_id, LabelSetItem.weight, Suggestion.confidence)
            .outerjoin(Suggestion, Suggestion.id == LabelSetItem.suggestion_id)
            .where(LabelSetItem.label_set_id == made.id, LabelSetItem.source != LabelSource.PROPOSED)
        )
        return {pair_id: (weight, confidence) for pair_id, weight, confidence in rows}


def test_what_a_calibrated_judge_is_surer_of_weighs_more(any_workspace: Workspace) -> None:
    """A label accepted by a hair trains as hard as one that is beyond doubt."""
    world = certifiable(any_workspace)
    routing.route(any_workspace, policy=EVERYTHING)
    found = weights(world)
    by_confidence: dict[float | None, list[float]] = {}
    for weight, confidence in found.values():
        by_confidence.setdefault(confidence, []).append(weight)
    assert len(by_confidence) > 1
    means = [sum(group) / len(group) for _, group in sorted(by_confidence.items(), key=lambda item: item[0] or 0.0)]
    assert means == sorted(means)
    assert means[0] < means[-1]
    assert all(LEAST_WEIGHT <= weight <= ACCEPTED_WEIGHT for weight, _ in found.values())


def test_a_persons_grade_weighs_one_whatever_the_judge_was(any_workspace: Workspace) -> None:
    """The doubts of a judge who was overruled take weight from the person who overruled it."""
    world = certifiable(any_workspace)
    routing.route(any_workspace, policy=EVERYTHING)
    before = weights(world)
    graded = next(pair for key, pair in pair_ids(any_workspace).items() if pair in before and world.said[key][0] == 0)
    labels.overturn(any_workspace, pair_id=graded, person="Ada", grade=2, note="")
    after = weights(world)
    assert after[graded][0] == 1.0
    assert {pair: after[pair] for pair in before if pair != graded} == {
        pair: kept for pair, kept in before.items() if pair != graded
    }


def test_a_judges_own_confidence_weighs_nothing_until_it_is_calibrated(workspace: Workspace) -> None:
    """A judge that is always sure outweighs an honest one."""
    world = labelled(simulated(workspace))
    routing.route(workspace, policy=EVERYTHING)
    found = weights(world)
    assert len({confidence for _, confidence in found.values()}) > 1
    assert {weight for weight, _ in found.values()} == {weight_by(ACCEPTED_WEIGHT, ACCEPTED_P)}


def test_what_only_weighs_otherwise_is_no_reason_to_retrain(any_workspace: Workspace) -> None:
    """Pooling moves a calibrated probability by a hair, and the Overview asks for a retraining each time."""
    world = certifiable(any_workspace)
    routing.route(any_workspace, policy=EVERYTHING)
    before = weights(world)
    model = add_model(any_workspace, "base", live=True)
    with any_workspace.sessions.begin() as session:
        made = label_sets.freeze(any_workspace, session, criterion=ABOUT, person="Ada")
        session.add(
            TrainingRun(
                label_set_id=made.id,
                base_model_id=model,
                model_version_id=model,
                workflow_id="w",
                status=RunStatus.DONE,
                stage="done",
                settings={},
                report={},
                created_at=any_workspace.now(),
            )
        )

    def is_trained() -> bool:
        with any_workspace.sessions.read() as session:
            return label_sets.is_trained(any_workspace, session, criterion=ABOUT)

    assert is_trained()
    grace = lineage.find_author(any_workspace, person="Grace")
    revoking.revoke(any_workspace, author=grace, reason="a trainee", person=any_workspace.settings.person)
    assert weights(world) != before, "the calibrator was fitted on her blind reviews"
    assert is_trained()
    labels.overturn(any_workspace, pair_id=next(iter(before)), person="Ada", grade=2, note="")
    assert not is_trained()


@given(p=st.floats(0, 1))
def test_of_equally_sure_labels_the_better_founded_weighs_more(p: float) -> None:
    """Acceptance costs a label weight, or a contradicted one pulls the other way."""
    certified, accepted, proposed = (
        weight_by(most, p) for most in (CERTIFIED_WEIGHT, ACCEPTED_WEIGHT, PROPOSED_WEIGHT)
    )
    assert 1.0 > certified >= accepted >= proposed >= LEAST_WEIGHT
    assert weight_by(CERTIFIED_WEIGHT, min(p, 1 - p)) == pytest.approx(LEAST_WEIGHT)
