"""What trains without being accepted: proposals of calibrated judges, marked, light, and of train questions only."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from annotator.routing import BareThreshold
from annotator.types import Criterion
from app.bootstrap import Workspace
from app.components.badges import sources_text
from app.errors import NothingToDo
from app.services import label_sets, routing
from builders import pair_ids
from db.enums import LabelSource, Split
from db.models import LabelSetItem
from simulated import World, certifiable, labelled, simulated, with_settings

NOTHING_PASSES = BareThreshold(threshold_relevant=1.0, threshold_irrelevant=1.0)


def frozen_items(world: World) -> list[LabelSetItem]:
    with world.workspace.sessions.begin() as session:
        made = label_sets.freeze(world.workspace, session, criterion=Criterion.RELEVANCE, person="Ada")
        return list(session.scalars(sa.select(LabelSetItem).where(LabelSetItem.label_set_id == made.id)))


def test_proposals_nobody_accepted_train_as_marked_soft_targets(any_workspace: Workspace) -> None:
    """Nothing trains before it is accepted, or what trains unaccepted passes for curated."""
    world = certifiable(any_workspace)
    routing.route(any_workspace, policy=NOTHING_PASSES)
    items = frozen_items(world)
    train = {pair_ids(any_workspace)[key] for key in world.pairs(Split.TRAIN)}
    assert {item.pair_id for item in items} == train
    assert {item.source for item in items} == {LabelSource.PROPOSED}
    assert all(0 < item.weight <= 0.25 for item in items)
    assert {item.decision_id for item in items} == {item.review_id for item in items} == {None}
    assert all(item.suggestion_id is not None for item in items)
    counts = label_sets.get_trainable(any_workspace).counts
    assert counts == {"proposed": 120}
    assert sources_text(counts, n_uncertified=0) == "120 from proposals not accepted (soft targets)"
    person = world.person("Ada", at_most=5)
    assert person == 5
    again = {item.source: item.weight for item in frozen_items(world)}
    assert again[LabelSource.HUMAN] == 1.0


def test_proposals_of_an_uncalibrated_judge_do_not_train(workspace: Workspace) -> None:
    """A number that a model made up about itself becomes a training target."""
    world = labelled(simulated(workspace))
    routing.route(workspace, policy=NOTHING_PASSES)
    with pytest.raises(NothingToDo):
        frozen_items(world)


def test_the_setting_keeps_them_out(workspace: Workspace) -> None:
    """Who wants only curated grades has to take the rest too."""
    world = with_settings(certifiable(workspace), train_on_proposed=False)
    routing.route(workspace, policy=NOTHING_PASSES)
    with pytest.raises(NothingToDo):
        frozen_items(world)
