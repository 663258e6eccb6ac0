"""The command line: each verb opens the workspace, calls one service and prints what it returned.

Exit codes: 0 done, 2 wrong input or no workspace, 3 some lines were refused, 4 a step before is missing, 5 not allowed
or the gate refused, 6 somebody else was first, 1 and 70 anything else. Heavy packages load only in the verb that needs
them.
"""

from __future__ import annotations

import os
import signal
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app import terminal
from app.terminal import bar, print_json, print_table, reported, say

if TYPE_CHECKING:
    from app.bootstrap import Workspace
    from app.services.views import EvaluationView, RunView

cli = typer.Typer(
    name="relabel",
    help="Align a dense retriever with the LLM that reads its results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first look: relabel demo. Your own data: relabel init, import, pool, label, serve.",
)

Where = Annotated[
    Path | None,
    typer.Option(
        "--workspace", "-w", help="The workspace directory \\[default: RELABEL_WORKSPACE, else the nearest upwards]."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON on standard output.")]
Who = Annotated[str | None, typer.Option("--person", help="Who does this \\[default: the workspace's person].")]


@contextmanager
def opened(where: Path | None) -> Iterator[Workspace]:
    """The workspace meant, closed at the end; our errors become one sentence and an exit code."""
    with reported():
        from app.bootstrap import open_workspace
        from app.config import find_workspace

        workspace = open_workspace(find_workspace(where))
        try:
            yield workspace
        finally:
            workspace.close()


@cli.command()
def demo(
    where: Annotated[Path, typer.Option("--workspace", "-w", help="Where the demo lives.")] = Path("demo-workspace"),
    port: Annotated[
        int | None, typer.Option(help="The port to serve on \\[default: 8501 or the next free one].")
    ] = None,
    serve_it: Annotated[bool, typer.Option("--serve/--no-serve", help="Start the application at the end.")] = True,
    simulate_audits: Annotated[
        bool,
        typer.Option(
            "--simulate-audits",
            help="Answer the audit queue from the demo's own judgements, retrain with 3 seeds, print held-out figures.",
        ),
    ] = False,
    passages: Annotated[int | None, typer.Option(min=1, help="A smaller demo of about so many passages.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build the demo from the Python that runs this, label it and open it in the browser.

    Running it again goes on where it stopped; nothing is made twice.

    Example: relabel demo --port 8600
    """
    with reported():
        from app.bootstrap import open_with
        from app.config import FILE, load_settings
        from app.demo.session import prepare, rows_of, simulate
        from app.services.creating import create_workspace

        if not (where / FILE).is_file():
            create_workspace(where, name="Relabel demo")
        settings = load_settings(where)
        workspace = open_with(settings)
        try:
            prepare(workspace, bar=bar, say=say, limit=passages)
            if simulate_audits:
                report = simulate(workspace, bar=bar)
                say(
                    f"  {report.audits.answered:,} audits answered from the demo's own judgements (simulated), "
                    f"{report.audits.unanswered:,} pairs left unanswered because nobody judged them"
                )
                if as_json:
                    print_json(report)
                else:
                    print_table(
                        ["seed", "measure", "base", "retrained", "difference", "95 % interval", "n"],
                        list(rows_of(report)),
                        title="Held-out questions, each retrained model beside the base model",
                    )
                for run in report.runs[-1:]:
                    for reason in run.evaluation.gate_reasons if run.evaluation else ():
                        say(f"  Gate: {reason}")
        finally:
            workspace.close()
        if serve_it and not simulate_audits:
            _serve(settings.workspace, port)


@cli.command()
def init(
    path: Annotated[Path, typer.Argument(help="The directory to make.")] = Path("workspace"),
    name: Annotated[str, typer.Option(help="What the screens call it.")] = "Relabel",
    max_grade: Annotated[int, typer.Option(min=1, max=9, help="The highest grade.")] = 3,
    relevant_from: Annotated[int, typer.Option(min=1, max=9, help="The lowest grade that counts as relevant.")] = 2,
) -> None:
    """Make a workspace: a directory with relabel.toml and a database.

    Example: relabel init films --name "Film search"
    """
    with reported():
        from app.services.creating import create_workspace

        file = create_workspace(path, name=name, max_grade=max_grade, relevant_from=relevant_from)
        say(f"Made {file}. Next: relabel import PATH --workspace {path}")


@cli.command(name="import")
def import_(
    path: Annotated[Path, typer.Argument(help="A file or folder.")],
    where: Where = None,
    layout: Annotated[str, typer.Option(help="auto, or the layout's name when auto is unsure.")] = "auto",
    source: Annotated[str | None, typer.Option(help="The name to remember it under \\[default: the file's].")] = None,
    split: Annotated[str | None, typer.Option(help="train, calibrate or held-out for all questions named.")] = None,
    splits: Annotated[str | None, typer.Option(help="Splits by judgement file: dl19=train,dl20=held-out.")] = None,
    max_grade: Annotated[int | None, typer.Option(min=1, help="The source's highest grade.")] = None,
    scale: Annotated[str | None, typer.Option(help="Source grade to ours: 0=0,1=3.")] = None,
    judgements_as: Annotated[str | None, typer.Option(help="The person the judgements are from.")] = None,
    system: Annotated[str | None, typer.Option(help="The name of the system behind a run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Import passages, questions, judgements, runs or suggestions; safe to repeat.

    Reads BEIR directories, JSONL, CSV, TSV and Parquet tables, folders of Markdown, text or HTML, files of one question
    a line, TREC qrels and runs. Bad lines are listed, the good ones are imported, and the exit code is then 3.

    Example: relabel import films/ --splits dev=calibrate
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid, InputPartlyInvalid
        from app.services.importing import import_path
        from db.enums import Split

        try:
            one = None if split is None else Split(split)
            many = {stem: Split(value) for stem, value in _pairs(splits, "--splits").items()}
            mapping = {int(key): int(value) for key, value in _pairs(scale, "--scale").items()}
        except ValueError as exc:
            raise InputInvalid(f"{exc}; splits are train, calibrate and held-out, grades are whole numbers") from exc
        with bar(f"Importing {path.name}") as progress:
            report = import_path(
                workspace,
                path,
                layout=layout,
                source=source,
                split=one,
                splits=many or None,
                max_grade=max_grade,
                scale=mapping or None,
                judgements_as=judgements_as,
                system=system,
                progress=lambda what, n: progress(n, n),
            )
        if as_json:
            print_json(report)
        else:
            say(
                f"{report.source}: {report.passages:,} passages, {report.queries:,} questions, {report.judgements:,} "
                f"judgements, {report.suggestions:,} suggestions, {report.candidates:,} candidates new; "
                f"{report.unchanged:,} unchanged"
            )
            for note in report.notes:
                say(f"  Note: {note}")
        for problem in report.problems[:20]:
            say(f"  {problem.file}:{problem.line}: {problem.reason}")
        if report.n_problems:
            raise InputPartlyInvalid(
                f"{report.n_problems:,} lines were refused"
                + (", the first 20 are above; all are on the Data screen" if report.n_problems > 20 else "")
                + "; the good lines are imported. Mend them and import again."
            )


def _pairs(text: str | None, option: str) -> dict[str, str]:
    from app.errors import InputInvalid

    pairs = {}
    for part in (text or "").split(","):
        if part.strip():
            key, equals, value = part.partition("=")
            if not equals:
                raise InputInvalid(f"{option} needs NAME=VALUE,NAME=VALUE, got {text!r}")
            pairs[key.strip()] = value.strip()
    return pairs


@cli.command()
def pool(
    where: Where = None,
    depth: Annotated[int | None, typer.Option(min=1, max=1000, help="Candidates kept for each question.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put pairs up for judging: what BM25 and the live model find for each question, fused.

    Example: relabel pool --depth 30
    """
    with opened(where) as workspace:
        from app.services import pooling

        with bar("Encoding passages") as indexing, bar("Questions") as progress:
            report = pooling.pool(workspace, depth=depth, on_index=indexing, on_query=progress)
        if as_json:
            print_json(report)
        else:
            for split, count in report.assigned.items():
                say(f"  {count:,} groups of questions had no split and are now {split}")
            say(f"{report.n_queries:,} questions: {report.new:,} new candidates, {report.renewed:,} found again")


@cli.command()
def label(
    where: Where = None,
    judge: Annotated[
        str | None, typer.Option(help="local, or llm when a key or endpoint is set \\[default: the workspace's].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have the judge propose a grade for every candidate it has not seen, then accept or queue for audit.

    Example: OPENAI_API_KEY=… relabel label --judge llm
    """
    with opened(where) as workspace:
        from app.bootstrap import judge_host, make_judge
        from app.errors import InputInvalid
        from app.services import labelling

        if judge not in (None, "auto", "local", "llm"):
            raise InputInvalid(f"--judge is {judge!r}; choose auto, local or llm")
        settings = workspace.settings if judge is None else workspace.settings.model_copy(update={"judge": judge})
        chosen = make_judge(settings, workspace.scale, labelling.StoredReplies(workspace))
        host = judge_host(settings)
        say(
            f"Judge: {chosen.identity.name}; the texts are sent to {host}."
            if host
            else f"Judge: {chosen.identity.name}, no LLM, uncertified; no text leaves this machine."
        )
        with bar("Proposals") as progress:
            labelled = labelling.label(workspace, chosen, on_progress=progress)
        with bar("Decisions") as progress:
            routed = labelling.route(workspace, on_progress=progress)
        if as_json:
            print_json({"labelled": labelled, "routed": routed})
        else:
            cost = "unknown" if labelled.cost_usd is None else f"${labelled.cost_usd:.4f}"
            say(
                f"{labelled.proposed:,} proposals ({labelled.unreadable:,} unreadable), {labelled.failed:,} without a "
                f"reply (run label again for those); cost {cost}"
            )
            say(f"{routed.accepted:,} accepted (uncertified), {routed.rejected:,} rejected; {routed.waiting:,} wait")


@cli.command()
def serve(
    where: Where = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port \\[default: the workspace's].")] = None,
) -> None:
    """Start the application and its worker, on this machine only.

    Example: relabel serve --port 8600
    """
    with reported():
        from app.config import find_workspace

        _serve(find_workspace(where), port)


def _serve(path: Path, port: int | None) -> None:
    from app.bootstrap import open_workspace
    from app.serving import serve as serve_application

    workspace = open_workspace(path)
    workspace.close()
    serve_application(
        workspace.settings, port=port, announce=lambda address: say(f"Relabel is at {address}  (Ctrl-C stops it)")
    )


@cli.command()
def worker(
    where: Where = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="Stop when the process that started it ends.")] = (
        False
    ),
) -> None:
    """Do the long work (retraining) until stopped; `relabel serve` starts one by itself.

    Example: DATABASE_URL=postgresql://… relabel worker
    """
    with opened(where) as workspace:
        from app.jobs.worker import run_worker

        stop = threading.Event()
        parent = os.getppid()

        def end(number: int, frame: types.FrameType | None) -> None:
            stop.set()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        say(f"The worker of {workspace.settings.workspace} is running.")
        run_worker(workspace, stop=stop, until=lambda: with_parent and os.getppid() != parent)


@cli.command()
def train(
    where: Where = None,
    person: Who = None,
    loss: Annotated[str | None, typer.Option(help="sum_marginal or infonce \\[default: the workspace's].")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=100)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    labels_from: Annotated[
        str | None, typer.Option(help="Train on this judge's proposals alone, to compare judges.")
    ] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Leave it to the running worker and return at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Freeze the curated labels, retrain on them and compare the new model with the live one.

    Example: relabel train --loss infonce --epochs 3
    """
    with opened(where) as workspace:
        from app.errors import AppError
        from app.jobs import training
        from app.services import runs

        given = {"loss": loss, "epochs": epochs, "seed": seed}
        overrides: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        who = person or workspace.settings.person
        if queue:
            run_id = training.start(workspace, person=who, overrides=overrides, judge=labels_from)
        else:
            with bar("Retraining") as progress:
                run_id = training.run_here(
                    workspace, person=who, overrides=overrides, judge=labels_from, on_progress=progress
                )
        run = runs.get_run(workspace, run_id=run_id)
        if as_json:
            print_json(run)
        else:
            _show_run(run)
        if run.status in ("failed", "cancelled"):
            raise AppError(f"training run {run.id} {run.status}: {run.message}")


def _show_run(run: RunView) -> None:
    say(f"Run {run.id}: {run.status}; {run.n_labels:,} labels (set {run.label_set}), loss {run.loss_name}")
    if run.evaluation is not None:
        _show_evaluation(run.evaluation)
    if run.model is not None:
        say(
            f"Model {run.model.hash[:12]} is a {run.model.stage}. "
            f"Promote it with: relabel promote {run.model.hash[:12]}"
        )


def _show_evaluation(evaluation: EvaluationView) -> None:
    if not evaluation.differences:
        print_table(
            ["measure", "value", "n"], [[m.name, f"{m.value:.4f}", str(m.n_queries)] for m in evaluation.measures]
        )
        return
    print_table(
        ["slice", "measure", "before", "after", "difference", "95 % interval", "n"],
        [
            [
                d.slice,
                d.measure,
                "" if d.baseline is None else f"{d.baseline:.4f}",
                "" if d.candidate is None else f"{d.candidate:.4f}",
                f"{d.mean:+.4f}",
                f"[{d.low:+.4f}, {d.high:+.4f}]",
                str(d.n_queries),
            ]
            for d in evaluation.differences
        ],
        title=f"{evaluation.n_queries} {evaluation.split} questions, {evaluation.n_judgements} human judgements",
    )
    for reason in evaluation.gate_reasons:
        say(f"  Gate: {reason}")


@cli.command()
def evaluate(
    where: Where = None,
    model: Annotated[str, typer.Option(help="live, candidate, or a model's hash.")] = "live",
    split: Annotated[str, typer.Option(help="held-out or calibrate.")] = "held-out",
    as_json: AsJson = False,
) -> None:
    """Measure a model on what people judged; one that is not live is compared with the live one, which is a look.

    Example: relabel evaluate --model candidate
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid
        from app.services import evaluating
        from app.services.model_export import find_model
        from db.enums import Split

        try:
            wanted = Split(split)
        except ValueError as exc:
            raise InputInvalid(f"--split is {split!r}; choose held-out, calibrate or train") from exc
        with bar("Measuring") as progress:
            view = evaluating.evaluate_model(
                workspace, model_id=find_model(workspace, model), split=wanted, progress=progress
            )
        if as_json:
            print_json(view)
        else:
            _show_evaluation(view)


@cli.command()
def promote(
    model: Annotated[str, typer.Argument(help="candidate, or a model's hash.")] = "candidate",
    where: Where = None,
    person: Who = None,
    reason: Annotated[str | None, typer.Option(help="Override a gate that did not pass; recorded.")] = None,
) -> None:
    """Make a model live if the gate passed, or by an override with a reason.

    Example: relabel promote candidate --reason "wins on the regression set we care about"
    """
    with opened(where) as workspace:
        from app.services import promotion
        from app.services.model_export import find_model

        promotion.promote(
            workspace,
            model_id=find_model(workspace, model),
            person=person or workspace.settings.person,
            override_reason=reason,
        )
        live = promotion.get_live_view(workspace)
        say(f"Live now: {live.name if live else 'nothing'}")


@cli.command()
def rollback(
    where: Where = None,
    person: Who = None,
    reason: Annotated[str, typer.Option(help="Why; recorded.")] = "",
) -> None:
    """Make the model live again that was live before.

    Example: relabel rollback --reason "complaints about title matches"
    """
    with opened(where) as workspace:
        from app.services import promotion

        name = promotion.rollback(workspace, person=person or workspace.settings.person, reason=reason)
        say(f"Live again: {name}")


@cli.command()
def search(
    question: Annotated[str, typer.Argument(help="What to search for.")],
    where: Where = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many passages.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Search with the live model and, beside it, the newest candidate.

    Example: relabel search "merge two sorted streams lazily" -k 5
    """
    with opened(where) as workspace:
        from app.services.search import search as search_both

        result = search_both(workspace, question=question, k=k)
        if as_json:
            print_json(result)
            return
        for model, hits in ((result.live_model, result.live), (result.candidate_model, result.candidate)):
            if model is not None:
                rows = [[str(hit.rank), f"{hit.score:.3f}", hit.passage_id, hit.title] for hit in hits]
                print_table(["rank", "cosine", "passage", "title"], rows, title=model)


@cli.command()
def export(
    layout: Annotated[str, typer.Argument(help="beir, trec, triplets, lists, labels or model.")],
    target: Annotated[Path, typer.Argument(help="Where to write.")],
    where: Where = None,
    file_format: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "jsonl",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    include_proposed: Annotated[bool, typer.Option(help="Also what was proposed and not decided.")] = False,
    model: Annotated[str, typer.Option(help="For `model`: live, candidate, or a hash.")] = "live",
    as_json: AsJson = False,
) -> None:
    """Export labels with source, judge and decision of each, or a model as a sentence-transformers folder.

    Example: relabel export triplets out/ --format parquet
    """
    with opened(where) as workspace:
        from app.services import exporting, model_export

        if layout == "model":
            report = model_export.export_model(
                workspace, model_id=model_export.find_model(workspace, model), target=target, overwrite=overwrite
            )
        else:
            report = exporting.export(
                workspace,
                layout=layout,
                target=target,
                file_format=file_format,
                overwrite=overwrite,
                include_proposed=include_proposed,
            )
        if as_json:
            print_json(report)
        else:
            what = "files" if layout == "model" else "rows"
            say(f"Wrote {report.path}: {report.n_rows:,} {what}")


@cli.command()
def status(where: Where = None, as_json: AsJson = False) -> None:
    """Show where the workspace stands: the funnel, the live model, the latest run, what to do next.

    Example: relabel status --json
    """
    with opened(where) as workspace:
        from app.services import overview, runs

        view = overview.get_overview(workspace)
        run = runs.get_latest_run(workspace)
        if as_json:
            print_json({"overview": view, "run": run, "worker_alive": runs.is_worker_alive(workspace)})
            return
        f = view.funnel
        questions = ", ".join(f"{count:,} {split}" for split, count in sorted(view.n_queries.items())) or "none"
        terminal.out.print(f"{view.workspace}: {view.n_passages:,} passages; questions: {questions}", markup=False)
        print_table(
            ["candidates", "proposed", "accepted", "rejected", "audited", "curated", "waiting"],
            [[f"{n:,}" for n in (f.candidates, f.proposed, f.accepted, f.rejected, f.audited, f.curated, f.waiting)]],
        )
        if view.live is not None:
            figures = "not measured yet"
            if view.live.evaluation is not None:
                measures = ", ".join(f"{m.name} {m.value:.4f}" for m in view.live.evaluation.measures)
                figures = f"{measures} (n = {view.live.evaluation.n_queries})"
            terminal.out.print(f"Live: {view.live.name} ({view.live.hash[:12]}): {figures}", markup=False)
        if run is not None:
            terminal.out.print(f"Latest run: {run.id}, {run.status} ({run.stage}) {run.message}", markup=False)
        for step in view.next_steps:
            command = f"  [{step.command}]" if step.command else ""
            terminal.out.print(f"Next: {step.text}{command}", markup=False)


@cli.command()
def doctor(where: Where = None, as_json: AsJson = False) -> None:
    """Check Python, packages, database, model, disk, worker and LLM, and say what to do about what is wrong.

    Example: relabel doctor
    """
    with opened(where) as workspace:
        from app.errors import AppError
        from app.services.doctor import examine

        checks = examine(workspace)
        if as_json:
            print_json(list(checks))
        else:
            words = {True: "ok", False: "WRONG", None: "–"}
            rows = [[words[c.ok], c.name, c.detail, "" if c.ok else c.advice] for c in checks]
            print_table(["", "what", "found", "what to do"], rows)
        wrong = [check.name for check in checks if check.ok is False]
        if wrong:
            raise AppError(f"not in order: {', '.join(wrong)}")


def main() -> None:
    """The entry point of the `relabel` command."""
    cli()


if __name__ == "__main__":
    main()
