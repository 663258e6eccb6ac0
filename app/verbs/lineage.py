"""Where labels come from and went to, and taking somebody's out of use: lineage, revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import print_json, print_table, say, tell
from app.verbs.shared import AsJson, Where, opened

if TYPE_CHECKING:
    from app.services.lineage_views import (
        AuthorLineage,
        Consequences,
        LineagePage,
        ModelLineage,
        ModelUse,
        PairLineage,
    )

Judge = Annotated[str | None, typer.Option("--judge", help="A judge's name, in every prompt version.")]
Prompt = Annotated[str | None, typer.Option("--prompt", help="Only the prompt version that begins so.")]
Reviewer = Annotated[str | None, typer.Option("--person", help="A reviewer's name, or an imported one's.")]


def lineage(
    model: Annotated[str | None, typer.Argument(help="live, candidate, or a model's hash \\[default: live].")] = None,
    where: Where = None,
    judge: Judge = None,
    prompt: Prompt = None,
    person: Reviewer = None,
    pair: Annotated[
        tuple[str, str] | None, typer.Option("--pair", metavar="QUERY PASSAGE", help="The ids of query and passage.")
    ] = None,
    labels: Annotated[int, typer.Option(min=0, max=10_000, help="How many labels of a model to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show a model's run, label set, labels and their authors; or which models a judge, a person or a pair went into.

    Example: relabel lineage live --labels 5
    Example: relabel lineage --judge "gpt-4o-mini/pointwise" --json
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid
        from app.services import lineage as service
        from app.services.model_export import find_model

        if sum(given is not None for given in (model, judge, person, pair)) > 1:
            raise InputInvalid("name one thing: a model, --judge, --person or --pair")
        if judge is not None or person is not None:
            author = service.find_author(workspace, judge=judge, prompt=prompt, person=person)
            of_author = service.get_author_lineage(workspace, author=author)
            print_json(of_author) if as_json else _show_author(of_author)
        elif pair is not None:
            pair_id = service.find_pair(workspace, query=pair[0], passage=pair[1])
            of_pair = service.get_pair_lineage(workspace, pair_id=pair_id)
            print_json(of_pair) if as_json else _show_pair(of_pair)
        else:
            of_model = service.get_model_lineage(workspace, model_id=find_model(workspace, model or "live"))
            page = None
            if of_model.label_set is not None and labels:
                page = service.list_labels(workspace, label_set_id=of_model.label_set.id, limit=labels)
            print_json({"model": of_model, "labels": page}) if as_json else _show_model(of_model, page)


def _show_model(model: ModelLineage, page: LineagePage | None) -> None:
    tell(f"{model.name} ({model.hash[:12]}), {model.kind}, {'live' if model.is_live else model.stage}")
    for link in model.chain:
        trained = f", trained on {link.n_labels:,} labels" if link.n_labels else ""
        tell(f"  stands on the {link.role} {link.name} ({link.hash[:12]}){trained}")
    if model.n_revoked:
        tell(f"  trained on {model.n_revoked:,} labels since revoked")
    if model.run is None or model.label_set is None:
        tell("  It was not trained here: no label set stands behind it.")
        return
    settings = ", ".join(f"{name} {value}" for name, value in model.run.settings.items())
    tell(f"  Training run {model.run.id} by {model.run.person or 'nobody named'}: {settings}")
    held = model.label_set
    tell(f"  Label set {held.hash}: {held.n_labels:,} labels on {held.n_queries:,} queries, about {held.criterion}")
    print_table(
        ["source", "labels", "share of weight"],
        [[one.source.value, f"{one.n_labels:,}", f"{one.share:.1%}"] for one in held.sources],
    )
    print_table(
        ["author", "prompt", "labels", "share of weight", "certified", "blind", ""],
        [
            [
                one.author.name,
                " ".join(version[:8] for version in one.author.versions),
                f"{one.n_labels:,}",
                f"{one.share:.1%}",
                f"{one.n_certified:,}" if one.author.versions else "–",
                "–" if one.author.versions else f"{one.n_blind:,}",
                "revoked" if one.revoked else "",
            ]
            for one in held.authors
        ],
    )
    if page is not None:
        print_table(
            ["pair", "query", "passage", "grade", "weight", "source", "author", "when"],
            [
                [
                    str(one.pair_id),
                    one.query,
                    one.passage_title or one.passage_start,
                    "hidden" if one.grade is None else f"{one.grade:g}",
                    "" if one.weight is None else f"{one.weight:.2f}",
                    "judged blind" if one.source is None else one.source.value,
                    one.author or "",
                    "" if one.at is None else f"{one.at:%Y-%m-%d %H:%M}",
                ]
                for one in page.rows
            ],
            title=f"{len(page.rows):,} of {page.total:,} labels",
        )


def _models_text(models: tuple[ModelUse, ...]) -> str:
    return ", ".join(f"{model.name}{' (LIVE)' if model.is_live else ''}" for model in models) or "none"


def _show_author(view: AuthorLineage) -> None:
    said = "proposals" if view.author.versions else "grades"
    tell(f"{view.author.name}: {view.n_said:,} {said}{', revoked' if view.revoked else ''}")
    print_table(
        ["label set", "frozen", "labels", "of", "share of weight", "models"],
        [
            [
                use.label_set,
                f"{use.created_at:%Y-%m-%d %H:%M}",
                f"{use.n_labels:,}",
                f"{use.n_all:,}",
                f"{use.share:.1%}",
                _models_text(use.models),
            ]
            for use in view.uses
        ],
    )


def _show_pair(view: PairLineage) -> None:
    tell(f"Pair {view.pair_id}: {view.query_id} {view.query!r} and {view.passage_id} {view.passage_title!r}")
    if view.concealed:
        tell("People judge this pair blind, so nothing is said of its labels.")
    print_table(
        ["label set", "grade", "source", "author", "models"],
        [
            [
                use.label_set,
                "hidden" if use.label.grade is None else f"{use.label.grade:g}",
                "" if use.label.source is None else use.label.source.value,
                use.label.author or "",
                _models_text(use.models),
            ]
            for use in view.uses
        ],
    )


def revoke(
    where: Where = None,
    judge: Judge = None,
    prompt: Prompt = None,
    person: Reviewer = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept for good. Without it nothing is done.")] = None,
    give_back: Annotated[bool, typer.Option("--restore", help="Give the judge or reviewer back.")] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="Then ask the worker for a training run.")] = False,
    by: Annotated[str | None, typer.Option("--by", help="Who does this \\[default: the workspace's person].")] = None,
    as_json: AsJson = False,
) -> None:
    """Take all that a judge or a reviewer said out of use, or give it back; without --reason, only say what would be.

    Example: relabel revoke --judge "gpt-4o-mini/pointwise" --reason "invented evidence" --retrain
    Example: relabel revoke --person Bo --restore --reason "it was somebody else"
    """
    with opened(where) as workspace:
        from app.errors import AppError, InputInvalid
        from app.jobs import training
        from app.services import lineage as service
        from app.services import revoking

        author = service.find_author(workspace, judge=judge, prompt=prompt, person=person)
        who = by or workspace.settings.person
        if reason is None:
            if give_back:
                raise InputInvalid("--restore needs --reason")
            foreseen = revoking.foresee(workspace, author=author)
            print_json(foreseen) if as_json else _show_foreseen(foreseen)
            return
        act = revoking.restore if give_back else revoking.revoke
        report = act(workspace, author=author, reason=reason, person=who)
        run_id, why_not = None, None
        if retrain:
            try:
                run_id = training.start_after_revocation(workspace, author=author, person=who)
            except AppError as exc:  # the act is done and kept all the same: say what it did
                why_not = exc.user_message
        if as_json:
            print_json({"report": report, "run_id": run_id, "not_retrained": why_not})
        else:
            for sentence in report.sentences():
                say(sentence)
            if why_not is not None:
                say(f"Nothing is retrained: {why_not}")
            elif run_id is None:
                say("To retrain on what counts now: relabel train")
            else:
                say(f"Training run {run_id} waits for the worker; it starts from the label set as it is now.")


def _show_foreseen(view: Consequences) -> None:
    tell(f"Revoking {view.author.name} would mean:")
    for sentence in view.sentences():
        tell(f"  {sentence}")
    say("Nothing was changed. To do it, give a reason: --reason")
