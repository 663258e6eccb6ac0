"""Measuring and choosing models: evaluate, promote, rollback. Making them is in `models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import bar, print_json, print_table, say
from app.verbs.shared import AsJson, Where, Who, opened

if TYPE_CHECKING:
    from app.services.views import EvaluationView


def show_evaluation(evaluation: EvaluationView) -> None:
    """Every measure and slice, old against new, and what the gate says."""
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
            show_evaluation(view)


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
