"""Making labels: pool and label."""

from __future__ import annotations

from typing import Annotated

import typer

from app.terminal import bar, print_json, say
from app.verbs.shared import AsJson, Where, opened


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


def label(
    where: Where = None,
    judge: Annotated[
        str | None, typer.Option(help="local, or llm when a key or endpoint is set \\[default: the workspace's].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have the judge propose a grade for every candidate it has not seen, then accept or queue for audit.

    Example: OPENAI_API_KEY=… relabel label --judge llm
    """
    with opened(where) as workspace:
        from app.bootstrap import judge_host, make_judge
        from app.errors import InputInvalid
        from app.services import labelling, routing

        if judge not in (None, "auto", "local", "llm"):
            raise InputInvalid(f"--judge is {judge!r}; choose auto, local or llm")
        settings = workspace.settings if judge is None else workspace.settings.model_copy(update={"judge": judge})
        chosen = make_judge(settings, workspace.scale, labelling.StoredReplies(workspace))
        host = judge_host(settings)
        say(
            f"Judge: {chosen.identity.name}; the texts are sent to {host}."
            if host
            else f"Judge: {chosen.identity.name}, no LLM, uncertified; no text leaves this machine."
        )
        with bar("Proposals") as progress:
            labelled = labelling.label(workspace, chosen, on_progress=progress)
        with bar("Decisions") as progress:
            routed = routing.route(workspace, on_progress=progress)
        if as_json:
            print_json({"labelled": labelled, "routed": routed})
        else:
            cost = "unknown" if labelled.cost_usd is None else f"${labelled.cost_usd:.4f}"
            say(
                f"{labelled.proposed:,} proposals ({labelled.unreadable:,} unreadable), {labelled.failed:,} without a "
                f"reply (run label again for those); cost {cost}"
            )
            say(f"{routed.accepted:,} accepted (uncertified), {routed.rejected:,} rejected; {routed.waiting:,} wait")
