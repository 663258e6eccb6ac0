"""Rounds: pool with the live retriever, label what is new, let people audit, retrain, and say what it gained.

A round is a row that keeps the figures of every finished part, so a part that is repeated or resumed is found done.
Here is how a round is asked for, gone on with and stopped; its parts are in `round_parts`, who calls them, here or in a
worker, in `app.jobs.rounds`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from annotator.judges.call_ledger import InMemoryCallLedger
from annotator.types import Criterion
from app.bootstrap import Workspace, make_judge
from app.errors import AppError, Conflict, InputInvalid, NothingToDo
from app.services import label_jobs, label_plans, runs
from app.services.held_jobs import HERE, here_id
from app.services.indexing import corpus_hash, ensure_live_model
from app.services.judge_knowledge import known_to
from app.services.recipes import make_recipe
from app.services.round_views import Part
from db.enums import RoundStatus
from db.models import TrainingRound
from db.queries import rounds as round_queries
from db.queries.people import person_named
from db.queries.registry import get_live

ENDED = (RoundStatus.DONE, RoundStatus.CANCELLED)


class RoundHeld(Conflict):
    """Another process works on the round."""


class RoundCancelled(AppError):
    """Somebody asked the round to stop; what came before is stored."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A round that was asked for; `new` is false where one that was not over goes on."""

    round_id: int
    workflow_id: str
    new: bool


def begin(
    workspace: Workspace,
    *,
    person: str,
    criterion: Criterion = Criterion.RELEVANCE,
    spec: Mapping[str, Any] | None = None,
    token_cap: int | None = None,
    cost_cap_usd: float | None = None,
    overrides: Mapping[str, Any] | None = None,
    depth: int | None = None,
    consent: bool | None = None,
    wait: bool = True,
    here: bool = False,
) -> Asked:
    """Asks for the next round of a criterion; the one that is not over goes on instead, with what is given here.

    `spec` describes the judge, by default that of the settings; caps are as for a label job. `overrides` change the
    recipe of the retraining (see `recipes.make_recipe`). Without `consent` the judge is asked only after `go_on`; None
    means that one whose calls stay on this machine needs none. With `wait` the round waits for people before it
    retrains. `here`: this process works on it.

    Raises:
        NothingToDo: there are no passages to pool.
        InputInvalid: a cap, an override, or a judge of another criterion.
        RoundHeld: this process is to work on it, and another one does.
        SettingsInvalid, PromptInvalid: there is no such judge.
    """
    make_recipe(workspace.settings, overrides or {})
    label_jobs.caps(workspace, token_cap=token_cap, cost_cap_usd=cost_cap_usd)
    described = None if spec is None else dict(spec)
    usual = _usual_judge(workspace, criterion)
    _check_judge(workspace, described or usual, criterion)
    given = {"spec": described, "token_cap": token_cap, "cost_cap_usd": cost_cap_usd, "depth": depth}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with workspace.sessions.read() as session:
        model = get_live(session)
    if model is None:
        corpus_hash(workspace)  # before the base model is copied: without passages there is nothing to pool
        model = ensure_live_model(workspace)
    try:
        with workspace.sessions.begin() as session:
            now = workspace.now()
            row = round_queries.get_open_round(session, criterion=criterion, hold=True)
            new = row is None
            if row is None:
                row = TrainingRound(
                    number=round_queries.next_number(session, criterion=criterion),
                    criterion=criterion,
                    pooled_with_id=model.id,
                    # Another speed by default must not reach a round that waits for people.
                    settings={"spec": usual, "overrides": {"speed": workspace.settings.speed.value}},
                    progress={
                        "candidates_before": round_queries.count_candidates(session),
                        "last_suggestion": round_queries.last_suggestion(session),
                    },
                    created_at=now,
                )
                session.add(row)
            elif is_driven(workspace, session, row):
                if here:
                    raise RoundHeld(
                        f"round {row.id} is being worked on",
                        user_message=f"Round {row.number} is going on already. Follow it on the Train screen, or stop "
                        "it with: relabel round --cancel",
                    )
                return Asked(row.id, row.settings["workflow_id"], new=False)
            row.settings = {
                **row.settings,
                **changes,
                "overrides": {**row.settings["overrides"], **(overrides or {})},
                "consent": row.settings.get("consent") if consent is None else consent,
                "wait": wait and bool(row.settings.get("wait", True)),
                "workflow_id": here_id() if here else _queue_id(),
            }
            if consent:
                row.settings = {**row.settings, "agreed": _destination(workspace, row)}
            row.status, row.message = RoundStatus.RUNNING, ""
            row.stage = next_part(row)
            row.person_id = person_named(session, person, now=now).id
            session.flush()
            return Asked(row.id, row.settings["workflow_id"], new=new)
    except IntegrityError:  # two clicks at once: the other one's round is the round
        with workspace.sessions.read() as session:
            row = round_queries.get_open_round(session, criterion=criterion)
        if row is None:
            raise
        return Asked(row.id, row.settings["workflow_id"], new=False)


