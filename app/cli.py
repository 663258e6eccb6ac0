"""The command line: each verb opens the workspace, calls one service and prints what it returned.

Exit codes: 0 done, 2 wrong input or no workspace, 3 some lines were refused, 4 a step before is missing, 5 not allowed
or the gate refused, 6 somebody else was first, 1 and 70 anything else. Heavy packages load only in the verb that needs
them.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

from app.verbs import (
    certifying,
    choosing,
    data,
    judging,
    labels,
    lineage,
    looking,
    models,
    people,
    promoting,
    prompts,
    questions,
    queue,
    regression,
    rounds,
    running,
    self_labels,
    work,
)

cli = typer.Typer(
    name="relabel",
    help="Align a dense retriever with the LLM that reads its results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first look: relabel demo. Your own data: relabel init, import, pool, label, serve.",
)

VERBS: dict[str, Callable[..., None]] = {
    "demo": running.demo,
    "init": running.init,
    "import": data.import_,
    "questions": questions.questions,
    "pool": labels.pool,
    "label": labels.label,
    "self-label": self_labels.self_label,
    "costs": labels.costs,
    "queue": queue.queue,
    "calibrate": certifying.calibrate,
    "certify": certifying.certify,
    "serve": running.serve,
    "worker": running.worker,
    "train": models.train,
    "round": rounds.round_,
    "evaluate": promoting.evaluate,
    "promote": promoting.promote,
    "rollback": promoting.rollback,
    "regression": regression.regression,
    "lineage": lineage.lineage,
    "revoke": lineage.revoke,
    "people": people.people,
    "compare": judging.compare,
    "use": choosing.use,
    "definitions": prompts.definitions,
    "prompt": prompts.prompt,
    "examples": prompts.examples,
    "work": work.work,
    "agreement": work.agreement,
    "return": work.return_,
    "search": looking.search,
    "hybrid": looking.hybrid,
    "export": data.export,
    "status": looking.status,
    "doctor": looking.doctor,
}
for name, verb in VERBS.items():
    cli.command(name=name)(verb)


def main() -> None:
    """The entry point of the `relabel` command."""
    cli()


if __name__ == "__main__":
    main()
