"""What the Overview counts and what it says to do next, on a workspace with every split."""

from __future__ import annotations

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import calibrating, certifying, evaluating
from app.services.indexing import ensure_live_model
from app.services.overview import get_overview
from builders import add_candidates, add_corpus, judge_held_out
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


def test_the_overview_leads_from_blind_reviews_to_the_first_certificate(workspace: Workspace) -> None:
    """A lead who graded fifty calibrate pairs is told to grade more, and never that the judge can be certified now."""

    def steps() -> dict[str, tuple[str | None, str | None]]:
        return {" ".join(s.text.split()[:3]): (s.screen, s.command) for s in get_overview(workspace).next_steps}

    world = simulated(workspace)
    assert steps()["Have a judge"] == ("labelling", "relabel label")
    labelled(world)
    assert not {"Fit the calibrator", "Plan a certificate"} & set(steps())
    reviewed(world)
    assert steps()["Fit the calibrator"] == ("calibration", "relabel calibrate")
    judge_id = calibrating.find_judge(workspace, None)
    calibrating.calibrate(workspace, judge_id=judge_id)
    assert "Fit the calibrator" not in steps()
    assert steps()["Plan a certificate"] == ("calibration", "relabel certify plan")
    certifying.freeze(workspace, judge_id=judge_id, n=20, person="Olga", epsilon=0.3, seed=3)
    assert "Plan a certificate" not in steps()
    assert next(iter(steps())) == "Audit: 20 of"
    utility = [s.text for s in get_overview(workspace, criterion=Criterion.UTILITY).next_steps]
    assert not any(text.startswith(("Fit", "Plan")) for text in utility), "another criterion, another calibrator"


def test_a_live_model_that_nobody_measured_is_to_be_measured_once_it_can_be(workspace: Workspace) -> None:
    """A baseline that was never measured: the first look is spent before anyone knows where the model stood."""

    def told() -> bool:
        return "relabel evaluate" in [step.command for step in get_overview(workspace).next_steps]

    add_corpus(workspace)
    add_candidates(workspace)
    model = ensure_live_model(workspace)
    assert not told(), "nobody judged a held-out passage"
    judge_held_out(workspace)
    assert told()
    evaluating.run_evaluation(workspace, model=model)
    assert not told()


def test_without_a_name_the_judge_meant_is_one_that_can_be_certified(workspace: Workspace) -> None:
    """`relabel certify plan` answers that the local judge cannot be certified, although an LLM judged half of it."""
    world = labelled(simulated(workspace), name="uncertain/1", certifiable=False)
    assert calibrating.find_judge(workspace, None) == calibrating.find_judge(workspace, "uncertain/1")
    labelled(world)
    assert calibrating.find_judge(workspace, None) == calibrating.find_judge(workspace, "scripted/1")
