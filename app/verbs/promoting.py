"""Measuring and choosing models: evaluate, promote, rollback. Making them is in `models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import bar, print_json, print_table, say
from app.verbs.shared import AsJson, Where, Who, criterion_of, opened

if TYPE_CHECKING:
    from app.bootstrap import Workspace
    from app.services.views import EvaluationView


def show_evaluation(evaluation: EvaluationView) -> None:
    """Every measure and slice, old against new, and what the gate says."""
    if not evaluation.differences:
        print_table(
            ["measure", "value", "n"], [[m.name, f"{m.value:.4f}", str(m.n_queries)] for m in evaluation.measures]
        )
        return
    from retriever.slices import SMALLEST

    print_table(
        ["slice", "measure", "before", "after", "difference", "95 % interval", "n"],
        [
            [
                d.slice,
                d.measure,
                "" if d.baseline is None else f"{d.baseline:.4f}",
                "" if d.candidate is None else f"{d.candidate:.4f}",
                f"{d.mean:+.4f}",
                f"[{d.low:+.4f}, {d.high:+.4f}]" if d.n_queries >= SMALLEST else "too few queries",
                str(d.n_queries),
            ]
            for d in evaluation.differences
        ],
        title=f"{evaluation.n_queries} {evaluation.split} questions, {evaluation.n_judgements} human judgements of "
        f"{evaluation.criterion}",
    )
    say("  The gate judges by all and by unseen; the other slices describe.")
    for reason in evaluation.gate_reasons:
        say(f"  Gate: {reason}")


def evaluate(
    where: Where = None,
    model: Annotated[str, typer.Option(help="live, candidate, or a model's hash.")] = "live",
    split: Annotated[str, typer.Option(help="held-out, calibrate or train.")] = "held-out",
    about: Annotated[
        str | None,
        typer.Option(
            "--criterion",
            help="What the grades are about: relevance or utility \\[default: as the labels the model was trained on].",
        ),
    ] = None,
    judge_first: Annotated[
        bool,
        typer.Option(
            "--judge-first", help="Then put what nobody judged in the top 10 of either model before the audit queue."
        ),
    ] = False,
    per_query: Annotated[
        Path | None, typer.Option(help="Then write the figures of every question to this CSV file.", dir_okay=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on what people judged; one that is not live is compared with the live one, which is a look.

    A model goes live only by figures on what its labels were about.

    Example: relabel evaluate --model candidate --judge-first --per-query queries.csv
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
        if per_query is not None and not per_query.absolute().parent.is_dir():
            raise InputInvalid(f"--per-query {per_query}: there is no such folder")
        with bar("Measuring") as progress:
            view = evaluating.evaluate_model(
                workspace,
                model_id=find_model(workspace, model),
                split=wanted,
                criterion=None if about is None else criterion_of(about),
                progress=progress,
            )
        if as_json:
            print_json(view)
        else:
            show_evaluation(view)
        if per_query is not None:
            _write_per_query(workspace, view.id, per_query)
        if judge_first:
            _put_first(workspace, view.id)


def _write_per_query(workspace: Workspace, evaluation_id: int, file: Path) -> None:
    from app.services.evaluation_views import list_query_rows, query_rows_csv

    rows = list_query_rows(workspace, evaluation_id=evaluation_id)
    file.write_text(query_rows_csv(rows), encoding="utf-8")
    say(f"  {len(rows):,} questions written to {file}")


def _put_first(workspace: Workspace, evaluation_id: int) -> None:
    from app.services import judging_first

    put = judging_first.judge_first(workspace, evaluation_id=evaluation_id)
    next_look = judging_first.get_judge_first(workspace, evaluation_id=evaluation_id).next_look
    say(f"  {put:,} pairs are judged first now. Comparing again when they are will be look {next_look}.")


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
