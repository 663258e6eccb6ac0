"""Roles on both databases: given by owners, kept for good, and never without an owner once there was one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.errors import InputInvalid, NotAllowed
from app.services import adjudicating, people, reviewing, revoking
from app.services.lineage import find_author
from builders import TOPICS, Clock, audit, queued, with_clock
from db.enums import PersonKind, Role
from db.models import Person, RoleChange
from db.queries.people import person_named


@pytest.fixture
def here(any_workspace: Workspace) -> Workspace:
    """A workspace whose own person is `me`, with Ada and Bo, and no owner."""
    workspace = with_clock(any_workspace, Clock())
    for name in ("me", "Ada", "Bo"):
        reviewing.ensure_person(workspace, name=name)
    return workspace


def roles(workspace: Workspace) -> dict[str, Role]:
    return {one.name: one.role for one in people.list_people(workspace)}


def changes(workspace: Workspace) -> list[tuple[str, Role, str | None]]:
    return [(one.name, one.role, one.by) for one in reversed(people.list_role_changes(workspace))]


def test_a_workspace_without_an_owner_locks_nobody_out(here: Workspace) -> None:
    """Somebody working alone has to hand out roles before anything works."""
    assert people.may_give_roles(here, person="me")
    assert adjudicating.may_adjudicate(here, person="me")
    assert [one.name for one in people.list_people(here) if one.stands_in] == ["me"]
    assert people.set_role(here, name="Bo", role=Role.ADJUDICATOR, by="me").previous is Role.REVIEWER
    assert roles(here)["Bo"] is Role.ADJUDICATOR
    assert changes(here) == [("Bo", Role.ADJUDICATOR, "me")]


def test_the_first_owner_is_named_by_whoever_runs_the_command(here: Workspace) -> None:
    """A workspace whose settings name nobody real stays without an owner for ever; or anybody claims an owned one."""
    report = people.claim_ownership(here, name="  Ada ")
    assert (report.name, report.role, report.first_owner) == ("Ada", Role.OWNER, True)
    assert changes(here) == [("Ada", Role.OWNER, None)]
    assert not people.may_give_roles(here, person="me"), "the workspace's own person stood in until then"
    with pytest.raises(NotAllowed) as refused:
        people.claim_ownership(here, name="Bo")
    assert "Ada" in refused.value.user_message
    assert not [one for one in people.list_people(here) if one.stands_in]


def test_whoever_stands_in_may_name_the_first_owner(here: Workspace) -> None:
    """The first owner made on the screen is recorded as made by somebody who was none."""
    assert people.set_role(here, name="me", role=Role.OWNER, by="me").first_owner
    assert not people.set_role(here, name="Ada", role=Role.OWNER, by="me").first_owner
    assert changes(here) == [("me", Role.OWNER, None), ("Ada", Role.OWNER, "me")]


def test_only_owners_give_roles(here: Workspace) -> None:
    """A reviewer makes themselves an owner."""
    people.claim_ownership(here, name="Ada")
    for by in ("Bo", "me", "Nobody"):
        with pytest.raises(NotAllowed):
            people.set_role(here, name="Bo", role=Role.OWNER, by=by)
    people.set_role(here, name="Bo", role=Role.ADJUDICATOR, by="Ada")
    with pytest.raises(NotAllowed):
        people.set_role(here, name="me", role=Role.ADJUDICATOR, by="Bo")
    assert roles(here) == {"Ada": Role.OWNER, "Bo": Role.ADJUDICATOR, "me": Role.REVIEWER}


def test_the_last_owner_is_never_taken_away(here: Workspace) -> None:
    """Nobody is left who may give roles, revoke or override."""
    people.claim_ownership(here, name="Ada")
    with pytest.raises(NotAllowed):
        people.set_role(here, name="Ada", role=Role.REVIEWER, by="Ada")
    people.set_role(here, name="Bo", role=Role.OWNER, by="Ada")
    people.set_role(here, name="Ada", role=Role.REVIEWER, by="Bo")
    assert [name for name, role in roles(here).items() if role is Role.OWNER] == ["Bo"]


def test_two_owners_who_remove_each_other_at_once_leave_one(here: Workspace) -> None:
    """Each check finds the other owner still there, and both are gone."""
    people.claim_ownership(here, name="Ada")
    people.set_role(here, name="Bo", role=Role.OWNER, by="Ada")
    start = threading.Barrier(2)

    def remove(names: tuple[str, str]) -> bool:
        start.wait()
        try:
            people.set_role(here, name=names[1], role=Role.REVIEWER, by=names[0])
        except NotAllowed:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(remove, [("Ada", "Bo"), ("Bo", "Ada")]))
    assert sorted(done) == [False, True]
    assert list(roles(here).values()).count(Role.OWNER) == 1


def test_a_role_somebody_has_already_is_not_stored_again(here: Workspace) -> None:
    """The history fills with changes that changed nothing."""
    people.claim_ownership(here, name="Ada")
    report = people.set_role(here, name="Ada", role=Role.OWNER, by="Ada")
    assert report.previous is Role.OWNER
    assert "already" in report.sentence
    assert len(changes(here)) == 1


def test_role_changes_are_kept_as_they_were(here: Workspace) -> None:
    """Somebody who was owner for a day leaves no trace."""
    people.claim_ownership(here, name="Ada")
    for statement in (sa.update(RoleChange).values(role=Role.REVIEWER), sa.delete(RoleChange)):
        with pytest.raises(sa.exc.DatabaseError), here.sessions.begin() as session:
            session.execute(statement)
    assert changes(here) == [("Ada", Role.OWNER, None)]


def test_only_people_who_are_here_get_a_role(here: Workspace) -> None:
    """A typing error makes an owner of nobody; or the author of a file becomes one."""
    with here.sessions.begin() as session:
        person_named(session, "trec", now=here.now(), kind=PersonKind.IMPORTED)
    for name in ("Adaa", "trec"):
        with pytest.raises(InputInvalid):
            people.set_role(here, name=name, role=Role.OWNER, by="me")
    for name in ("trec", " ", "x" * 201):
        with pytest.raises(InputInvalid):
            people.claim_ownership(here, name=name)
    with here.sessions.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Person)) == 4


def test_people_are_listed_with_their_work(any_workspace: Workspace) -> None:
    """An owner cannot tell who works here, who left, and whose grades do not count."""
    clock = Clock()
    workspace = queued(with_clock(any_workspace, clock), topics=TOPICS[:2])
    assert audit(workspace, person="Ada", at_most=3) == 3
    graded_at = clock.at
    reviewing.undo(workspace, person="Ada")
    reviewing.ensure_person(workspace, name="Cy")
    clock.pass_minutes(120)
    card = reviewing.claim(workspace, person="Bo")
    assert card is not None
    revoking.revoke(
        workspace, author=find_author(workspace, judge=None, prompt=None, person="Ada"), reason="x", person="me"
    )
    blind = reviewing.claim(workspace, person="Dora", desk=reviewing.DeskChoice(blind=True))
    assert blind is not None
    shown = reviewing.grade(workspace, card=blind.card, person="Dora", grade=1)
    assert shown is not None
    reviewing.keep(workspace, card=shown.card.card, person="Dora")
    known = {one.name: one for one in people.list_people(workspace)}
    assert known["Dora"].n_reviews == 1, "a grade that was kept after the reveal is no second label"
    assert (known["Ada"].n_reviews, known["Ada"].revoked) == (2, True)
    assert known["Ada"].last_seen >= graded_at
    assert (known["Bo"].n_reviews, known["Bo"].last_seen) == (0, clock.at)
    assert known["Cy"].last_seen is None
