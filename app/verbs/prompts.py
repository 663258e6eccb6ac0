"""What judges are told: definitions of what counts, the effective prompt of a label, examples from audits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import bar, print_json, print_table, say, tell
from app.verbs.shared import AsJson, Where, WhichCriterion, Who, criterion_of, opened

if TYPE_CHECKING:
    from app.services.call_plans import CallPlan
    from app.services.definitions import QueryDefinitions
    from app.services.measured_examples import ExampleTrial
    from app.services.prompts import EffectivePrompt


def definitions(
    where: Where = None,
    write: Annotated[bool, typer.Option("--write", help="Have the LLM write those that are missing.")] = False,
    show: Annotated[str | None, typer.Option("--show", help="Show every version for the query with this id.")] = None,
    set_: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--set", metavar="QUERY FILE", help="Make a file's text (- reads standard input) the new version."
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be sent and cost; call nothing.")] = False,
    cap_tokens: Annotated[int | None, typer.Option("--cap-tokens", help="Use no more than so many tokens.")] = None,
    cap_usd: Annotated[float | None, typer.Option("--cap-usd", help="Spend no more than so many dollars.")] = None,
    person: Who = None,
    as_json: AsJson = False,
) -> None:
    """Say what counts as relevant for each query: written by the LLM, edited by people, every version kept.

    A changed definition makes what was proposed under the older one stale: it loses acceptance until label runs again.

    Example: relabel definitions --set q1 guideline.txt
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid
        from app.services import definitions as service

        if sum((write, show is not None, set_ is not None)) > 1:
            raise InputInvalid("choose one of --write, --show and --set")
        if plan and not write:
            raise InputInvalid("--plan says what --write would do; give both")
        if show is not None:
            found = service.get_definitions(workspace, query=show)
            print_json(found) if as_json else _show_definitions(found)
        elif set_ is not None:
            report = service.set_definition(
                workspace, query=set_[0], text=_text_of(set_[1]), person=person or workspace.settings.person
            )
            if as_json:
                print_json(report)
            elif not report.changed:
                say("That is the definition already; nothing changed.")
            else:
                say(
                    f"Version {len(report.definitions.versions)} holds; {report.dropped:,} accepted labels lost "
                    "acceptance. relabel label asks the judge again."
                )
        elif write:
            planned = service.plan_writing(workspace, cap_tokens=cap_tokens, cap_usd=cap_usd)
            if plan:
                _say_plan(planned, what="queries without a definition", as_json=as_json)
                return
            if planned.host is None:
                say("Every query with candidates has a definition, or its reply is stored; nothing is sent.")
            else:
                say(f"The queries are sent to {planned.host}; no passage is.")
            with bar("Definitions") as progress:
                written = service.write(workspace, cap_tokens=cap_tokens, cap_usd=cap_usd, on_progress=progress)
            if as_json:
                print_json(written)
            else:
                cost = "unknown" if written.cost_usd is None else f"${written.cost_usd:.4f}"
                say(
                    f"{written.written:,} definitions written, {written.unreadable:,} replies unreadable, "
                    f"{written.failed:,} without a reply; {written.dropped:,} labels lost acceptance; cost {cost}"
                )
        else:
            view = service.get_overview(workspace)
            if as_json:
                print_json(view)
            else:
                say(
                    f"{view.lacking:,} queries with candidates have no definition; {view.stale:,} pairs are stale: "
                    "the definition changed after the judge had seen it"
                )


def _text_of(file: str) -> str:
    from app.errors import InputInvalid

    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputInvalid(f"{file} cannot be read: {exc}") from exc


def _show_definitions(found: QueryDefinitions) -> None:
    tell(f"{found.query_id}: {found.query}")
    if not found.versions:
        say("No definition yet. Write one with --set, or all that are missing with --write.")
    for version in found.versions:
        when = f"{version.created_at:%Y-%m-%d %H:%M}"
        tell(f"\nVersion {version.version}, {version.author}, {when}:")
        tell(version.text)


