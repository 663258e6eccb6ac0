"""One person at the review desk in a process of their own, who can be killed at any moment and comes back.

Everything asked of the services, and everything they returned, is appended to a log of the person's, so that what is
stored afterwards can be held against what they were told. Times in it are of the machine's monotonic clock, in seconds.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.bootstrap import Workspace, open_workspace
from app.errors import AppError, Conflict
from app.services import reviewing
from app.services.desk_choice import ORDERS, DeskChoice
from app.services.desk_views import Revealed
from app.services.views import Card

THINKS_S = 0.01
"""Mean seconds a person looks at a card; short, so that as many as possible ask at once."""
_SHARES = {"grade": 0.86, "skip": 0.05, "undo": 0.07, "flag": 0.02}
_RENEWS = 0.15
_REVISES = 0.3
_BLIND_EVERY = 5
_NO_CARD_TIMES = 50


@dataclass(frozen=True, slots=True)
class Log:
    """What one person was told, a JSON object a line; it is out of the process before the next thing is done."""

    path: Path

    def say(self, what: str, **fields: object) -> None:
        line = json.dumps({"what": what, "at": time.monotonic(), **fields}) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def lines(self) -> list[Mapping[str, Any]]:
        """Everything said so far, oldest first, without the half line of a process killed while writing."""
        if not self.path.exists():
            return []
        whole = self.path.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]


def returned_grades(lines: Sequence[Mapping[str, Any]]) -> int:
    """How many grades the services have said are stored."""
    return sum(line["what"] == "done" and line["grade"] is not None for line in lines)


def review_until(folder: Path, *, number: int, grades: int, log: Log, seed: int) -> None:
    """Works at the desk until so many grades of this person have returned, those of earlier lives counted."""
    person = f"Reviewer {number:02}"
    desk = DeskChoice(order=ORDERS[number % len(ORDERS)], blind=number % _BLIND_EVERY == 0)
    done = returned_grades(log.lines())
    draw = random.Random(f"{seed} {number} {done}")
    workspace = open_workspace(folder)
    log.say("begun")
    without = 0
    while done < grades and without < _NO_CARD_TIMES:
        try:
            card = reviewing.claim(workspace, person=person, desk=desk)
            if card is None:
                without += 1
                time.sleep(0.1)
                continue
            without = 0
            done += _one_card(workspace, card, person=person, draw=draw, log=log)
        except Conflict as exc:
            log.say("refused", why=str(exc), shown=exc.user_message)
        except AppError as exc:
            log.say("error", why=repr(exc))
        except Exception as exc:  # whatever a person would see as a failure of the application
            log.say("error", why=repr(exc))
    log.say("ended", left=grades - done)
    workspace.close()


def _one_card(workspace: Workspace, card: Card, *, person: str, draw: random.Random, log: Log) -> int:
    """Deals with a card as people do; how many grades returned."""
    log.say("served", card=card.card, pair=card.pair.pair_id, phase=card.phase)
    time.sleep(min(10 * THINKS_S, draw.expovariate(1 / THINKS_S)))
    if draw.random() < _RENEWS and reviewing.renew(workspace, card=card.card, person=person) is None:
        log.say("error", why=f"the card {card.card} was lost while it was open")
    action = draw.choices(list(_SHARES), list(_SHARES.values()))[0]
    if card.phase == "revise":  # this person was killed before they saw it
        return _after_reveal(workspace, card, person=person, draw=draw, log=log)
    grade = draw.randint(0, 3) if action == "grade" else None
    log.say("asked", card=card.card, pair=card.pair.pair_id, action=action)
    undone = None
    if action == "undo":
        undone = reviewing.undo(workspace, person=person)
    elif action == "skip":
        reviewing.skip(workspace, card=card.card, person=person, seconds=1.0)
    elif action == "flag":
        reviewing.flag(workspace, card=card.card, person=person, note="this passage breaks off", seconds=1.0)
    else:
        assert grade is not None
        revealed = reviewing.grade(workspace, card=card.card, person=person, grade=grade, seconds=1.0)
        log.say("done", card=card.card, pair=card.pair.pair_id, action=action, grade=grade)
        if not isinstance(revealed, Revealed):
            return 1
        log.say("served", card=revealed.card.card, pair=revealed.card.pair.pair_id, phase="revise")
        return 1 + _after_reveal(workspace, revealed.card, person=person, draw=draw, log=log)
    log.say("done", card=card.card, pair=card.pair.pair_id, action=action, grade=None, undone=undone is not None)
    return 0


def _after_reveal(workspace: Workspace, card: Card, *, person: str, draw: random.Random, log: Log) -> int:
    revised = draw.randint(0, 3) if draw.random() < _REVISES else None
    log.say("asked", card=card.card, pair=card.pair.pair_id, action="keep" if revised is None else "revise")
    if revised is None:
        reviewing.keep(workspace, card=card.card, person=person, seconds=1.0)
    else:
        reviewing.grade(workspace, card=card.card, person=person, grade=revised, seconds=1.0)
    kept = card.own_grade if revised is None else revised
    log.say("done", card=card.card, pair=card.pair.pair_id, action="revise", grade=kept)
    return 1
