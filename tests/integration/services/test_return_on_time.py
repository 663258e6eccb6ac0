"""What hours and dollars gained, by hand on both databases; no number of the next audits without two rounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from annotator.types import Criterion, JudgeIdentity, JudgeKind
from app.bootstrap import Workspace
from app.config import settings_from
from app.services.my_work import PAUSE_SECONDS
from app.services.return_on_time import get_return
from builders import Clock, add_model, with_clock
from compared import add_questions, add_reviews
from db.enums import Role, RoundStatus, RunStatus, SpendState, Split
from db.models import LabelJob, SpendEntry, TrainingRound
from db.queries.labelling import ensure_judge
from worked import NOW, all_pairs, person, retrained, said, say_all, undo

HOUR = timedelta(hours=1)


@pytest.fixture
def trained(any_workspace: Workspace) -> Workspace:
    """72 train pairs from a file; Ada grades 24 before noon and 24 in each of the next two hours, 60 s each."""
    add_questions(any_workspace, split=Split.TRAIN)
    add_reviews(any_workspace)
    person(any_workspace, "Olga", Role.OWNER)
    pairs = list(all_pairs(any_workspace).values())
    for number in range(3):
        at = NOW + number * HOUR - timedelta(minutes=30)
        say_all(
            any_workspace,
            [said(pair, "Ada", 1, seconds=60.0, created_at=at) for pair in pairs[number * 24 : number * 24 + 24]],
        )
    return with_clock(any_workspace, Clock(NOW + 5 * HOUR))


def first_and_second(workspace: Workspace, *, gain: tuple[float, float, float], n: int = 50) -> tuple[int, int]:
    """A first model against the base, a second against the first an hour and 24 audits later; ids of models."""
    base = add_model(workspace, "base", live=True)
    first, _ = retrained(workspace, "m1", at=NOW, against=base, gain=(0.1, 0.05, 0.15))
    second, _ = retrained(workspace, "m2", at=NOW + HOUR, against=first, gain=gain, n=n)
    return first, second


def test_without_models_it_says_that_two_rounds_are_needed(trained: Workspace) -> None:
    """A number from nothing, or a page that fails."""
    found = get_return(trained, person="Ada")
    assert (found.steps, found.projection, found.stop) == ((), None, None)
    assert "Not enough rounds to say: it needs two" in found.text
    assert (found.audits, found.hours) == (72, pytest.approx(72 / 60))


def test_the_first_training_says_nothing_of_the_next_audits(trained: Workspace) -> None:
    """All that the judge's labels brought, put down to people's hours."""
    base = add_model(trained, "base", live=True)
    retrained(trained, "m1", at=NOW, against=base, gain=(0.1, 0.05, 0.15))
    found = get_return(trained, person="Ada")
    (step,) = found.steps
    assert "first training" in step.why_not
    assert (step.audits, step.hours) == (24, pytest.approx(0.4))
    assert step.per_hour is not None
    assert step.per_hour.value == pytest.approx(0.25)
    assert (found.projection, found.stop) == (None, None)
    assert "m1: the first training" in found.text


def test_two_rounds_give_a_gain_per_hour_and_a_projection(trained: Workspace) -> None:
    """Hours, audits or intervals of another stretch of time than the gain."""
    first_and_second(trained, gain=(0.012, 0.006, 0.018))
    found = get_return(trained, person="Ada")
    step = found.steps[0]
    assert (step.model, step.compared_with, step.why_not) == ("m2", "m1", "")
    assert (step.audits, step.hours, step.gain.n_queries) == (24, pytest.approx(0.4), 50)
    assert step.per_hour is not None
    assert (step.per_hour.value, step.per_hour.low, step.per_hour.high) == pytest.approx((0.03, 0.015, 0.045))
    assert found.projection is not None
    assert (found.projection.n_steps, found.projection.shape) == (1, "straight")
    assert found.projection.expected == pytest.approx(0.05)  # .012 for 24 audits
    assert (found.stop, found.sure) == (False, True)
    assert found.text.startswith("Go on: 100 more audits are expected to gain +0.0500 nDCG@10")
    assert "50 held-out questions" in found.text


def test_a_small_sure_gain_says_stop_now_in_plain_words(trained: Workspace) -> None:
    """People who go on for weeks for nothing."""
    first_and_second(trained, gain=(0.0001, 0.00005, 0.00015))
    found = get_return(trained, person="Ada")
    assert (found.stop, found.sure) == (True, True)
    assert found.projection is not None
    assert found.text.startswith(
        f"You can stop now: 100 more audits are expected to gain less than {found.projection.high:.4f} nDCG@10"
    )
    assert found.projection.high < found.least_gain == 0.002


def test_an_unsure_stop_says_what_is_not_excluded(trained: Workspace) -> None:
    """Stop, said of an interval as wide as the gain of a year."""
    first_and_second(trained, gain=(0.0, -0.02, 0.02))
    found = get_return(trained, person="Ada")
    assert (found.stop, found.sure) == (True, False)
    assert "not surely" in found.text
    assert "is not excluded" in found.text


def test_few_held_out_questions_or_few_audits_give_no_advice(trained: Workspace) -> None:
    """Noise, told to four digits."""
    first, _ = first_and_second(trained, gain=(0.01, 0.0, 0.02), n=29)
    found = get_return(trained, person="Ada")
    assert found.projection is None
    assert "29 held-out questions, at least 30 are needed" in found.text
    retrained(trained, "m3", at=NOW + timedelta(minutes=1), against=first, gain=(0.01, 0.0, 0.02))
    found = get_return(trained, person="Ada")
    assert "0 audits, at least 20 are needed" in found.text


def test_three_rounds_let_the_rate_fall_as_it_fell(trained: Workspace) -> None:
    """Two candidates beside one model, taken for a row of two steps."""
    first, second = first_and_second(trained, gain=(0.012, 0.006, 0.018))
    retrained(trained, "m3", at=NOW + 2 * HOUR, against=second, gain=(0.006, 0.003, 0.009))
    found = get_return(trained, person="Ada")
    assert found.projection is not None
    assert (found.projection.n_steps, found.projection.shape, found.projection.n_audits) == (2, "declining", 48)
    assert found.projection.expected < 0.006 / 24 * 100
    retrained(trained, "m4", at=NOW + 2 * HOUR, against=first, gain=(0.018, 0.009, 0.027))
    beside = get_return(trained, person="Ada").projection
    assert beside is not None
    assert (beside.n_steps, beside.n_audits) == (1, 48)  # from m1 on: nothing measured ended before it began


def test_what_was_undone_paused_or_done_elsewhere_is_no_audit(trained: Workspace) -> None:
    """A pause paid as work, or work that trains nothing counted as labels."""
    pairs = list(all_pairs(trained).values())
    at = NOW + 3 * HOUR
    (taken, _) = say_all(
        trained,
        [
            said(pairs[0], "Bob", 1, seconds=36.0, created_at=at),
            said(pairs[1], "Bob", 1, seconds=PAUSE_SECONDS + 1, created_at=at),
        ],
    )
    undo(trained, taken, created_at=at)
    found = get_return(trained, person="Ada")
    assert (found.audits, found.hours) == (72, pytest.approx(72 / 60 + 0.01))
    assert found.other_hours == 0


def test_a_round_is_told_by_its_own_measurement(trained: Workspace) -> None:
    """The gain over the live model, where the round had measured that over the round before."""
    first, _ = first_and_second(trained, gain=(0.5, 0.4, 0.6))
    _, run = retrained(trained, "m3", at=NOW + 2 * HOUR, against=first, gain=(0.5, 0.4, 0.6))
    with trained.sessions.begin() as session:
        gain = {"mean": 0.004, "low": 0.001, "high": 0.007, "n_queries": 40}
        session.add(
            TrainingRound(
                number=2,
                criterion=Criterion.RELEVANCE,
                status=RoundStatus.DONE,
                stage="over",
                pooled_with_id=first,
                run_id=run,
                n_audits=48,
                settings={},
                progress={"measured": {"gain": gain, "compared_with": first}},
                created_at=NOW,
            )
        )
    step = get_return(trained, person="Ada").steps[0]
    assert (step.model, step.round_number, step.gain.mean, step.gain.n_queries) == ("m3", 2, 0.004, 40)
    assert step.audits == 48


def test_dollars_are_told_where_they_are_known_and_wages_to_owners_alone(trained: Workspace) -> None:
    """A price of nothing where no price is known; what an hour costs, shown to everybody."""
    paid = replace(trained, settings=settings_from(trained.settings.workspace, {"reviewer_hourly_cost": 30.0}))
    first_and_second(trained, gain=(0.012, 0.006, 0.018))
    job = spend(trained, usd=2.0, at=NOW + timedelta(minutes=10))
    found = get_return(paid, person="Olga")
    step = found.steps[0]
    assert (found.llm_usd, step.llm_usd, found.hourly_cost) == (2.0, 2.0, 30.0)
    assert step.cost == pytest.approx(0.4 * 30 + 2)
    assert step.per_llm_usd is not None
    assert step.per_llm_usd.value == pytest.approx(0.006)
    assert step.per_usd is not None
    assert step.per_usd.value == pytest.approx(0.012 / 14)
    assert found.steps[1].per_llm_usd is None  # nothing was spent before the first model
    ada = get_return(paid, person="Ada")
    assert (ada.hourly_cost, ada.steps[0].cost, ada.steps[0].per_usd) == (None, None, None)
    assert ada.steps[0].per_llm_usd == step.per_llm_usd
    with trained.sessions.begin() as session:
        session.add(entry(job, cost=None))
    unknown = get_return(paid, person="Olga")
    assert (unknown.llm_usd, unknown.steps[0].llm_usd, unknown.steps[0].cost) == (None, None, None)


def spend(workspace: Workspace, *, usd: float, at: object) -> int:
    """A finished label job that cost so much; returns its id."""
    identity = JudgeIdentity("llm", JudgeKind.LLM, "m", "1", Criterion.RELEVANCE, True, {})
    with workspace.sessions.begin() as session:
        judge = ensure_judge(session, identity, now=NOW)
        job = LabelJob(
            judge_id=judge.id,
            criterion=Criterion.RELEVANCE,
            n_pairs=1,
            started_at=at,
            status=RunStatus.DONE,
            spent_tokens=100,
            spent_usd=usd,
        )
        session.add(job)
        session.flush()
        session.add(entry(job.id, cost=usd))
        return job.id


def entry(job_id: int, *, cost: float | None) -> SpendEntry:
    return SpendEntry(
        job_id=job_id,
        endpoint="e",
        key="k",
        owner="o",
        state=SpendState.SETTLED,
        tokens=100,
        cost_usd=cost,
        created_at=NOW,
        expires_at=NOW,
        settled_at=NOW,
    )
