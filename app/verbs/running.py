"""Starting things: the demo, a workspace, the application and its worker."""

from __future__ import annotations

import os
import signal
import threading
import types
from pathlib import Path
from typing import Annotated

import typer

from app.terminal import bar, print_json, print_table, reported, say
from app.verbs.shared import AsJson, Where, opened, serve_workspace


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
        from app.demo.session import prepare, rows_of, seed_of, simulate
        from app.services.creating import create_workspace
        from app.services.overview import get_overview

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
                        ["seed", "slice", "measure", "base", "retrained", "difference", "95 % interval", "n"],
                        list(rows_of(report)),
                        title="Held-out questions, each retrained model beside the base model",
                    )
                for run in report.runs:
                    if run.evaluation is not None:
                        verdict = "passes" if run.evaluation.gate_passed else "does not pass"
                        say(f"  Seed {seed_of(run)}: the gate {verdict} it.")
                        for reason in run.evaluation.gate_reasons:
                            say(f"    {reason}")
            elif as_json:
                print_json(get_overview(workspace))
        finally:
            workspace.close()
        if serve_it and not simulate_audits:
            serve_workspace(settings.workspace, port)


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


def serve(
    where: Where = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port \\[default: the workspace's].")] = None,
) -> None:
    """Start the application and its worker, on this machine only.

    Example: relabel serve --port 8600
    """
    with reported():
        from app.config import find_workspace

        serve_workspace(find_workspace(where), port)


def worker(
    where: Where = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="Stop when the process that started it ends.")] = (
        False
    ),
) -> None:
    """Do the long work (retraining, label jobs) until stopped; `relabel serve` starts one by itself.

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
