"""The people of the workspace with their roles, and for owners a form that gives one."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.problems import OURS, sentence
from app.components.table import show_table
from app.components.text import literal
from app.services import people
from app.services.people import PersonView
from db.enums import PersonKind, Role

MEANINGS = {
    Role.REVIEWER: "grades, skips and flags",
    Role.ADJUDICATOR: "also settles what reviewers differ about",
    Role.OWNER: "also gives roles, revokes, and overrides the gate",
}


def show_people(screen: str) -> None:
    """A closed part with everybody's role, for owners with their work and a form. screen: where notices go.

    Nothing of it is on the page before it is opened: while a case is undecided nobody's name is.
    """
    with st.expander("People and roles", key="people.open", on_change="rerun") as part:
        if part.open:
            _people(screen)


def _people(screen: str) -> None:
    workspace = state.get_workspace()
    known = people.list_people(workspace)
    if people.may_give_roles(workspace, person=state.get_person()):
        show_table(
            ["Name", "Role", "Grades", "Last seen (UTC)", "Standing"],
            [
                [
                    one.name,
                    _role(one),
                    f"{one.n_reviews:,}",
                    "never" if one.last_seen is None else f"{one.last_seen:%d %b %Y %H:%M}",
                    "revoked" if one.revoked else "counts",
                ]
                for one in known
            ],
            align=["left", "left", "right", "left", "left"],
        )
        _meanings()
        _form(known, screen=screen)
        _changes()
    else:
        show_table(["Name", "Role"], [[one.name, _role(one)] for one in known])
        _meanings()
        st.caption("Only an owner gives roles, and sees who did how much.")


def _meanings() -> None:
    st.caption(". ".join(f"{role.value.capitalize()}: {meaning}" for role, meaning in MEANINGS.items()) + ".")


def _role(one: PersonView) -> str:
    if one.kind is PersonKind.IMPORTED:
        return "none: judgements from a file"
    return f"{one.role.value}, counts as owner" if one.stands_in else one.role.value


def _form(known: tuple[PersonView, ...], *, screen: str) -> None:
    if any(one.stands_in for one in known):
        st.caption(
            "Nobody is an owner yet, so you count as one. Make yourself the first owner if you want to stay one: from "
            "then on only owners give roles."
        )
    here = [one for one in known if one.kind is PersonKind.REVIEWER]
    with st.form("people.role", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox("Person", [one.name for one in here], key="people.name", format_func=literal, width=260)
        st.selectbox("Role", [role.value for role in Role], key="people.new_role", width=180)
        st.form_submit_button("Give this role", key="people.give", on_click=_give, args=(screen,))


def _give(screen: str) -> None:
    name, role = str(state.value_of("people.name") or ""), str(state.value_of("people.new_role") or "")
    try:
        report = people.set_role(state.get_workspace(), name=name, role=Role(role), by=state.get_person())
    except OURS as exc:
        state.leave_notice(screen, sentence(exc), "refused")
    else:
        state.leave_notice(screen, report.sentence)


def _changes() -> None:
    changes = people.list_role_changes(state.get_workspace())
    if changes:
        show_table(
            ["When", "Person", "Role", "Given by"],
            [
                [f"{one.at:%d %b %Y %H:%M}", one.name, one.role.value, one.by or "the first owner here"]
                for one in changes
            ],
            caption="Roles given, newest first",
        )
