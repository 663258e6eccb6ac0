"""The workspaces that the documentation's pictures are taken of: one that a team worked in, one with two LLM judges.

Both are made by the real services. The team and the judges are simulated: people answer from the demo's own judgements
and err at a fixed share, the judges' words are drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import simulated
from app.bootstrap import Workspace, open_workspace
from app.demo.loading import train_judgements
from app.demo.session import prepare
from app.jobs import rounds as round_jobs
from app.services import (
    adjudicating,
    calibrating,
    certifying,
    labelling,
    people,
    promotion,
    reviewing,
    rounds,
    routing,
)
from app.services.creating import create_workspace
from app.services.desk_choice import DeskChoice
from app.terminal import bar, say
from db.enums import Role

PASSAGES = 1200
OWNER, ADJUDICATOR = "Grace", "Olga"
ERRORS = {"Ada": 0.08, "Bo": 0.2}
"""Those who review, and the share of pairs on which they are a grade off."""
DAYS, A_DAY = 10, 40
_SETTINGS = f"""
person = "{OWNER}"
judge = "local"
encoder_backend = "torch"
overlap = 2
overlap_share = 0.3
check_share = 0.1
reviewer_hourly_cost = 40.0
guidelines = "Judge what the passage says, not what one could conclude from it. Between two grades, take the lower one."
"""
_FLAGS = ("The text stops in the middle of an example.", "This describes the old module. Does that count?")
_DIFFER = ("", "", "the second half answers it", "only names it", "")


@dataclass
class Clock:
    """A clock that is moved by whoever works."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at

    def work(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def make_team(path: Path, *, passages: int = PASSAGES) -> None:
    """The demo after ten days of two reviewers, an adjudicator and an owner, and two rounds of retraining."""
    file = create_workspace(path, name="Relabel demo")
    file.write_text(file.read_text(encoding="utf-8") + _SETTINGS, encoding="utf-8")
    opened = open_workspace(path)
    clock = Clock(datetime.now(UTC).replace(hour=8, minute=0) - timedelta(days=DAYS + 1))
    workspace = replace(opened, now=clock)
    prepare(workspace, bar=bar, say=say, limit=passages)
    people.claim_ownership(workspace, name=OWNER)
    for name in (*ERRORS, ADJUDICATOR):
        reviewing.ensure_person(workspace, name=name)
    people.set_role(workspace, name=ADJUDICATOR, role=Role.ADJUDICATOR, by=OWNER)
    with bar("Ten days of reviews") as progress:
        for day in _days(workspace, clock):
            progress(day, DAYS)
    opened.close()


def _days(workspace: Workspace, clock: Clock) -> Iterator[int]:
    """The number of each day that is over."""
    chance, truth = random.Random(7), train_judgements()
    flags = list(_FLAGS)
    for day in range(1, DAYS + 1):
        morning = clock.at.replace(hour=8, minute=0) + timedelta(days=1)
        for name, error in ERRORS.items():
            clock.at = morning
            for number in range(A_DAY):
                # In a blind hour both go question by question, so that they meet on the same pairs.
                choice = DeskChoice(order="query", blind=True) if day % 3 == 0 else DeskChoice()
                card = reviewing.claim(workspace, person=name, desk=choice)
                if card is None:
                    break
                seconds = chance.uniform(6, 34)
                clock.work(seconds)
                if flags and day >= DAYS - 4 and number == 20:
                    reviewing.flag(workspace, card=card.card, person=name, note=flags.pop(0), seconds=seconds)
                    continue
                grade = truth.get((card.pair.query_id, card.pair.passage_id), 0)
                if chance.random() < error:
                    grade = min(3, grade + 1) if grade < 2 else grade - 1
                _grade(workspace, card.card, name, grade=grade, seconds=seconds, note=chance.choice(_DIFFER))
        if day < DAYS:
            _decide(workspace, clock, chance=chance, leave=5)
        if day in (DAYS // 2, DAYS - 1):
            _turn_round(workspace)
        yield day


def _grade(workspace: Workspace, card: str, person: str, *, grade: int, seconds: float, note: str) -> None:
    shown = reviewing.grade(workspace, card=card, person=person, grade=grade, seconds=seconds, note=note)
    if shown is not None:
        reviewing.keep(workspace, card=shown.card.card, person=person, seconds=2.0)


def _decide(workspace: Workspace, clock: Clock, *, chance: random.Random, leave: int) -> None:
    """The adjudicator settles all but the newest cases: the higher grade mostly, and one flag without a grade."""
    while adjudicating.list_cases(workspace, person=ADJUDICATOR).total > leave:
        case = adjudicating.open_case(workspace, person=ADJUDICATOR)
        if case is None:
            return
        seconds = chance.uniform(15, 60)
        clock.work(seconds)
        grades = [voice.grade for voice in case.voices if voice.grade is not None]
        if case.flagged and not grades:
            note = "Yes: the part before the example answers it."
            adjudicating.send_back(workspace, card=case.card, person=ADJUDICATOR, note=note, seconds=seconds)
        else:
            decided = (max if chance.random() < 0.6 else min)(grades, default=0)
            adjudicating.decide(workspace, card=case.card, person=ADJUDICATOR, grade=decided, seconds=seconds)


def _turn_round(workspace: Workspace) -> None:
    """A whole round with the quick kind of model; it goes live where the gate lets it."""
    asked = rounds.begin(workspace, person=OWNER, overrides={"speed": "adapter"}, wait=False, here=True)
    view = round_jobs.run_here(workspace, asked.round_id, bar=bar)
    say(f"  round {view.number}: {view.status} {view.message}")
    newest = max(promotion.list_models(workspace), key=lambda model: model.id)
    if newest.evaluation is not None and not promotion.get_refusal(workspace, model_id=newest.id):
        promotion.promote(workspace, model_id=newest.id, person=OWNER)


def make_judged(path: Path) -> None:
    """Two judges, blind reviews to compare them on, and a certificate for the better one."""
    create_workspace(path, name="Simulated judges")
    workspace = open_workspace(path)
    world = simulated.simulated(
        workspace, n_train=200, n_calibrate=25, confidences=(0.6, 0.75, 0.9, 0.98, 0.99), share_relevant=0.3
    )
    second = simulated.simulated_again(world, confidences=(0.5, 0.6, 0.7, 0.9), seed=6)
    labelling.label(workspace, simulated.judge_of(second, name="small model/pointwise"))
    labelling.label(workspace, simulated.judge_of(world, name="large model/pointwise"))
    simulated.reviewed(world)
    judge_id = calibrating.find_judge(workspace, "large model/pointwise")
    calibrating.calibrate(workspace, judge_id=judge_id)
    routing.route(workspace)
    batch = certifying.freeze(workspace, judge_id=judge_id, n=300, person="Ada")
    world.person("Ada", at_most=300)
    certifying.issue(workspace, batch_id=batch.id)
    workspace.close()
