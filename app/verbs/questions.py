"""Questions from passages, for corpora without queries: plan and write them, and say how much they cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import bar, print_json, say
from app.verbs.shared import AsJson, Where, opened

if TYPE_CHECKING:
    from app.services.question_coverage import QuestionCoverage
    from app.services.questions import QuestionPlan, QuestionReport


def questions(
    where: Where = None,
    n: Annotated[int, typer.Option("--n", min=1, max=100_000, help="How many questions to write.")] = 100,
    per_passage: Annotated[int, typer.Option(min=1, max=10, help="At most so many from one passage.")] = 2,
    seed: Annotated[int, typer.Option(help="Decides which passages are asked about.")] = 0,
    cap_usd: Annotated[
        float | None, typer.Option(min=0, help="Spend at most so much \\[default: the workspace's cap].")
    ] = None,
    cap_tokens: Annotated[
        int | None, typer.Option(min=1, help="Use at most so many tokens \\[default: the workspace's cap].")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be asked, whom, and at what cost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have the LLM write questions from passages, for training; held-out questions stay human.

    Example: relabel questions --n 100 --plan
    """
    with opened(where) as workspace:
        from app.services import question_coverage
        from app.services import questions as service

        wish = service.QuestionWish(n=n, per_passage=per_passage, seed=seed)
        planned = service.plan_questions(workspace, wish, cap_tokens=cap_tokens, cap_usd=cap_usd)
        if plan and as_json:
            print_json(planned)
            return
        _say_plan(planned, with_prompt=plan)
        if plan:
            return
        with bar("Questions") as progress:
            report = service.write_questions(
                workspace, wish, cap_tokens=cap_tokens, cap_usd=cap_usd, on_progress=progress
            )
        coverage = question_coverage.get_coverage(workspace)
        if as_json:
            print_json({"report": report, "coverage": coverage})
            return
        _say_report(report)
        if coverage is not None:
            _say_coverage(coverage)
        say("Next: relabel pool, then relabel label; the passages they came from are graded like any other.")


def _say_plan(plan: QuestionPlan, *, with_prompt: bool) -> None:
    dollars = "at an unknown price" if plan.worst_usd is None else f"${plan.worst_usd:,.4f} at worst"
    going_on = " An unfinished job goes on." if plan.resumes else ""
    say(f"{plan.model}; the passages are sent to {plan.host}.{going_on}")
    say(
        f"{plan.questions:,} questions from {plan.passages:,} passages (at most {plan.most_passages:,} if many are "
        f"dropped): {plan.worst_tokens:,} tokens at worst for the first {plan.passages:,}, {dollars}"
    )
    caps = [f"{plan.cap_tokens:,} tokens"] if plan.cap_tokens is not None else []
    caps += [f"${plan.cap_usd:,.4f}"] if plan.cap_usd is not None else []
    say(f"Cap: {' and '.join(caps) or 'none'}")
    if with_prompt:
        for role, content in plan.prompt:
            say(f"--- {role}\n{content}")
        say("--- nothing was sent")


def _say_report(report: QuestionReport) -> None:
    cost = "at an unknown price" if report.cost_usd is None else f"${report.cost_usd:,.4f}"
    say(
        f"{report.written:,} questions from {report.passages_with_question:,} of {report.passages:,} passages asked; "
        f"{report.unreadable:,} replies unreadable, {report.failed:,} passages without a reply; "
        f"{report.tokens:,} tokens, {cost}"
    )
    for reason, count in sorted(report.dropped.items(), key=lambda item: -item[1]):
        say(f"  {count:,} dropped: {reason}")
    if report.finished and report.written < report.wanted:
        say(f"  {report.wanted - report.written:,} fewer than wanted: no more passages, or too many were dropped")


def _say_coverage(coverage: QuestionCoverage) -> None:
    reached = (("passages", coverage.passages), ("documents", coverage.documents), ("sources", coverage.sources))
    shares = ", ".join(f"{r.with_question:,} of {r.total:,} {name} ({r.share:.1%})" for name, r in reached)
    say(f"Covered in all: {shares}")
    patterns = ", ".join(f"{pattern} {count:,}" for pattern, count in coverage.patterns.items())
    say(f"Ways of asking: {patterns or 'none'}")
    pooled = coverage.found + coverage.lost
    if pooled:
        say(f"{coverage.found:,} of {pooled:,} pooled questions find their own passage; {coverage.lost:,} do not:")
        for lost in coverage.lost_questions[:5]:
            say(f"  {lost.question} ({lost.passage})")
