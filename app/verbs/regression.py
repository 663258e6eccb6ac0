"""The regression set: relabel regression add, list, retire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import print_json, print_table, say
from app.verbs.shared import AsJson, Where, Who, opened

if TYPE_CHECKING:
    from app.services.regression import CheckView


def regression(
    act: Annotated[str, typer.Argument(help="add, list or retire.")] = "list",
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="For add: a question (its id or exact words) and a passage's id. For retire: a check's number."
        ),
    ] = None,
    where: Where = None,
    person: Who = None,
    within: Annotated[int, typer.Option(min=1, max=100, help="The passage must be among so many first results.")] = 10,
    note: Annotated[str, typer.Option(help="Why it is pinned; kept with it.")] = "",
    retired: Annotated[bool, typer.Option("--retired", help="List the retired checks too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pin what no new model may lose: a passage that must stay near the top of a question's results.

    Example: relabel regression add "how much water does rice need" rice-answer --within 3 --note "asked every day"
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid
        from app.services import regression as service

        given, who = names or [], person or workspace.settings.person
        if act == "list" and not given:
            checks = service.list_checks(workspace, with_retired=retired)
            if as_json:
                print_json(checks)
            else:
                _show(checks)
        elif act == "add" and len(given) == 2:
            check = service.add_check(
                workspace, query=given[0], passage_id=given[1], deepest_rank=within, person=who, note=note
            )
            if as_json:
                print_json(check)
            else:
                say(f"Check {check.id}: {check.passage_id} within {check.deepest_rank} for {check.query}")
        elif act == "retire" and len(given) == 1 and given[0].isdigit():
            service.retire_check(workspace, check_id=int(given[0]), person=who)
            say(f"Check {given[0]} is retired.")
        else:
            raise InputInvalid("say: relabel regression list | add QUESTION PASSAGE | retire NUMBER")


def _show(checks: tuple[CheckView, ...]) -> None:
    if not checks:
        say("No regression check is pinned. Pin one: relabel regression add QUESTION PASSAGE --within 10")
        return
    print_table(
        ["check", "question", "passage", "within", "by", "note", "retired"],
        [
            [
                str(check.id),
                check.query,
                f"{check.passage_id} {check.title}".strip(),
                str(check.deepest_rank),
                check.person,
                check.note,
                "" if check.retired_at is None else f"{check.retired_at:%Y-%m-%d}",
            ]
            for check in checks
        ],
    )
