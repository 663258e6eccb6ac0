"""Turning rounds: pool, label, wait for audits, retrain, measure; and the table of those that were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import bar, print_json, print_table, say
from app.verbs.labels import described_judge, say_plan
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
    option_of,
    recipe_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.services.label_views import LabelPlan
    from app.services.round_views import Figure, RoundView


def round_(
    where: Where = None,
    train: Annotated[
        bool, typer.Option("--train", help="Retrain on the audits there are; the round waits no more.")
    ] = (False),
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Retrain at once, without waiting for audits.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Pool, say what labelling would send and cost, and stop there.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop the round; labels and audits stay.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show the rounds so far; do nothing.")] = False,
    spec: Annotated[str | None, typer.Option("--spec", help="Another judge, as JSON; see relabel label.")] = None,
    cap_usd: Annotated[float | None, typer.Option("--cap-usd", help="Spend no more than so many dollars.")] = None,
    cap_tokens: Annotated[int | None, typer.Option("--cap-tokens", help="Use no more than so many tokens.")] = None,
    depth: Annotated[int | None, typer.Option(min=1, max=1000, help="Candidates kept for each question.")] = None,
    speed: Speed = None,
    curriculum: Curriculum = None,
    changes: Changes = None,
    person: Who = None,
    about: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Turn the next round: pool with the live model, label what is new, wait for audits, retrain, say what it gained.

    Without options it goes as far as it can and then waits for people; with --train it goes on. Stopped at any moment,
    it goes on where it stood when it is run again. Its labels are bought as by relabel label, under the same caps.

    Example: relabel round --plan
    """
    with opened(where) as workspace:
        from app.errors import AppError, NothingToDo
        from app.jobs import rounds as round_jobs
        from app.services import round_parts, rounds
        from app.services.round_reading import get_open, list_rounds
        from app.services.round_views import Part
        from db.enums import RoundStatus

        who, criterion = person or workspace.settings.person, criterion_of(about)
        waiting = get_open(workspace, criterion=criterion)
        if cancel or show:
            if cancel and waiting is None:
                raise NothingToDo("no round is going on")
            if cancel and waiting is not None:
                rounds.request_cancel(workspace, round_id=waiting.id, person=who)
            _show(list_rounds(workspace, criterion=criterion), as_json=as_json)
            return
        if train and waiting is None:
            raise NothingToDo(f"no round waits; begin one with: relabel round{option_of(criterion)}")
        if plan and waiting is not None and waiting.labels is not None:
            raise NothingToDo(f"round {waiting.number} has labelled what was new")
        asked = rounds.begin(
            workspace,
            person=who,
            criterion=criterion,
            spec=None if spec is None else described_judge(workspace, spec),
            token_cap=cap_tokens,
            cost_cap_usd=cap_usd,
            overrides=recipe_of(changes, speed=speed, curriculum=curriculum),
            depth=depth,
            consent=not plan,
            wait=not (train or no_wait),
            here=True,
        )
        view = round_jobs.run_here(workspace, asked.round_id, bar=bar, on_plan=_say_judge)
        if view.next_part is Part.CONSENT:
            say_plan(round_parts.plan(workspace, view.id), as_json=as_json)
            if not as_json:
                say(f"Next: have the judge label them. [relabel round{option_of(criterion)}]")
            return
        _show(list_rounds(workspace, criterion=criterion), as_json=as_json)
        if view.status is RoundStatus.FAILED:
            raise AppError(f"round {view.number} stopped: {view.message}")
        if not as_json:
            _say_next(view, option_of(criterion))


def _say_judge(plan: LabelPlan) -> None:
    say(
        f"Judge: {plan.judge}; the texts are sent to {plan.host}."
        if plan.host
        else f"Judge: {plan.judge}; no text leaves this machine."
    )
    if plan.host and plan.n_pairs:
        cost = "" if plan.worst_cost_usd is None else f", at worst ${plan.worst_cost_usd:,.2f}"
        say(f"{plan.n_pairs:,} pairs in {plan.n_calls:,} calls, at worst {plan.worst_tokens:,} tokens{cost}.")


def _say_next(view: RoundView, option: str) -> None:
    from app.services.round_views import Part

    if view.next_part is Part.AUDIT:
        say(
            f"Round {view.number} waits for people: {view.waiting:,} pairs are in the audit queue, {view.n_audits:,} "
            f"were audited. Retrain on what there is with: relabel round --train{option}"
        )
    elif view.advice:
        say(view.advice)


def _show(found: Sequence[RoundView], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_table(
        [
            "round",
            "status",
            "new pairs",
            "labels",
            "audits",
            "nDCG@10",
            "gain",
            "gain of the round per 100 audits",
            "n",
            "advice",
        ],
        [
            [
                str(one.number),
                f"{one.status}: {one.message or one.next_part}" if one.next_part != "over" else str(one.status),
                _count(one.new_pairs),
                _count(one.labels),
                f"{one.n_audits:,}",
                _figure(one.ndcg, sign=""),
                _figure(one.gain, sign="+"),
                "" if one.gain_per_100 is None else f"{one.gain_per_100:+.4f}",
                "" if one.ndcg is None else str(one.ndcg.n_queries),
                "" if one.stop is None else ("stop" if one.stop else "go on"),
            ]
            for one in found
        ],
    )


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _figure(figure: Figure | None, *, sign: str) -> str:
    if figure is None:
        return ""
    return f"{figure.mean:{sign}.4f} [{figure.low:{sign}.4f}, {figure.high:{sign}.4f}]"