def prompt(
    pair: Annotated[int, typer.Argument(help="The number of a pair, or of a suggestion with --suggestion.")],
    where: Where = None,
    suggestion: Annotated[bool, typer.Option("--suggestion", help="The number is that of a suggestion.")] = False,
    about: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Show, to the letter, what the judge was shown before it proposed a grade.

    Example: relabel prompt 12
    """
    with opened(where) as workspace:
        from app.services import prompts

        criterion = criterion_of(about)
        if suggestion:
            found = prompts.get_effective_prompt(workspace, pair)
        else:
            found = prompts.get_effective_prompt_of_pair(workspace, pair, criterion=criterion)
        print_json(found) if as_json else _show_prompt(found)


def _show_prompt(found: EffectivePrompt) -> None:
    words = {
        True: "to the letter what was sent",
        False: "NOT what was sent: a text has changed since",
        None: "not checked: the suggestion names no reply",
    }
    tell(f"Pair {found.pair_id}, suggestion {found.suggestion_id}, {found.judge}")
    if found.note:
        tell(found.note)
    for step in found.steps:
        title = f"\n=== {step.name} (prompt {step.prompt} {step.prompt_version}; {words[step.verified]}) ==="
        tell(title)
        for message in step.messages:
            tell(f"--- {message.role} ---\n{message.content}")


def examples(
    where: Where = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Ask the LLM about every blind review of calibrate questions twice.")
    ] = False,
    k: Annotated[int, typer.Option("-k", min=1, max=20, help="How many examples a call shows.")] = 3,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be sent and cost; call nothing.")] = False,
    cap_tokens: Annotated[int | None, typer.Option("--cap-tokens", help="Use no more than so many tokens.")] = None,
    cap_usd: Annotated[float | None, typer.Option("--cap-usd", help="Spend no more than so many dollars.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether audited pairs, shown as examples, make the judge better; they are used only where they do.

    Example: relabel examples --measure -k 3
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid, NothingToDo
        from app.services import example_trial

        if plan and not measure:
            raise InputInvalid("--plan says what --measure would do; give both")
        if measure:
            planned = example_trial.plan(workspace, k=k, cap_tokens=cap_tokens, cap_usd=cap_usd)
            if plan:
                _say_plan(planned, what="pairs graded blind", as_json=as_json)
                return
            if planned.host is None:
                say("Every reply is stored already; nothing is sent.")
            else:
                say(f"Queries, passages and examples are sent to {planned.host}.")
            with bar("Blind reviews") as progress:
                found = example_trial.measure(
                    workspace, k=k, cap_tokens=cap_tokens, cap_usd=cap_usd, on_progress=progress
                )
        else:
            stored = example_trial.get_trial(workspace)
            if stored is None:
                raise NothingToDo("examples were never measured; do it with: relabel examples --measure")
            found = stored
        print_json(found) if as_json else _show_trial(found)


def _say_plan(plan: CallPlan, *, what: str, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    say(f"{plan.model}; the texts would be sent to {plan.host}." if plan.host else "Nothing would be sent.")
    say(f"{plan.n_items:,} {what}: {plan.n_calls:,} calls, of which {plan.n_stored:,} are answered from the store.")
    say(f"About {plan.tokens:,} tokens ({plan.tokens_basis}); at worst {plan.worst_tokens:,}.")
    if plan.cost_usd is None or plan.worst_cost_usd is None:
        say("The price of this model is unknown; a cap must be in tokens (--cap-tokens).")
    else:
        say(f"About ${plan.cost_usd:,.4f}; at worst ${plan.worst_cost_usd:,.4f}.")
    caps = [f"{plan.token_cap:,} tokens"] if plan.token_cap is not None else []
    caps += [f"${plan.cost_cap_usd:,.4f}"] if plan.cost_cap_usd is not None else []
    say(f"Cap: {' and '.join(caps)}." if caps else "No cap is set (--cap-usd, --cap-tokens).")
    for message in plan.prompt:
        say(f"--- {message.role}, as it would be sent")
        say(message.content)
    say("--- nothing was sent")


def _show_trial(found: ExampleTrial) -> None:
    bounds = "no bounds" if found.low is None or found.high is None else f"{found.low:+.3f} to {found.high:+.3f}"
    print_table(
        ["model", "with examples", "without", "difference", f"{found.level:.0%} interval", "pairs", "questions"],
        [
            [
                found.model,
                f"{found.accuracy_with:.3f}",
                f"{found.accuracy_without:.3f}",
                f"{found.difference:+.3f}",
                bounds,
                f"{found.n_pairs:,}",
                f"{found.n_queries:,}",
            ]
        ],
    )
    if not found.holds:
        say("The model or a prompt has changed since: measure again before examples are used.")
    elif found.helps:
        say('They help. Use them with: relabel label --spec \'{"kind": "pointwise", "examples": true}\'')
    else:
        say("No gain is shown, so no judge is given examples.")
