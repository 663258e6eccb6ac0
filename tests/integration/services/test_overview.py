"""What the Overview counts and what it says to do next, on a workspace with every split."""

from __future__ import annotations

from app.bootstrap import Workspace
from app.services.overview import get_overview
from db.enums import Split
from simulated import labelled, reviewed, simulated


def test_the_funnel_counts_train_pairs_and_says_apart_what_people_graded_of_the_others(
    any_workspace: Workspace,
) -> None:
    """A lead grades fifty calibrate pairs, reads "audited 0" and "170 candidates, 120 proposed", and trusts neither."""
    world = labelled(simulated(any_workspace))
    funnel = get_overview(any_workspace).funnel
    assert len(world.pairs(Split.TRAIN)) == 120
    assert (funnel.candidates, funnel.proposed, funnel.audited) == (120, 120, 0)
    assert get_overview(any_workspace).graded_candidates == "0 of 50 calibrate candidates graded"
    reviewed(world)
    view = get_overview(any_workspace)
    assert view.graded_candidates == "50 of 50 calibrate candidates graded"
    assert (view.funnel.candidates, view.funnel.audited) == (120, 0)


def test_candidates_of_calibrate_questions_alone_are_candidates(workspace: Workspace) -> None:
    """A workspace whose questions are all people's is told to pool what it has pooled, for ever."""
    simulated(workspace, n_train=0)
    view = get_overview(workspace)
    assert view.funnel.candidates == 0
    assert "relabel pool" not in [step.command for step in view.next_steps]
