"""Making models: train. Measuring and choosing them is in `promoting`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import bar, print_json, say
from app.verbs.promoting import show_evaluation
from app.verbs.shared import (
    AsJson,
    Changes,
    Curriculum,
    Speed,
    Where,
    WhichCriterion,
    Who,
    criterion_of,
    opened,
    recipe_of,
)

if TYPE_CHECKING:
    from app.services.views import RunView


def train(
    where: Where = None,
    person: Who = None,
    speed: Speed = None,
    loss: Annotated[
        str | None, typer.Option(help="sum_marginal, infonce, … (docs/settings.md) \\[default: the workspace's].")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=1000)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    curriculum: Curriculum = None,
    changes: Changes = None,
    labels_from: Annotated[
        str | None, typer.Option(help="Train on this judge's proposals alone, to compare judges.")
    ] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Leave it to the running worker and return at once.")] = False,
    about: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Freeze the curated labels, retrain on them and compare the new model with the live one.

    An adapter takes seconds: it changes only how questions are encoded, the passages' vectors and their index stay. A
    full training takes minutes or more: the encoder itself changes, and all passages are encoded anew. full+adapter
    does both, and puts the adapter on top of the trained encoder.

    Example: relabel train --speed full --loss infonce --set lora_rank=8
    """
    with opened(where) as workspace:
        from app.errors import AppError
        from app.jobs import training
        from app.services import runs

        overrides = recipe_of(changes, speed=speed, curriculum=curriculum, loss=loss, epochs=epochs, seed=seed)
        who = person or workspace.settings.person
        criterion = criterion_of(about)
        if queue:
            run_id = training.start(workspace, person=who, criterion=criterion, overrides=overrides, judge=labels_from)
        else:
            with bar("Retraining") as progress:
                run_id = training.run_here(
                    workspace,
                    person=who,
                    criterion=criterion,
                    overrides=overrides,
                    judge=labels_from,
                    on_progress=progress,
                )
        run = runs.get_run(workspace, run_id=run_id)
        if as_json:
            print_json(run)
        else:
            _show_run(run)
        if run.status in ("failed", "cancelled"):
            raise AppError(f"training run {run.id} {run.status}: {run.message}")


_MADE = {
    "adapter": "an adapter",
    "full": "the encoder itself",
    "full+adapter": "the encoder itself and an adapter on top",
}


def _show_run(run: RunView) -> None:
    say(
        f"Run {run.id}, {_MADE[run.speed]}: {run.status}; "
        f"{run.n_labels:,} labels (set {run.label_set}), loss {run.loss_name}"
    )
    if run.message:
        say(run.message)
    for remark in run.remarks:
        say(remark)
    if run.evaluation is not None:
        show_evaluation(run.evaluation)
    if run.model is not None:
        say(
            f"Model {run.model.hash[:12]} is a {run.model.stage}. "
            f"Promote it with: relabel promote {run.model.hash[:12]}"
        )