def _queue_id() -> str:
    return f"round-{secrets.token_hex(8)}"


def _usual_judge(workspace: Workspace, criterion: Criterion) -> dict[str, Any]:
    """The judge that the settings mean, as `relabel label` asks it."""
    if criterion is Criterion.UTILITY:
        return {"kind": "utility", "method": "utilsel"}
    return {"kind": "pointwise" if workspace.settings.has_llm else "local"}


def _check_judge(workspace: Workspace, spec: Mapping[str, Any], criterion: Criterion) -> None:
    judge = make_judge(workspace.settings, workspace.scale, InMemoryCallLedger(), spec, known=known_to(workspace))
    if judge.identity.criterion is not criterion:
        raise InputInvalid(
            f"{judge.identity.name} judges {judge.identity.criterion} and the round is about {criterion}: "
            "choose another judge"
        )


def next_part(row: TrainingRound) -> Part:
    """What is to be done next in a round, from what is stored of it."""
    done = row.progress
    if row.status in ENDED:
        return Part.OVER
    if "pooled" not in done:
        return Part.POOL
    if "labelled" not in done:
        consent = row.settings.get("consent")
        return Part.LABEL if consent or (consent is None and done["pooled"]["free"]) else Part.CONSENT
    if "trained" not in done:
        return Part.AUDIT if row.settings.get("wait", True) and row.run_id is None else Part.TRAIN
    return Part.MEASURE


def go_on(workspace: Workspace, *, round_id: int, person: str, here: bool = False) -> Asked:
    """Says yes to what a round waits for: to what labelling costs, or to retraining on the audits there are.

    Raises:
        NotFound: there is no such round.
        NothingToDo: it waits for nothing.
    """
    with workspace.sessions.begin() as session:
        row = round_queries.get_round_or_raise(session, round_id, hold=True)
        part = next_part(row)
        if part not in (Part.CONSENT, Part.AUDIT):
            raise NothingToDo(f"round {row.number} does not wait for a word: {part}")
        said: dict[str, Any] = {"wait": False}
        if part is Part.CONSENT:
            said = {"consent": True, "agreed": _destination(workspace, row)}
        row.settings = {**row.settings, **said, "workflow_id": here_id() if here else _queue_id()}
        row.status, row.message = RoundStatus.RUNNING, ""
        row.stage = next_part(row)
        row.person_id = person_named(session, person, now=workspace.now()).id
        return Asked(row.id, row.settings["workflow_id"], new=False)


@contextmanager
def driving(workspace: Workspace, round_id: int, *, timeout: float = 1.0) -> Iterator[None]:
    """One process at a time works on a round in this directory; the system lets go when that process dies.

    Raises:
        RoundHeld: another process works on it.
    """
    lock = FileLock(_lock_file(workspace, round_id))
    try:
        lock.acquire(timeout=timeout)
    except Timeout as exc:
        raise RoundHeld(
            f"{lock.lock_file} is held", user_message="Another process is working on this round; follow it on Train."
        ) from exc
    try:
        yield
    finally:
        lock.release()


def _lock_file(workspace: Workspace, round_id: int) -> str:
    folder = workspace.settings.workspace / ".callers"
    folder.mkdir(exist_ok=True)
    return str(folder / f"round-{round_id}.held")


def part_of(workspace: Workspace, round_id: int, *, workflow_id: str | None = None) -> Part:
    """What is to be done next; OVER for a workflow that the round is not that of, or while it waits for people.

    Consent holds for the judge and the host that it was given for: if they are others by now, it is asked for again.
    """
    with workspace.sessions.read() as session:
        row = round_queries.get_round_or_raise(session, round_id)
    if workflow_id is not None and (
        row.settings["workflow_id"] != workflow_id or row.status is not RoundStatus.RUNNING
    ):
        return Part.OVER
    part = next_part(row)
    if part is not Part.LABEL:
        return part
    goes_to = _destination(workspace, row)
    if goes_to["host"] is None or row.settings.get("agreed") == goes_to:
        return part
    # Nobody agreed to this: settings or the judge changed since, or before a text left this machine at all.
    with workspace.sessions.begin() as session:
        row = held_open(session, round_id)
        row.settings = {**row.settings, "consent": None}
        row.progress = {**row.progress, "pooled": {**row.progress["pooled"], "free": False}}
        return next_part(row)


