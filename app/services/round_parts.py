"""The parts of a round, each a transaction or safe to repeat: pool, label, retrain, measure.

In which order, and what a round is, is in `rounds`; what a round gained is computed in `round_figures`.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy.orm import Session

from app.bootstrap import Workspace
from app.errors import AppError, Conflict, NothingToDo
from app.services import label_jobs, label_plans, pooling, routing, runs
from app.services.held_jobs import HERE, is_left_behind
from app.services.indexing import Progress
from app.services.label_views import LabelPlan
from app.services.round_figures import advise, describe_slices, figure_of, gain_by_slice, gain_of, measure
from app.services.rounds import held_open, is_cancelled, jobs_of, next_part, store_part
from db.enums import RoundStatus, RunStatus
from db.models import LabelJob, LabelSet, Person, TrainingRound, TrainingRun
from db.queries import rounds as round_queries
from db.queries import training as training_queries
from db.queries.registry import get_live, get_model_or_raise


class OtherRun(Conflict):
    """Another training run is going on; the round's own comes after it."""


def pool_part(workspace: Workspace, round_id: int, *, on_index: Progress | None = None) -> None:
    """Pools with the live model; every earlier candidate stays one."""
    with workspace.sessions.read() as session:
        row = round_queries.get_round_or_raise(session, round_id)
    report = pooling.pool(
        workspace,
        depth=row.settings.get("depth"),
        on_index=on_index,
        should_cancel=lambda: is_cancelled(workspace, round_id),
    )
    with workspace.sessions.read() as session:
        live = get_live(session)
        new = round_queries.count_candidates(session) - row.progress["candidates_before"]
    pooled = {"new": new, "renewed": report.renewed, "queries": report.n_queries}
    free = plan(workspace, round_id).host is None
    store_part(
        workspace,
        round_id,
        "pooled",
        {**pooled, "free": free},
        pooled_with_id=row.pooled_with_id if live is None else live.id,
    )


def plan(workspace: Workspace, round_id: int) -> LabelPlan:
    """What labelling the round's pairs would send and cost; nothing is called."""
    with workspace.sessions.read() as session:
        asked = round_queries.get_round_or_raise(session, round_id).settings
    return label_plans.plan(
        workspace, spec=asked["spec"], token_cap=asked.get("token_cap"), cost_cap_usd=asked.get("cost_cap_usd")
    )


def begin_labelling(workspace: Workspace, round_id: int, *, here: bool) -> int | None:
    """The id of the label job that labels what is new, asked for if it is not there yet; None when nothing is left.

    The round and its job are recorded together: no job is left to a worker that no round knows.

    Raises:
        RoundCancelled: somebody asked the round to stop meanwhile.
        InputInvalid: a cap is not allowed.
    """
    with workspace.sessions.read() as session:
        row = round_queries.get_round_or_raise(session, round_id)
        job = None if row.label_job_id is None else session.get_one(LabelJob, row.label_job_id)
        person = _person(session, row)
    if job is not None and job.status is RunStatus.DONE:
        return None
    if job is not None and job.status.is_active and not here and not is_left_behind(workspace, job):
        return job.id
    asked = row.settings

    def attach(session: Session, job: LabelJob, own: bool) -> None:
        row = held_open(session, round_id)
        row.label_job_id = job.id
        if own:
            row.progress = {**row.progress, "jobs": sorted({*jobs_of(row), job.id})}

    try:
        return label_jobs.create(
            workspace,
            person=person,
            spec=asked["spec"],
            token_cap=asked.get("token_cap"),
            cost_cap_usd=asked.get("cost_cap_usd"),
            here=here,
            on_record=attach,
        ).job_id
    except NothingToDo:
        return None


def _person(session: Session, row: TrainingRound) -> str:
    found = None if row.person_id is None else session.get(Person, row.person_id)
    return "me" if found is None else found.name


def end_labelling(workspace: Workspace, round_id: int) -> None:
    """Decides on what was proposed and counts it, once the job is over.

    Raises:
        AppError: the job stopped before its end; what came before is stored and decided.
    """
    with workspace.sessions.read() as session:
        row = round_queries.get_round_or_raise(session, round_id)
        job = None if row.label_job_id is None else session.get_one(LabelJob, row.label_job_id)
    routed = routing.route(workspace, criterion=row.criterion)
    if job is not None and job.status is not RunStatus.DONE:
        raise AppError(
            f"label job {job.id} of round {round_id} is {job.status}",
            user_message=f"Labelling stopped: {job.message or job.status}",
        )
    with workspace.sessions.read() as session:
        bought = round_queries.count_bought(session, job_ids=jobs_of(row), after=row.progress["last_suggestion"])
    store_part(
        workspace,
        round_id,
        "labelled",
        {**asdict(bought), "failed": 0 if job is None else job.failed, "accepted": routed.accepted},
    )


def wait_for_people(workspace: Workspace, round_id: int) -> None:
    """Leaves the round to people: to say yes to a price, or to audit."""
    with workspace.sessions.begin() as session:
        row = held_open(session, round_id)
        row.status, row.stage = RoundStatus.WAITING, next_part(row)


