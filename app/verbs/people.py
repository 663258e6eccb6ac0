"""Who works here, and in which role: relabel people, relabel people role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import print_json, print_table, say
from app.verbs.shared import AsJson, Where, opened

if TYPE_CHECKING:
    from app.services.people import PersonView


def people(
    act: Annotated[str, typer.Argument(help="list, or role to give somebody one.")] = "list",
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME ROLE", help="For role: a person, and reviewer, adjudicator or owner."),
    ] = None,
    where: Where = None,
    by: Annotated[
        str | None, typer.Option("--by", help="The owner who gives it \\[default: the workspace's person].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show who works here, what they did and in which role; or give somebody a role, which only owners may.

    Adjudicators settle what reviewers differ about; owners do that too, give roles, revoke, and override the gate.
    While a workspace has no owner, whoever runs this command names the first one.

    Example: relabel people
    Example: relabel people role Grace adjudicator --by Ada
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid
        from app.services import people as service
        from db.enums import Role

        words = given or []
        if act == "list" and not words:
            known = service.list_people(workspace)
            print_json(known) if as_json else _show(known)
        elif act == "role" and len(words) == 2:
            name, role = words
            if role not in tuple(Role):
                raise InputInvalid(f"there is no role {role!r}; choose {', '.join(Role)}")
            if role == Role.OWNER and not service.has_owner(workspace):
                report = service.claim_ownership(workspace, name=name)
            else:
                report = service.set_role(workspace, name=name, role=Role(role), by=by or workspace.settings.person)
            print_json(report) if as_json else say(report.sentence)
        else:
            raise InputInvalid("say: relabel people | relabel people role NAME reviewer|adjudicator|owner")


def _show(known: tuple[PersonView, ...]) -> None:
    if not known:
        say("Nobody has worked here yet. People are known once they chose a name on the screens: relabel serve")
        return
    print_table(
        ["name", "role", "kind", "grades", "last seen", ""],
        [
            [
                one.name,
                f"{one.role.value}, counts as owner" if one.stands_in else one.role.value,
                one.kind.value,
                f"{one.n_reviews:,}",
                "never" if one.last_seen is None else f"{one.last_seen:%Y-%m-%d %H:%M}",
                "revoked" if one.revoked else "",
            ]
            for one in known
        ],
    )
    if any(one.stands_in for one in known):
        say("Nobody is an owner yet, so the workspace's own person counts as one: relabel people role NAME owner")