def _destination(workspace: Workspace, row: TrainingRound) -> dict[str, Any]:
    """Whom the round's texts go to by the settings there are now, as it is kept beside what somebody agreed to."""
    return asdict(label_plans.destination(workspace, spec=row.settings["spec"]))


def store_part(workspace: Workspace, round_id: int, name: str, figures: dict[str, Any], **columns: Any) -> None:
    """Keeps the figures of a finished part, and says what comes next.

    Raises:
        RoundCancelled: somebody asked the round to stop meanwhile.
    """
    with workspace.sessions.begin() as session:
        row = held_open(session, round_id)
        row.progress = {**row.progress, name: figures}
        for column, value in columns.items():
            setattr(row, column, value)
        row.stage = next_part(row)


def held_open(session: Session, round_id: int) -> TrainingRound:
    row = round_queries.get_round_or_raise(session, round_id, hold=True)
    if row.status in ENDED:
        raise RoundCancelled(f"round {round_id} is {row.status}")
    return row


def jobs_of(row: TrainingRound) -> list[int]:
    """The label jobs that the round asked for; the one it waits for may be somebody else's."""
    return [int(job_id) for job_id in row.progress.get("jobs", [])]


def set_caps(workspace: Workspace, *, round_id: int, token_cap: int | None, cost_cap_usd: float | None) -> None:
    """Caps what the round's labelling may use; None leaves a cap as it was.

    Raises:
        InputInvalid: a cap is not positive, or one in dollars is given and the price is unknown.
    """
    label_jobs.caps(workspace, token_cap=token_cap, cost_cap_usd=cost_cap_usd)
    given = {"token_cap": token_cap, "cost_cap_usd": cost_cap_usd}
    with workspace.sessions.begin() as session:
        row = held_open(session, round_id)
        row.settings = {**row.settings, **{name: value for name, value in given.items() if value is not None}}


def is_cancelled(workspace: Workspace, round_id: int) -> bool:
    """Whether somebody asked the round to stop."""
    with workspace.sessions.read() as session:
        return round_queries.get_round_or_raise(session, round_id).status in ENDED


def close_after(workspace: Workspace, round_id: int, message: str) -> None:
    """Marks a round that an error ended as failed, with a message for people; asked again, it goes on from there."""
    with workspace.sessions.begin() as session:
        row = round_queries.get_round_or_raise(session, round_id, hold=True)
        if row.status not in ENDED:
            row.status, row.message = RoundStatus.FAILED, message


def hand_back(workspace: Workspace, round_id: int) -> None:
    """Gives a running round to the next worker, for this one stops: its workflow is over, another will be asked for."""
    with workspace.sessions.begin() as session:
        row = round_queries.get_round_or_raise(session, round_id, hold=True)
        if row.status is RoundStatus.RUNNING and not row.settings["workflow_id"].startswith(HERE):
            row.settings = {**row.settings, "workflow_id": _queue_id()}


def request_cancel(workspace: Workspace, *, round_id: int, person: str) -> None:
    """Stops a round, and its label job or training run; what was labelled and audited stays. One that is over stays so.

    A label job that somebody else asked for goes on.

    Raises:
        NotFound: there is no such round.
    """
    with workspace.sessions.begin() as session:
        row = round_queries.get_round_or_raise(session, round_id, hold=True)
        if row.status in ENDED:
            return
        row.status, row.stage, row.finished_at = RoundStatus.CANCELLED, Part.OVER, workspace.now()
        row.message = f"cancelled by {person}"
    if row.label_job_id is not None and row.label_job_id in jobs_of(row):
        label_jobs.request_cancel(workspace, job_id=row.label_job_id, person=person)
    if row.run_id is not None:
        runs.request_cancel(workspace, run_id=row.run_id, person=person)


def get_queued(workspace: Workspace) -> tuple[tuple[int, str], ...]:
    """(id, workflow id) of each round that a worker is to see to."""
    with workspace.sessions.read() as session:
        rows = round_queries.list_running(session)
    return tuple(
        (row.id, row.settings["workflow_id"]) for row in rows if not row.settings["workflow_id"].startswith(HERE)
    )


def is_driven(workspace: Workspace, session: Session, row: TrainingRound) -> bool:
    """Whether somebody works on a running round: a worker that lives, or the process that holds its lock."""
    if row.status is not RoundStatus.RUNNING:
        return False
    if not row.settings["workflow_id"].startswith(HERE):
        return runs.worker_alive(workspace, session)
    try:
        with driving(workspace, row.id, timeout=0):
            return False
    except RoundHeld:
        return True
