"""What the review desk's services take on a large workspace: cards in each order, Overview, pages of labels, an export.

Times are of whole calls with their transactions, in milliseconds. Nothing is judged here.
"""

from __future__ import annotations

import multiprocessing
import resource
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from app.bootstrap import Workspace, open_workspace
from app.services import labels, overview, reviewing
from app.services.desk_choice import DeskChoice
from app.services.desk_views import Revealed
from app.services.exporting import export
from app.services.self_labelling import get_tiers
from bench.desk_rows import PEOPLE, Words
from db.enums import Outcome, QueueCause, Split

SKIP_EVERY = 10
"""Of every ten cards one is skipped, so that what a person skipped has to be looked past."""
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Way:
    """A way to be served: a person of their own, and what they chose."""

    name: str
    person: str
    desk: DeskChoice


@dataclass(slots=True)
class Served:
    """Milliseconds of each claim, of each grade (or skip), and of the desk's progress line, of one way."""

    claim: list[float] = field(default_factory=list)
    grade: list[float] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Exported:
    """An export in a process of its own: rows, seconds, resident MB before and at most, and growth of the latter after
    the first fifth of the time.
    """

    rows: int
    seconds: float
    before_mb: float
    peak_mb: float
    late_growth_mb: float


def ways(words: Sequence[str]) -> tuple[Way, ...]:
    """Every order, and filters by cause, by proposal and by text; `words` are the corpus' own, frequent ones first."""
    choices = {
        "value": DeskChoice(),
        "random": DeskChoice(order="random"),
        "query": DeskChoice(order="query"),
        "oldest": DeskChoice(order="oldest"),
        "blind": DeskChoice(blind=True),
        "cause": DeskChoice(cause=QueueCause.UNREADABLE),
        "proposal": DeskChoice(grade=3, confidence_from=0.5, confidence_to=0.7),
        "frequent word": DeskChoice(text=words[0]),
        "rare word": DeskChoice(text=words[len(words) // 20]),
    }
    return tuple(Way(name, person, choice) for person, (name, choice) in zip(PEOPLE, choices.items(), strict=False))


def serve(workspace: Workspace, served_ways: Sequence[Way], *, cards: int) -> dict[str, Served]:
    """So many cards in each way, in turns; a way ends before when no card is left.

    Raises:
        RuntimeError: one person is served a pair twice that they had graded.
    """
    found = {way.name: Served() for way in served_ways}
    for way in served_ways:  # statements are compiled once a process, whatever the size
        _serve_one(workspace, way, Served(), number=1)
    for number in range(1, cards + 1):
        for way in served_ways:
            _serve_one(workspace, way, found[way.name], number=number)
    for name, served in found.items():
        if len(set(served.pairs)) != len(served.pairs):
            raise RuntimeError(f"in the order {name!r} a graded pair was served again")
    return found


def _serve_one(workspace: Workspace, way: Way, served: Served, *, number: int) -> None:
    card, taken = timed(lambda: reviewing.claim(workspace, person=way.person, desk=way.desk))
    if card is None:
        return
    served.claim.append(taken)
    if number % SKIP_EVERY == 0:
        _, taken = timed(lambda: reviewing.skip(workspace, card=card.card, person=way.person, seconds=1.0))
    else:
        served.pairs.append(card.pair.pair_id)
        revealed, taken = timed(
            lambda: reviewing.grade(workspace, card=card.card, person=way.person, grade=number % 4, seconds=1.0)
        )
        if isinstance(revealed, Revealed):
            reviewing.keep(workspace, card=revealed.card.card, person=way.person)
    served.grade.append(taken)
    _, taken = timed(lambda: reviewing.get_progress(workspace, person=way.person))
    served.progress.append(taken)


def open_overview(workspace: Workspace, *, times: int) -> list[float]:
    """What the Overview screen reads, so many times."""

    def read() -> None:
        overview.get_overview(workspace)
        get_tiers(workspace)

    return [timed(read)[1] for _ in range(times)]


def label_pages(workspace: Workspace, *, words: Words, size: int, times: int) -> dict[str, list[float]]:
    """Pages of 50 labels under many filters, each so many times; `size` is how many suggestions there are."""
    frequent, rare = words.words[0], words.words[-1]
    cases: Mapping[str, Mapping[str, Any]] = {
        "all": {},
        "accepted": {"outcome": Outcome.ACCEPTED},
        "rejected": {"outcome": Outcome.REJECTED},
        "by people": {"reviewed": True},
        "rejected, not yet by people": {"outcome": Outcome.REJECTED, "reviewed": False},
        "frequent word": {"text": frequent},
        "rare word": {"text": rare},
        "two words": {"text": f"{words.words[3]} {words.words[40]}"},
        "frequent word, rejected": {"text": frequent, "outcome": Outcome.REJECTED},
        "no such word": {"text": "nobodywrotethis"},
        "frequent word in the reason": {"reason": frequent},
        "grade and confidence": {"grade": 3, "confidence_from": 0.5, "confidence_to": 0.6},
        "judge": {"judge_id": 1},
        "split": {"split": Split.CALIBRATE},
        "everything at once": {
            "text": frequent,
            "judge_id": 1,
            "grade": 3,
            "confidence_from": 0.5,
            "confidence_to": 0.7,
            "split": Split.TRAIN,
            "outcome": Outcome.REJECTED,
            "reviewed": False,
            "flagged": True,
        },
        "frequent word, flagged, last page": {"text": frequent, "flagged": True, "before": 2 * size},
        "first letters of a frequent word": {"text": frequent[:2]},
        "flagged": {"flagged": True},
        "disputed": {"disputed": True},
        "half way down": {"after": size // 2},
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(times):
        for name, case in cases.items():
            found[name].append(timed(partial(labels.list_labels, workspace, limit=50, **case))[1])
    return found


def export_all(folder: Path, target: Path) -> Exported:
    """Every label and proposal of the workspace, written as JSON lines by a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_export, args=(folder, target, sender))
    process.start()
    sender.close()
    try:
        found: Exported = receiver.recv()
    except EOFError:
        raise RuntimeError("the exporting process ended without a result") from None
    finally:
        process.join()
    return found


def _export(folder: Path, target: Path, sender: Any) -> None:
    workspace = open_workspace(folder)
    labels.list_labels(workspace, limit=1)  # the first query of a process loads and compiles much
    before = resident_mb()
    sampled: list[tuple[float, float]] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            sampled.append((time.perf_counter(), resident_mb()))

    sampler = threading.Thread(target=sample)
    begun = time.perf_counter()
    sampler.start()
    try:
        report = export(workspace, layout="labels", target=target, include_proposed=True)
    finally:
        seconds = time.perf_counter() - begun
        ended.set()
        sampler.join()
    early = [size for at, size in sampled if at <= begun + seconds / 5] or [before]
    peak = max((size for _, size in sampled), default=before)
    sender.send(Exported(report.n_rows, seconds, before, peak, peak - max(early)))
    workspace.close()


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What the call returned, and the milliseconds it took."""
    begun = time.perf_counter()
    returned = call()
    return returned, (time.perf_counter() - begun) * 1000


def resident_mb() -> float:
    """The memory this process holds now, in MB; where the system does not say, the most it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024**2
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
