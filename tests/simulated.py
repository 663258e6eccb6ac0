"""A workspace large enough to certify: a judge that is right as often as it says, and people who know the truth.

Questions are numbered; those of the calibrate split come first. Everything is drawn from one seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from annotator.judges.scripted import Scripted, ScriptedJudge
from annotator.types import ConfidenceKind, JudgeRequest, Proposal, SuggestionStatus, Usage
from app.bootstrap import Workspace
from app.services import calibrating, labelling, reviewing
from app.services.importing import (
    NewCandidate,
    NewJudgement,
    NewQuery,
    import_candidates,
    import_judgements,
    import_passages,
    import_queries,
)
from builders import pair_ids
from db.enums import Split

PER_QUERY = 10


@dataclass(frozen=True)
class World:
    """What is true of every pair (by its ids outside), and what the judge says: a grade and a confidence."""

    workspace: Workspace
    truth: dict[tuple[str, str], int]
    said: dict[tuple[str, str], tuple[int, float]]
    splits: dict[str, Split]

    def pairs(self, split: Split) -> list[tuple[str, str]]:
        """The pairs of that split's questions."""
        return [(query, passage) for query, passage in self.truth if self.splits[query] is split]

    def person(self, name: str = "Ada", *, at_most: int = 100_000, wrong: bool = False) -> int:
        """Grades cards truthfully (or all on the wrong side) until none is left; returns how many."""
        for done in range(at_most):
            card = reviewing.claim(self.workspace, person=name)
            if card is None:
                return done
            grade = self.truth[card.pair.query_id, card.pair.passage_id]
            shown = reviewing.grade(
                self.workspace,
                card=card.card,
                person=name,
                grade=(0 if grade >= 2 else 3) if wrong else grade,
                seconds=12.0,
            )
            if shown is not None:
                reviewing.keep(self.workspace, card=shown.card.card, person=name, seconds=1.0)
        return at_most


def simulated(
    workspace: Workspace,
    *,
    n_train: int = 12,
    n_calibrate: int = 5,
    share_relevant: float = 0.35,
    confidences: tuple[float, ...] = (0.9, 0.98, 0.99),
    seed: int = 5,
) -> World:
    """Passages, questions and candidates; nothing labelled yet."""
    chance = random.Random(seed)
    names = [f"q{number}" for number in range(n_calibrate + n_train)]
    splits = [Split.CALIBRATE] * n_calibrate + [Split.TRAIN] * n_train
    words = [f"{a}{b}{c}" for a in "bdfgkl" for b in "aeiou" for c in "mnprst"]
    texts = {name: " ".join(chance.sample(words, 7)) for name in names}
    passages = [f"{name}-p{number}" for name in names for number in range(PER_QUERY)]
    import_passages(workspace, [(p, p, f"{p} {' '.join(chance.sample(words, 9))}") for p in passages], source_name="s")
    import_queries(
        workspace, [NewQuery(n, texts[n], split) for n, split in zip(names, splits, strict=True)], source_name="s"
    )
    rows, truth, said = [], {}, {}
    for name in names:
        for number in range(PER_QUERY):
            passage = f"{name}-p{number}"
            relevant = chance.random() < share_relevant
            truth[name, passage] = chance.choice((2, 3)) if relevant else chance.choice((0, 0, 1))
            confidence = chance.choice(confidences)
            side = relevant if chance.random() < confidence else not relevant
            said[name, passage] = (3 if side else 0, confidence)
            rows.append(NewCandidate(name, passage, "bm25", number + 1, 10.0 - number))
    import_candidates(workspace, rows, source_name="s")
    return World(workspace, truth, said, dict(zip(names, splits, strict=True)))


def simulated_again(world: World, *, confidences: tuple[float, ...], seed: int) -> World:
    """The same truth, and another judge's words about it."""
    chance = random.Random(seed)
    said = {}
    for pair, grade in world.truth.items():
        confidence = chance.choice(confidences)
        side = grade >= 2 if chance.random() < confidence else grade < 2
        said[pair] = (3 if side else 0, confidence)
    return replace(world, said=said)


def judge_of(
    world: World, *, name: str = "scripted/1", kind: ConfidenceKind = ConfidenceKind.VERBAL, certifiable: bool = True
) -> ScriptedJudge:
    """The judge that says what `World.said` has."""
    keys = {pair_id: key for key, pair_id in pair_ids(world.workspace).items()}

    def answer(request: JudgeRequest) -> Scripted:
        grade, confidence = world.said[keys[request.pair_id]]
        return Proposal(
            pair_id=request.pair_id,
            status=SuggestionStatus.OK,
            grade=grade,
            grade_distribution=None,
            confidence=confidence,
            confidence_kind=kind,
            evidence=None,
            evidence_dropped=False,
            reason=f"SECRET because {grade}",
            raw_reply="",
            usage=Usage(),
        )

    return ScriptedJudge(answer, name=name, certifiable=certifiable)


def labelled(world: World, **options: object) -> World:
    """The same world after the judge proposed for train and calibrate questions."""
    labelling.label(world.workspace, judge_of(world, **options))  # type: ignore[arg-type]
    return world


def reviewed(world: World) -> World:
    """The same world after true blind judgements of every pair of a calibrate question came in a file."""
    import_judgements(
        world.workspace,
        [NewJudgement(query, passage, world.truth[query, passage]) for query, passage in world.pairs(Split.CALIBRATE)],
        source_name="s",
        person="Grace",
        max_grade=3,
    )
    return world


def certifiable(workspace: Workspace, **options: object) -> World:
    """A world whose judge is calibrated and has proposed for every pair; nothing is frozen or routed yet."""
    world = reviewed(labelled(simulated(workspace, **options)))  # type: ignore[arg-type]
    calibrating.calibrate(world.workspace, judge_id=calibrating.find_judge(world.workspace, None))
    return world


def with_settings(world: World, **settings: object) -> World:
    """The same world under other settings."""
    changed = world.workspace.settings.model_copy(update=settings)
    return replace(world, workspace=replace(world.workspace, settings=changed))