def begin_training(workspace: Workspace, round_id: int, *, here: bool) -> int:
    """The id of the round's training run, asked for if it is not there yet: the labels are frozen in that moment.

    Raises:
        OtherRun: a run that is not the round's is going on.
        Conflict: the round's run is a worker's, and this process was to work on it.
        NothingToDo, InputInvalid: as `runs.create_run` says.
    """
    with workspace.sessions.read() as session:
        row = round_queries.get_round_or_raise(session, round_id)
        run = None if row.run_id is None else session.get_one(TrainingRun, row.run_id)
        person = _person(session, row)
    if run is not None and (run.status.is_active or run.status is RunStatus.DONE):
        if here and run.status.is_active and not run.workflow_id.startswith(HERE):
            waits = runs.is_worker_alive(workspace)
            raise Conflict(
                f"training run {run.id} is a worker's",
                user_message=f"Training run {run.id} of this round is a worker's"
                + (
                    ", and one works on it. When it is done, run this again."
                    if waits
                    else ", and none runs. Start one with: relabel worker. When the run is done, run this again."
                ),
            )
        return run.id

    def attach(session: Session, run: TrainingRun) -> None:
        row = held_open(session, round_id)
        after = audits_from(session, row)
        until = round_queries.last_review(session)
        row.run_id = run.id
        row.n_audits = round_queries.count_audits(session, criterion=row.criterion, after=after, until=until)
        row.progress = {**row.progress, "audited": {"after": after, "until": until}}

    run_id, _, new = runs.create_run(
        workspace,
        person=person,
        criterion=row.criterion,
        overrides=row.settings["overrides"],
        here=here,
        on_record=attach,
    )
    if not new:
        raise OtherRun(
            f"training run {run_id} is not that of round {round_id}",
            user_message=f"Training run {run_id} is going on; wait for it or cancel it, then go on with the round.",
        )
    return run_id


def audits_from(session: Session, row: TrainingRound) -> int:
    """The newest review that the model compared with had seen: of the round before, else of its own labels."""
    before = round_queries.last_done(session, criterion=row.criterion, before=row.number)
    if before is not None:
        return int(before.progress["audited"]["until"])
    run = training_queries.get_run_of_model(session, row.pooled_with_id)
    if run is None or session.get_one(LabelSet, run.label_set_id).criterion is not row.criterion:
        return 0
    return round_queries.last_review(session, until=run.created_at)


def end_training(workspace: Workspace, round_id: int) -> None:
    """Takes note of the finished run.

    Raises:
        AppError: it failed or was cancelled; the next attempt begins another.
    """
    with workspace.sessions.read() as session:
        row = round_queries.get_round_or_raise(session, round_id)
        run = None if row.run_id is None else session.get_one(TrainingRun, row.run_id)
    if run is None or run.status is not RunStatus.DONE:
        said = "was not begun" if run is None else f"{run.status}: {run.message}"
        raise AppError(f"the run of round {round_id} {said}", user_message=f"The retraining {said}")
    store_part(workspace, round_id, "trained", {"model_id": run.model_version_id})


def measure_part(workspace: Workspace, round_id: int, *, progress: Progress | None = None) -> None:
    """Measures the round's model beside that of the round before, on the held-out judgements there are, and ends it.

    The first round's is measured beside the model that it pooled with.
    """
    with workspace.sessions.read() as session:
        row = round_queries.get_round_or_raise(session, round_id)
        new = get_model_or_raise(session, row.progress["trained"]["model_id"])
        before = round_queries.last_done(session, criterion=row.criterion, before=row.number)
        old = get_model_or_raise(
            session, row.pooled_with_id if before is None else int(before.progress["trained"]["model_id"])
        )
    found = measure(
        workspace,
        {"new": new, "old": old},
        criterion=row.criterion,
        progress=progress,
        should_cancel=lambda: is_cancelled(workspace, round_id),
    )
    new_values, old_values = (found.by_model.get(name, {}) for name in ("new", "old"))
    ndcg = figure_of(list(new_values.values())) if new_values else None
    gain = gain_of(new_values, old_values) if new_values else None
    by_slice = gain_by_slice(new_values, old_values, seen=found.seen)
    advice = advise(gain, n_audits=row.n_audits, least_gain=workspace.settings.round_min_gain, is_first=before is None)
    store_part(
        workspace,
        round_id,
        "measured",
        {
            "compared_with": old.id,
            "ndcg": None if ndcg is None else asdict(ndcg),
            "gain": None if gain is None else asdict(gain),
            "gain_per_100": None if gain is None or not row.n_audits else gain.mean / row.n_audits * 100,
            "gain_by_slice": {name: asdict(figure) for name, figure in by_slice.items()},
            "stop": advice.stop,
            "text": advice.text + describe_slices(by_slice),
        },
        status=RoundStatus.DONE,
        finished_at=workspace.now(),
    )
