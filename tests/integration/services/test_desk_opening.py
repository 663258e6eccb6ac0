"""The whole desk in one step, and what a card costs the database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from app.bootstrap import Workspace
from app.errors import NotAllowed
from app.services import reviewing
from app.services.desk_choice import DeskChoice
from app.services.lineage import find_author
from app.services.revoking import revoke
from builders import TOPICS, queued
from db.models import SeenPair
from desks import BLIND, FEW, claim, with_settings

CARD, GRADE, LIST, PROGRESS = 16, 10, 11, 4
"""Statements that each may take on SQLite, with the one that begins the transaction; about as many as they take."""


def asked(workspace: Workspace, call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What the call returned, and the statements it sent."""
    sent: list[str] = []

    def note(_: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    sa.event.listen(workspace.sessions.engine, "before_cursor_execute", note)
    try:
        return call(), sent
    finally:
        sa.event.remove(workspace.sessions.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("desk", [DeskChoice(), BLIND, DeskChoice(text="sourdough"), DeskChoice(text="nosuchword")])
def test_the_desk_in_one_step_is_what_its_three_parts_say(any_workspace: Workspace, desk: DeskChoice) -> None:
    """The screen shows a side list or a number that the services would not."""
    queued(any_workspace, topics=FEW)
    view = reviewing.open_desk(any_workspace, person="Ada", desk=desk)
    card = reviewing.claim(any_workspace, person="Ada", desk=desk)
    assert (view.card and view.card.card) == (card and card.card)
    assert (view.card is None) == (desk.text == "nosuchword")
    if card is not None:
        assert view.card is not None
        assert view.card.pair == card.pair
        side = reviewing.list_query(any_workspace, pair_id=card.pair.pair_id, person="Ada", blind=desk.blind)
        assert view.side == side
        assert len(side) == 6
    assert view.progress == reviewing.get_progress(any_workspace, person="Ada")
    assert view.progress.waiting == 12


def test_what_the_desk_shows_of_other_candidates_is_remembered(workspace: Workspace) -> None:
    """A candidate whose proposal was read in the side list is later audited blind by the same person."""
    queued(workspace, topics=FEW)
    view = reviewing.open_desk(workspace, person="Ada")
    with workspace.sessions.read() as session:
        seen = set(session.scalars(sa.select(SeenPair.pair_id)))
    assert seen == {row.pair_id for row in view.side if row.proposed_grade is not None}
    assert len(seen) == 6


def test_a_list_with_nothing_new_in_it_waits_for_no_writer(workspace: Workspace) -> None:
    """Every look at the screen queues up behind fifty people's grades to write nothing."""
    queued(workspace, topics=FEW)
    card = claim(workspace)
    first = reviewing.list_query(workspace, pair_id=card.pair.pair_id, person="Ada")
    with workspace.sessions.begin() as session:
        session.connection()  # holds the one place for a writer
        again, sent = asked(workspace, lambda: reviewing.list_query(workspace, pair_id=card.pair.pair_id, person="Ada"))
    assert again == first
    assert not [text for text in sent if "IMMEDIATE" in text or text.startswith(("INSERT", "UPDATE"))]


def test_a_revoked_person_is_shown_no_desk(workspace: Workspace) -> None:
    """Somebody whose judgements are set aside goes on reading proposals."""
    queued(workspace, topics=FEW)
    pair_id = claim(workspace, "Mallory").pair.pair_id
    reviewing.list_query(workspace, pair_id=pair_id, person="Mallory")
    revoke(
        workspace, author=find_author(workspace, person="Mallory"), person=workspace.settings.person, reason="guessed"
    )
    with pytest.raises(NotAllowed, match="revoked"):
        reviewing.open_desk(workspace, person="Mallory")
    with pytest.raises(NotAllowed, match="revoked"):
        reviewing.list_query(workspace, pair_id=pair_id, person="Mallory")


def test_a_card_costs_few_statements(workspace: Workspace) -> None:
    """A look at the pair is added here and there until a card takes forty of them, and a key press is felt."""
    workspace = with_settings(queued(workspace, topics=TOPICS[:4]), check_share=0.0)
    for _ in range(3):
        card, served = asked(workspace, lambda: claim(workspace))
        shown = {"pair_id": card.pair.pair_id, "person": "Ada"}
        _, listed = asked(workspace, partial(reviewing.list_query, workspace, **shown))
        _, graded = asked(workspace, partial(reviewing.grade, workspace, card=card.card, person="Ada", grade=1))
        _, counted = asked(workspace, lambda: reviewing.get_progress(workspace, person="Ada"))
    assert len(served) <= CARD, served
    assert len(graded) <= GRADE, graded
    assert len(listed) <= LIST, listed
    assert len(counted) <= PROGRESS, counted
