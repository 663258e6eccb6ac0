"""Making and choosing models: train, evaluate, promote, rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import bar, print_json, print_table, say
from app.verbs.shared import AsJson, Where, WhichCriterion, Who, criterion_of, opened

if TYPE_CHECKING:
    from app.services.views import EvaluationView, RunView


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
    about: WhichCriterion = "relevance",
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
