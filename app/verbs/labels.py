"""Making labels: pool and label, and what that costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.terminal import bar, harmless, print_json, print_table, say
from app.verbs.shared import AsJson, Where, Who, opened, say_next

if TYPE_CHECKING:
    from app.bootstrap import Workspace
    from app.services.label_views import LabelPlan


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
            say("Next: see what judging them would cost. [relabel label --plan]" if report.new else "Nothing is new.")


def label(
    where: Where = None,
    judge: Annotated[
        str | None, typer.Option(help="local, or llm when a key or endpoint is set \\[default: the workspace's].")
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option("--spec", help='Another judge, as JSON: {"kind": "listwise"}, {"kind": "utility"}, …'),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would send and cost; call nothing.")] = False,
    cap_usd: Annotated[float | None, typer.Option("--cap-usd", help="Spend no more than so many dollars.")] = None,
    cap_tokens: Annotated[int | None, typer.Option("--cap-tokens", help="Use no more than so many tokens.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Ask only about pairs that failed before.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Ask again even where no retry can help.")] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Have the worker do it and return at once.")] = False,
    person: Who = None,
    as_json: AsJson = False,
) -> None:
    """Have the judge propose a grade for every candidate it has not seen, then accept or queue for audit.

    It can be stopped at any moment: run it again and it goes on, and what was spent stays counted under the cap.

    Example: OPENAI_API_KEY=… relabel label --judge llm --plan
    """
    with opened(where) as workspace:
        from dataclasses import replace

        from annotator.types import Criterion
        from app.errors import AppError, InputInvalid, NothingToDo
        from app.services import label_jobs, label_plans, routing
        from app.services.label_views import LabelJobView
        from app.services.labelling import LabelReport
        from app.services.labels import count_queries_without_positive
        from db.enums import RunStatus

        if judge not in (None, "auto", "local", "llm"):
            raise InputInvalid(f"--judge is {judge!r}; choose auto, local or llm")
        if judge is not None:
            workspace = replace(workspace, settings=workspace.settings.model_copy(update={"judge": judge}))
        described = described_judge(workspace, spec)
        planned = label_plans.plan(
            workspace,
            spec=described,
            token_cap=cap_tokens,
            cost_cap_usd=cap_usd,
            only_failed=retry,
            even_final=force,
        )
        if plan:
            say_plan(planned, as_json=as_json)
            if planned.n_pairs and not as_json:
                say("Next: have the judge propose. [relabel label]")
            elif not as_json:
                say_next(workspace, planned.criterion)
            return
        say(
            f"Judge: {planned.judge}; the texts are sent to {planned.host}."
            if planned.host
            else f"Judge: {planned.judge}, no LLM, uncertified; no text leaves this machine."
        )
        wanted: dict[str, Any] = {
            "person": person or workspace.settings.person,
            "spec": described,
            "token_cap": cap_tokens,
            "cost_cap_usd": cap_usd,
            "only_failed": retry,
            "even_final": force,
        }
        view: LabelJobView | None = None
        labelled = LabelReport(planned.judge, planned.certifiable, 0, 0, 0, 0, 0, 0.0)
        if queue:
            from app.jobs.labelling import start

            asked = start(workspace, **wanted)
            view = label_jobs.get_job(workspace, job_id=asked.job_id)
            if as_json:
                print_json(view)
            else:
                say(f"Label job {view.id} {'is queued' if asked.new else 'goes on'}: {view.left:,} pairs to ask about.")
            return
        try:
            job_id = label_jobs.create_here(workspace, **wanted).job_id
        except NothingToDo:  # but there may be proposals to decide on, imported ones for one
            if retry:
                raise
        else:
            with bar("Proposals") as progress:
                view, labelled = label_jobs.run_here(workspace, job_id, on_progress=progress)
        with bar("Decisions") as progress:
            routed = routing.route(workspace, criterion=planned.criterion, on_progress=progress)
        positives = count_queries_without_positive(workspace, criterion=planned.criterion)
        if as_json:
            print_json({"job": view, "labelled": labelled, "routed": routed, "positives": positives})
        else:
            cost = "unknown" if labelled.cost_usd is None else f"${labelled.cost_usd:.4f}"
            say(
                f"{labelled.proposed:,} proposals ({labelled.unreadable:,} unreadable), {labelled.failed:,} without a "
                f"reply (relabel label --retry asks for those); cost {cost}"
            )
            say(f"{routed.accepted:,} accepted (uncertified), {routed.rejected:,} rejected; {routed.waiting:,} wait")
            say(
                f"{positives.without_positive:,} of {positives.queries:,} questions have no passage that counts as "
                f"{'useful' if planned.criterion is Criterion.UTILITY else 'relevant'}; they are kept"
            )
        if view is not None and view.status is not RunStatus.DONE:
            raise AppError(
                f"label job {view.id} is {view.status}: {view.message}",
                user_message=view.message or f"Label job {view.id} was {view.status}; run label again to go on.",
            )
        if not as_json:
            say_next(workspace, planned.criterion)


def described_judge(workspace: Workspace, text: str | None) -> dict[str, object]:
    """The judge's description: that given, else the kind that the settings mean.

    Raises:
        InputInvalid: it is no JSON object.
    """
    from app.errors import InputInvalid

    if text is None:
        return {"kind": "pointwise" if workspace.settings.has_llm else "local"}
    try:
        described = json.loads(text)
    except ValueError as exc:
        raise InputInvalid(f"--spec is no JSON: {exc}") from exc
    if not isinstance(described, dict):
        raise InputInvalid(f"--spec must be a JSON object, got {text!r}")
    return described


def say_plan(plan: LabelPlan, *, as_json: bool) -> None:
    """What labelling would send and cost, as `--plan` says it."""
    if as_json:
        print_json(plan)
        return
    say(
        f"Judge {plan.judge}; the texts would be sent to {plan.host}."
        if plan.host
        else f"Judge {plan.judge}; no text leaves this machine."
    )
    say(f"{plan.n_pairs:,} pairs in {plan.n_calls:,} calls, of which {plan.n_stored:,} are answered from the store.")
    say(f"About {plan.tokens:,} tokens ({plan.tokens_basis}); at worst {plan.worst_tokens:,}.")
    if plan.cost_usd is None or plan.worst_cost_usd is None:
        say("The price of this model is unknown; a cap must be in tokens (--cap-tokens).")
    else:
        say(f"About ${plan.cost_usd:,.4f}; at worst ${plan.worst_cost_usd:,.4f}.")
    caps = [f"{plan.token_cap:,} tokens"] if plan.token_cap is not None else []
    caps += [f"${plan.cost_cap_usd:,.4f}"] if plan.cost_cap_usd is not None else []
    say(f"Cap: {' and '.join(caps)}." if caps else "No cap is set (--cap-usd, --cap-tokens).")
    minutes = "an unknown number of" if plan.minutes is None else f"about {plan.minutes:,.1f}"
    say(f"It would take {minutes} minutes ({plan.minutes_basis}).")
    for message in plan.prompt:
        say(f"--- {message.role}, as it would be sent")
        say(harmless(message.content))


def costs(where: Where = None, as_json: AsJson = False) -> None:
    """Show what labelling has cost, by judge and by accepted label.

    Example: relabel costs
    """
    with opened(where) as workspace:
        from app.services.costs import get_costs

        view = get_costs(workspace)
        if as_json:
            print_json(view)
            return
        columns = ["judge", "calls", "tokens", "cost", "unsettled", "suggestions", "accepted", "per accepted"]
        rows = [
            [
                one.judge,
                f"{one.calls:,}",
                f"{one.tokens:,}",
                "unknown" if one.cost_usd is None else f"${one.cost_usd:,.4f}",
                f"{one.unsettled_calls:,} calls, {one.unsettled_tokens:,} tokens at worst",
                f"{one.suggestions:,} ({one.unreadable:,} unreadable)",
                f"{one.accepted:,}",
                "" if one.usd_per_accepted is None else f"${one.usd_per_accepted:,.6f}",
            ]
            for one in view.judges
        ]
        print_table(columns, rows, title="What labelling has cost")
