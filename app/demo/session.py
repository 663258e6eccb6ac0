"""The demo from nothing to a filled audit queue, and what simulated audits buy; each step skips what is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from app.bootstrap import Workspace, judge_host
from app.demo.loading import AuditReport, load, simulate_audits
from app.errors import AppError, NothingToDo
from app.jobs import training
from app.services import evaluating, label_jobs, pooling, routing, runs
from app.services.indexing import Progress, ensure_live_model
from app.services.label_views import LabelJobView
from app.services.promotion import get_live_view
from app.services.views import RunView
from db.enums import RunStatus

Bar = Callable[[str], AbstractContextManager[Progress]]
Say = Callable[[str], None]
SEEDS = (0, 1, 2)


def prepare(workspace: Workspace, *, bar: Bar, say: Say, limit: int | None = None) -> None:
    """Corpus, questions, candidates, proposals, decisions and the base model's held-out figures.

    Raises:
        AppError: the proposals were stopped or no further call could be made; what came before is stored and decided.
    """
    with bar("Passages from this Python") as progress:
        loaded = load(workspace, limit=limit, on_passages=progress)
    say(f"  {loaded.passages:,} passages ({loaded.new_passages:,} new), {loaded.new_questions} new questions")
    with bar("Encoding and pooling") as progress:
        model = ensure_live_model(workspace)
        pooled = pooling.pool(workspace, on_index=progress)
    say(f"  {pooled.n_queries} questions searched by BM25 and {model.name}, {pooled.new:,} new candidates")
    host = judge_host(workspace.settings)
    if host is not None:
        say(f"  The passages are sent to {host} ({workspace.settings.llm_model}).")
    ended = _propose(workspace, bar=bar, say=say)
    with bar("Decisions") as progress:
        routed = routing.route(workspace, on_progress=progress)
    say(f"  {routed.accepted:,} accepted now (uncertified), {routed.waiting:,} wait in the audit queue")
    if ended is not None and ended.status is not RunStatus.DONE:
        raise AppError(
            f"label job {ended.id} is {ended.status}: {ended.message}",
            user_message=f"{ended.message or 'The proposals were stopped.'} Run the demo again to go on.",
        )
    live = get_live_view(workspace)
    if live is None or live.evaluation is None:
        with bar("Measuring the base model") as progress:
            evaluating.run_evaluation(workspace, model=model, progress=progress)
        live = get_live_view(workspace)
    if live is not None and live.evaluation is not None:
        figures = ", ".join(f"{m.name} {m.value:.4f}" for m in live.evaluation.measures)
        say(f"  {live.name} on {live.evaluation.n_queries} held-out questions: {figures}")


def _propose(workspace: Workspace, *, bar: Bar, say: Say) -> LabelJobView | None:
    """The label job that ran here, well or not, or None where every candidate is labelled."""
    try:
        job_id = label_jobs.create_here(workspace, person="demo").job_id
    except NothingToDo:
        say("  no new proposals: every candidate has one")
        return None
    with bar("Proposals") as progress:
        view, labelled = label_jobs.run_here(workspace, job_id, on_progress=progress)
    certified = "" if labelled.certifiable else "; it is no LLM and its labels are uncertified"
    say(f"  {labelled.proposed:,} new proposals by {view.judge}{certified}")
    return view


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """What the demo's own judgements, used as audits, bought: one run a seed, each beside the base model."""

    audits: AuditReport
    runs: tuple[RunView, ...]


def simulate(workspace: Workspace, *, bar: Bar, seeds: tuple[int, ...] = SEEDS) -> SimulationReport:
    """Answers the audit queue from the demo's judgements, retrains once a seed and measures each on held-out questions.

    Nothing is promoted. Each run is one look at the held-out set.
    """
    with bar("Simulated audits") as progress:
        audits = simulate_audits(workspace, on_progress=progress)
    finished = []
    for seed in seeds:
        with bar(f"Retraining, seed {seed}") as progress:
            run_id = training.run_here(workspace, person="demo", overrides={"seed": seed}, on_progress=progress)
        finished.append(runs.get_run(workspace, run_id=run_id))
    return SimulationReport(audits=audits, runs=tuple(finished))


def seed_of(run: RunView) -> str:
    """The seed that a run was made with."""
    training = run.settings["training"]
    return str(training["seed"]) if isinstance(training, Mapping) else ""


def rows_of(report: SimulationReport) -> Iterator[list[str]]:
    """The simulation as rows: seed, slice, measure, base, retrained, difference, interval, n."""
    for run in report.runs:
        if run.evaluation is None:
            yield [seed_of(run), str(run.status), run.message, "", "", "", "", ""]
            continue
        for d in run.evaluation.differences:
            yield [
                seed_of(run),
                d.slice,
                d.measure,
                "" if d.baseline is None else f"{d.baseline:.4f}",
                "" if d.candidate is None else f"{d.candidate:.4f}",
                f"{d.mean:+.4f}",
                f"[{d.low:+.4f}, {d.high:+.4f}]",
                str(d.n_queries),
            ]
