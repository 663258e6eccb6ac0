"""What goes in and out: import and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.terminal import bar, print_json, say
from app.verbs.shared import AsJson, Where, WhichCriterion, criterion_of, opened, pairs_of


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
            many = {stem: Split(value) for stem, value in pairs_of(splits, "--splits").items()}
            mapping = {int(key): int(value) for key, value in pairs_of(scale, "--scale").items()}
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


def export(
    layout: Annotated[str, typer.Argument(help="beir, trec, triplets, lists, labels, history or model.")],
    target: Annotated[Path, typer.Argument(help="Where to write.")],
    where: Where = None,
    file_format: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "jsonl",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    include_proposed: Annotated[bool, typer.Option(help="Also what was proposed and not decided.")] = False,
    model: Annotated[str, typer.Option(help="For `model`: live, candidate, or a hash.")] = "live",
    about: WhichCriterion = "relevance",
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
                criterion=criterion_of(about),
                overwrite=overwrite,
                include_proposed=include_proposed,
            )
        if as_json:
            print_json(report)
        else:
            what = "files" if layout == "model" else "rows"
            say(f"Wrote {report.path}: {report.n_rows:,} {what}")
